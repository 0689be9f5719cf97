//! What the platform holds, for a person: as a page and as lines of text. Never names, identity
//! numbers, payloads or what a citizen wrote.

use std::fmt::Write as _;

use crate::store::{Store, StoreError};
use crate::switches::Switches;

/// A table: its title, its columns, its rows.
type Table = (String, &'static [&'static str], Vec<Vec<String>>);

/// Everything as a page.
pub(crate) fn page(store: &mut Store, switches: &Switches) -> Result<String, StoreError> {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <title>Reference platform</title>\
         <style>body{{font:16px/1.5 sans-serif;margin:2em;max-width:100em}}\
         table{{border-collapse:collapse;margin:1em 0}}\
         td,th{{border:1px solid #999;padding:.3em .6em;text-align:left}}</style>\
         <h1>Reference platform</h1>\
         <p>Fault: <code>{:?}</code> · face comparison: <code>{:?}</code></p>",
        switches.fault, switches.face,
    );
    for (title, columns, rows) in tables(store)? {
        html.push_str("<h2>");
        html.push_str(&escaped(&title));
        html.push_str("</h2><table>");
        append_row(&mut html, "th", columns.iter());
        for row in &rows {
            append_row(&mut html, "td", row.iter());
        }
        html.push_str("</table>");
    }
    html.push_str("</html>");
    Ok(html)
}

/// Everything as lines of text, with columns between tabs.
pub(crate) fn summary(store: &mut Store) -> Result<String, StoreError> {
    let mut text = String::new();
    for (title, columns, rows) in tables(store)? {
        text.push_str(&title);
        text.push('\n');
        append_line(&mut text, columns.iter());
        for row in &rows {
            append_line(&mut text, row.iter());
        }
        text.push('\n');
    }
    Ok(text)
}

fn tables(store: &mut Store) -> Result<Vec<Table>, StoreError> {
    let [payments, appointments, videos] = store.service_counts()?;
    Ok(vec![
        accepted(store)?,
        terminals(store)?,
        commands(store)?,
        tickets(store)?,
        catalogue(store)?,
        (
            "Upstreams".to_owned(),
            &["name", "state"],
            store
                .upstreams()?
                .into_iter()
                .map(|(name, is_up)| vec![name, word(is_up, "up", "down")])
                .collect(),
        ),
        (
            "Services".to_owned(),
            &[
                "orders of payment",
                "booked appointments",
                "open video sessions",
            ],
            vec![vec![
                payments.to_string(),
                appointments.to_string(),
                videos.to_string(),
            ]],
        ),
    ])
}

fn word(is_so: bool, yes: &str, no: &str) -> String {
    if is_so { yes } else { no }.to_owned()
}

fn accepted(store: &mut Store) -> Result<Table, StoreError> {
    let rows = store.accepted()?;
    Ok((
        format!("Accepted: {}", store.accepted_count()?),
        &[
            "id",
            "terminal",
            "kind",
            "item",
            "case number",
            "upstream",
            "sealed",
            "road",
            "attachments",
            "times received",
            "reference",
        ],
        rows.into_iter()
            .map(|each| {
                vec![
                    each.id.to_string(),
                    each.terminal,
                    each.kind,
                    each.item,
                    each.case_number,
                    each.upstream,
                    each.payload_suite,
                    each.road,
                    each.attachments.to_string(),
                    each.times_received.to_string(),
                    each.reference,
                ]
            })
            .collect(),
    ))
}

fn terminals(store: &mut Store) -> Result<Table, StoreError> {
    let rows = store.terminals()?;
    let queue = |heartbeat: &Option<serde_json::Value>, member: &str| {
        heartbeat.as_ref().map_or_else(String::new, |heartbeat| {
            heartbeat["queue"][member].to_string()
        })
    };
    Ok((
        "Terminals".to_owned(),
        &[
            "terminal",
            "keys",
            "heard",
            "waiting",
            "dead",
            "audit head at",
            "alarms",
        ],
        rows.into_iter()
            .map(|each| {
                let alarms: Vec<String> = each
                    .alarms
                    .iter()
                    .map(|alarm| format!("{} at {}", alarm.code, alarm.sequence))
                    .collect();
                vec![
                    each.terminal,
                    each.keys.to_string(),
                    each.received_at.unwrap_or_default(),
                    queue(&each.heartbeat, "waiting"),
                    queue(&each.heartbeat, "dead"),
                    each.audit_sequence
                        .map_or_else(String::new, |sequence| sequence.to_string()),
                    alarms.join(", "),
                ]
            })
            .collect(),
    ))
}

fn commands(store: &mut Store) -> Result<Table, StoreError> {
    let rows = store.commands()?;
    Ok((
        "Commands".to_owned(),
        &["id", "terminal", "kind", "state", "code", "times reported"],
        rows.into_iter()
            .map(|each| {
                vec![
                    each.id,
                    each.terminal,
                    each.kind,
                    each.state,
                    each.code,
                    each.times_reported.to_string(),
                ]
            })
            .collect(),
    ))
}

/// Nothing that people wrote: the notes stay with those who look after the terminal.
fn tickets(store: &mut Store) -> Result<Table, StoreError> {
    let rows = store.tickets("", false)?;
    Ok((
        "Tickets".to_owned(),
        &[
            "number",
            "terminal",
            "device",
            "code",
            "state",
            "level",
            "repair by",
            "revision",
            "times received",
        ],
        rows.into_iter()
            .map(|each| {
                let ticket = each.ticket;
                vec![
                    ticket.number,
                    each.terminal,
                    ticket.device,
                    ticket.code,
                    ticket.state.word().to_owned(),
                    ticket.level.word().to_owned(),
                    ticket.repair_by.to_string(),
                    ticket.revision.to_string(),
                    each.times_received.to_string(),
                ]
            })
            .collect(),
    ))
}

fn catalogue(store: &mut Store) -> Result<Table, StoreError> {
    let catalogue = store.catalogue()?;
    Ok((
        format!("Catalogue, version {}", catalogue.version),
        &["item", "version", "state"],
        catalogue
            .items
            .into_iter()
            .map(|item| {
                let state = word(item.is_suspended, "suspended", "offered");
                vec![item.id, item.version.to_string(), state]
            })
            .collect(),
    ))
}

/// One table row; what a terminal sent is text here, never markup.
fn append_row<T: AsRef<str>>(html: &mut String, tag: &str, cells: impl Iterator<Item = T>) {
    html.push_str("<tr>");
    for cell in cells {
        write!(html, "<{tag}>{}", escaped(cell.as_ref())).expect("a string takes every text");
    }
    html.push_str("</tr>");
}

fn append_line<T: AsRef<str>>(text: &mut String, cells: impl Iterator<Item = T>) {
    for (place, cell) in cells.enumerate() {
        if place > 0 {
            text.push('\t');
        }
        // What a terminal sent stays on its line and in its column.
        text.extend(cell.as_ref().chars().filter(|each| !each.is_control()));
    }
    text.push('\n');
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_sent_is_never_markup() {
        let mut html = String::new();
        append_row(&mut html, "td", ["<script>&"].iter());
        assert_eq!(html, "<tr><td>&lt;script&gt;&amp;</tr>");
    }

    #[test]
    fn what_a_terminal_sent_stays_in_its_column() {
        let mut text = String::new();
        append_line(&mut text, ["a\tb\n", "c\u{1b}[2J"].iter());
        assert_eq!(text, "ab\tc[2J\n");
    }
}
