//! The IPP operations of the printer: what it says of itself and of its jobs, and how jobs come
//! in (RFC 8011, sections 4.2 and 4.3).

use std::path::PathBuf;

use super::ipp::{Attribute, Group, JOB, Message, OPERATION, PRINTER, UNSUPPORTED, Value};
use super::pdf::count_pages;
use super::{JOBS_MAX, Job, JobState, PATH, PageFault, State, TONER_LOW_PERCENT, describe};
use crate::steering::{Steered, now};

const OK: u16 = 0x0000;
const OK_IGNORED: u16 = 0x0001;
const BAD_REQUEST: u16 = 0x0400;
const NOT_POSSIBLE: u16 = 0x0404;
const NOT_FOUND: u16 = 0x0406;
const FORMAT_NOT_SUPPORTED: u16 = 0x040A;
const CHARSET_NOT_SUPPORTED: u16 = 0x040D;
const INTERNAL: u16 = 0x0500;
const OPERATION_NOT_SUPPORTED: u16 = 0x0501;
const VERSION_NOT_SUPPORTED: u16 = 0x0503;
const BUSY: u16 = 0x0507;
const MULTIPLE_DOCUMENTS: u16 = 0x0509;

const FORMATS: [&str; 2] = ["application/pdf", "application/octet-stream"];
const MEDIA: &str = "iso_a4_210x297mm";
const SIDES: [&str; 3] = ["one-sided", "two-sided-long-edge", "two-sided-short-edge"];
const COLOR_MODES: [&str; 3] = ["monochrome", "auto", "auto-monochrome"];
const OPERATIONS: [i32; 11] = [
    0x02, 0x04, 0x05, 0x06, 0x08, 0x09, 0x0A, 0x0B, 0x39, 0x3B, 0x3C,
];

type Refusal = u16;
type Answer = Result<(u16, Vec<Group>), Refusal>;

/// Answers the body of one HTTP request.
pub(super) fn answer(body: &[u8], steered: &Steered<State>) -> Vec<u8> {
    let Some(request) = Message::read(body) else {
        return reply([2, 0], BAD_REQUEST, 0, Vec::new());
    };
    let result = check(&request).and_then(|()| dispatch(&request, steered));
    let (status, groups) = result.unwrap_or_else(|status| (status, Vec::new()));
    let version = if request.version[0] == 1 {
        [1, 1]
    } else {
        [2, 0]
    };
    reply(version, status, request.request_id, groups)
}

fn reply(version: [u8; 2], status: u16, request_id: u32, mut groups: Vec<Group>) -> Vec<u8> {
    groups.insert(
        0,
        Group {
            tag: OPERATION,
            attributes: vec![
                Attribute::one("attributes-charset", Value::charset("utf-8")),
                Attribute::one("attributes-natural-language", Value::language("en")),
            ],
        },
    );
    Message {
        version,
        code: status,
        request_id,
        groups,
        document: Vec::new(),
    }
    .write()
}

/// What every request must have, in the order RFC 8011 asks for it.
fn check(request: &Message) -> Result<(), Refusal> {
    if !matches!(request.version, [1, 0 | 1] | [2, 0..=2]) {
        return Err(VERSION_NOT_SUPPORTED);
    }
    let first = request.groups.first().ok_or(BAD_REQUEST)?;
    let names: Vec<&str> = first
        .attributes
        .iter()
        .take(2)
        .map(|attribute| attribute.name.as_str())
        .collect();
    if request.request_id == 0
        || first.tag != OPERATION
        || names != ["attributes-charset", "attributes-natural-language"]
    {
        return Err(BAD_REQUEST);
    }
    if request.text(OPERATION, "attributes-charset") != Some("utf-8") {
        return Err(CHARSET_NOT_SUPPORTED);
    }
    let has_target = ["printer-uri", "job-uri"]
        .iter()
        .any(|name| request.text(OPERATION, name).is_some());
    if has_target { Ok(()) } else { Err(BAD_REQUEST) }
}

fn dispatch(request: &Message, steered: &Steered<State>) -> Answer {
    match request.code {
        0x0002 => print_job(request, steered),
        0x0004 => {
            check_format(request)?;
            Ok(accepted(request, None))
        }
        0x0005 => steered.change(|state| create_job(request, state)),
        0x0006 => send_document(request, steered),
        0x0008 => steered.change(|state| cancel_job(request, state)),
        0x0009 => steered.look(|state| job_attributes(request, state)),
        0x000A => Ok(steered.look(|state| jobs(request, state))),
        0x000B => Ok(steered.look(|state| printer_attributes(request, state))),
        0x0039 => {
            steered.change(|state| state.jobs.iter_mut().for_each(cancel));
            Ok((OK, Vec::new()))
        }
        0x003B => steered.change(|state| close_job(request, state)),
        0x003C => {
            steered.change(|state| state.identified += 1);
            Ok((OK, Vec::new()))
        }
        _ => Err(OPERATION_NOT_SUPPORTED),
    }
}

fn check_format(request: &Message) -> Result<(), Refusal> {
    match request.text(OPERATION, "document-format") {
        Some(format) if !FORMATS.contains(&format) => Err(FORMAT_NOT_SUPPORTED),
        Some(_) | None => Ok(()),
    }
}

/// The template attributes of a request that this printer ignores.
fn ignored(request: &Message) -> Vec<Attribute> {
    let is_good = |name: &str, value: &Value| match name {
        "media" => value.as_text() == Some(MEDIA),
        "sides" => value.as_text().is_some_and(|side| SIDES.contains(&side)),
        "print-color-mode" => value
            .as_text()
            .is_some_and(|mode| COLOR_MODES.contains(&mode)),
        "copies" => value
            .as_integer()
            .is_some_and(|copies| (1..=99).contains(&copies)),
        "page-ranges" => value
            .as_range()
            .is_some_and(|(low, high)| low >= 1 && high >= low),
        "print-quality"
        | "orientation-requested"
        | "print-scaling"
        | "media-col"
        | "output-mode"
        | "printer-resolution"
        | "finishings"
        | "job-priority" => true,
        _ => false,
    };
    request
        .groups
        .iter()
        .filter(|group| group.tag == JOB)
        .flat_map(|group| &group.attributes)
        .filter(|attribute| {
            !attribute.values.iter().all(|value| {
                // Members of collections come as further values of strange tags.
                matches!(value.tag, 0x34 | 0x37 | 0x4A) || is_good(&attribute.name, value)
            })
        })
        .cloned()
        .collect()
}

fn accepted(request: &Message, job: Option<Group>) -> (u16, Vec<Group>) {
    let ignored = ignored(request);
    let mut groups = Vec::new();
    let status = if ignored.is_empty() { OK } else { OK_IGNORED };
    if !ignored.is_empty() {
        groups.push(Group {
            tag: UNSUPPORTED,
            attributes: ignored,
        });
    }
    groups.extend(job);
    (status, groups)
}

fn new_job(request: &Message, state: &mut State) -> Result<usize, Refusal> {
    if state.jobs.len() >= JOBS_MAX {
        return Err(BUSY);
    }
    let id = i32::try_from(state.jobs.len() + 1).map_err(|_| INTERNAL)?;
    let copies = request.integer(JOB, "copies").unwrap_or(1).clamp(1, 99);
    state.jobs.push(Job {
        id,
        state: JobState::Pending,
        reason: "job-incoming",
        pages: 0,
        printed: 0,
        spoiled: 0,
        is_two_sided: request
            .text(JOB, "sides")
            .is_some_and(|sides| sides.starts_with("two-sided")),
        copies: copies.unsigned_abs(),
        ranges: request
            .values(JOB, "page-ranges")
            .iter()
            .filter_map(Value::as_range)
            .collect(),
        file: None,
        is_closed: false,
        opened: now(),
        taken: false,
    });
    Ok(state.jobs.len() - 1)
}

/// Pages of a document of `count` pages that lie in any of the ranges.
fn pages_in(ranges: &[(i32, i32)], count: u32) -> u32 {
    if ranges.is_empty() {
        return count;
    }
    let is_asked = |page: &u32| {
        ranges
            .iter()
            .any(|(low, high)| (low.unsigned_abs()..=high.unsigned_abs()).contains(page))
    };
    u32::try_from((1..=count).filter(is_asked).count()).unwrap_or(count)
}

/// Gives a job its document; the file is written outside the lock.
fn take_document(request: &Message, index: usize, steered: &Steered<State>) -> Result<(), Refusal> {
    let file: PathBuf = steered.change(|state| {
        state.documents += 1;
        state
            .dir
            .join(format!("document-{:03}.pdf", state.documents))
    });
    std::fs::write(&file, &request.document).map_err(|_| INTERNAL)?;
    let is_pdf = request.document.starts_with(b"%PDF-");
    let count = count_pages(&request.document);
    let print = steered.change(|state| {
        let job = state.jobs.get_mut(index)?;
        job.file = Some(file);
        job.pages = pages_in(&job.ranges, count) * job.copies;
        job.reason = "none";
        if !is_pdf || job.pages == 0 {
            job.state = JobState::Aborted;
            job.reason = "document-format-error";
        }
        job.print()
    });
    if let Some(print) = print {
        describe(&print);
    }
    Ok(())
}

fn print_job(request: &Message, steered: &Steered<State>) -> Answer {
    check_format(request)?;
    if request.document.is_empty() {
        return Err(BAD_REQUEST);
    }
    let index = steered.change(|state| new_job(request, state))?;
    take_document(request, index, steered)?;
    steered.change(|state| {
        let job = state.jobs.get_mut(index).ok_or(INTERNAL)?;
        job.is_closed = true;
        Ok(accepted(request, job_group(state, index, None)))
    })
}

fn create_job(request: &Message, state: &mut State) -> Answer {
    let index = new_job(request, state)?;
    Ok(accepted(request, job_group(state, index, None)))
}

fn send_document(request: &Message, steered: &Steered<State>) -> Answer {
    check_format(request)?;
    let is_last = match request.values(OPERATION, "last-document") {
        [value] if value.tag == 0x22 && value.bytes.len() == 1 => value.bytes == [1],
        _ => return Err(BAD_REQUEST),
    };
    let index = steered.look(|state| find(request, state))?;
    let (is_open, has_document) = steered.look(|state| {
        let job = &state.jobs[index];
        (!job.is_closed && !job.is_ended(), job.file.is_some())
    });
    if !is_open {
        return Err(NOT_POSSIBLE);
    }
    if has_document && !request.document.is_empty() {
        return Err(MULTIPLE_DOCUMENTS);
    }
    if !request.document.is_empty() {
        take_document(request, index, steered)?;
    }
    steered.change(|state| {
        if is_last {
            close(&mut state.jobs[index]);
        }
        Ok((OK, job_group(state, index, None).into_iter().collect()))
    })
}

fn close(job: &mut Job) {
    job.is_closed = true;
    if job.file.is_none() {
        job.state = JobState::Aborted;
        job.reason = "aborted-by-system";
    }
}

fn close_job(request: &Message, state: &mut State) -> Answer {
    let index = find(request, state)?;
    close(&mut state.jobs[index]);
    Ok((OK, job_group(state, index, None).into_iter().collect()))
}

fn cancel(job: &mut Job) {
    if !job.is_ended() {
        job.state = JobState::Canceled;
        job.reason = "job-canceled-by-user";
        if let Some(print) = job.print() {
            describe(&print);
        }
    }
}

fn cancel_job(request: &Message, state: &mut State) -> Answer {
    let index = find(request, state)?;
    if state.jobs[index].is_ended() {
        return Err(NOT_POSSIBLE);
    }
    cancel(&mut state.jobs[index]);
    state.page_due = None;
    Ok((OK, Vec::new()))
}

/// The job a request is about.
fn find(request: &Message, state: &State) -> Result<usize, Refusal> {
    let from_uri = request
        .text(OPERATION, "job-uri")
        .and_then(|uri| uri.rsplit('/').next())
        .and_then(|id| id.parse().ok());
    let id = request
        .integer(OPERATION, "job-id")
        .or(from_uri)
        .ok_or(BAD_REQUEST)?;
    state
        .jobs
        .iter()
        .position(|job| job.id == id)
        .ok_or(NOT_FOUND)
}

/// The names a client asks for; `None` for all.
fn requested(request: &Message) -> Option<Vec<String>> {
    let values = request.values(OPERATION, "requested-attributes");
    let names: Vec<String> = values
        .iter()
        .filter_map(|value| value.as_text().map(str::to_owned))
        .collect();
    let is_all = names.iter().any(|name| {
        matches!(
            name.as_str(),
            "all" | "printer-description" | "job-description" | "job-template"
        )
    });
    (!names.is_empty() && !is_all).then_some(names)
}

fn filtered(attributes: Vec<Attribute>, names: Option<&[String]>) -> Vec<Attribute> {
    match names {
        None => attributes,
        Some(names) => attributes
            .into_iter()
            .filter(|attribute| names.contains(&attribute.name))
            .collect(),
    }
}

fn job_group(state: &State, index: usize, names: Option<&[String]>) -> Option<Group> {
    let job = state.jobs.get(index)?;
    let is_lying = state.fault == Some(PageFault::StoppedButProcessing);
    let (job_state, reason) = if is_lying && job.state == JobState::Stopped {
        (JobState::Processing, "job-printing")
    } else {
        (job.state, job.reason)
    };
    let uri = format!("ipp://{}{PATH}/jobs/{}", state.address, job.id);
    let number = |count: u32| Value::integer(i32::try_from(count).unwrap_or(i32::MAX));
    let sheets = if job.is_two_sided {
        job.printed.div_ceil(2)
    } else {
        job.printed
    };
    let attributes = vec![
        Attribute::one("job-id", Value::integer(job.id)),
        Attribute::one("job-uri", Value::uri(&uri)),
        Attribute::one(
            "job-printer-uri",
            Value::uri(&format!("ipp://{}{PATH}", state.address)),
        ),
        Attribute::one("job-state", Value::enumeration(job_state as i32)),
        Attribute::keywords("job-state-reasons", &[reason]),
        Attribute::one("job-impressions", number(job.pages)),
        Attribute::one("job-impressions-completed", number(job.printed)),
        Attribute::one("job-media-sheets-completed", number(sheets)),
    ];
    Some(Group {
        tag: JOB,
        attributes: filtered(attributes, names),
    })
}

fn job_attributes(request: &Message, state: &State) -> Answer {
    let index = find(request, state)?;
    let names = requested(request);
    let group = job_group(state, index, names.as_deref());
    Ok((OK, group.into_iter().collect()))
}

fn jobs(request: &Message, state: &State) -> (u16, Vec<Group>) {
    let is_completed = request.text(OPERATION, "which-jobs") == Some("completed");
    let limit = request
        .integer(OPERATION, "limit")
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(usize::MAX);
    let names =
        requested(request).unwrap_or_else(|| vec!["job-id".to_owned(), "job-uri".to_owned()]);
    let groups = (0..state.jobs.len())
        .filter(|index| state.jobs[*index].is_ended() == is_completed)
        .take(limit)
        .filter_map(|index| job_group(state, index, Some(&names)))
        .collect();
    (OK, groups)
}

fn printer_attributes(request: &Message, state: &State) -> (u16, Vec<Group>) {
    let mut attributes = status_attributes(state);
    attributes.extend(description_attributes(state));
    attributes.extend(supply_attributes(state));
    let names = requested(request);
    let group = Group {
        tag: PRINTER,
        attributes: filtered(attributes, names.as_deref()),
    };
    (OK, vec![group])
}

fn status_attributes(state: &State) -> Vec<Attribute> {
    let waiting = state.jobs.iter().filter(|job| !job.is_ended()).count();
    let message = state.reasons().join(", ");
    let seconds = now().duration_since(state.started).as_secs();
    vec![
        Attribute::one("printer-state", Value::enumeration(state.printer_state())),
        Attribute::keywords("printer-state-reasons", &state.reasons()),
        Attribute::one("printer-state-message", Value::text(&message)),
        Attribute::one("printer-is-accepting-jobs", Value::boolean(true)),
        Attribute::one(
            "queued-job-count",
            Value::integer(i32::try_from(waiting).unwrap_or(i32::MAX)),
        ),
        Attribute::one(
            "printer-up-time",
            Value::integer(i32::try_from(seconds).unwrap_or(i32::MAX).max(1)),
        ),
        Attribute::set(
            "media-ready",
            if state.sheets > 0 {
                vec![Value::keyword(MEDIA)]
            } else {
                vec![no_value()]
            },
        ),
    ]
}

/// The out-of-band value `no-value`.
fn no_value() -> Value {
    Value {
        tag: 0x13,
        bytes: Vec::new(),
    }
}

fn description_attributes(state: &State) -> Vec<Attribute> {
    let uri = format!("ipp://{}{PATH}", state.address);
    let speed = 60_000 / state.config.page_ms.max(1);
    vec![
        Attribute::one("printer-uri-supported", Value::uri(&uri)),
        Attribute::keywords("uri-security-supported", &["none"]),
        Attribute::keywords("uri-authentication-supported", &["none"]),
        Attribute::one("printer-name", Value::name("emulated-a4")),
        Attribute::one("printer-info", Value::text("Emulated A4 printer")),
        Attribute::one("printer-make-and-model", Value::text("TEST EMU-A4")),
        Attribute::keywords("ipp-versions-supported", &["1.1", "2.0"]),
        Attribute::set(
            "operations-supported",
            OPERATIONS.into_iter().map(Value::enumeration).collect(),
        ),
        Attribute::one("charset-configured", Value::charset("utf-8")),
        Attribute::one("charset-supported", Value::charset("utf-8")),
        Attribute::one("natural-language-configured", Value::language("en")),
        Attribute::one(
            "generated-natural-language-supported",
            Value::language("en"),
        ),
        Attribute::one("document-format-default", Value::mime(FORMATS[0])),
        Attribute::set(
            "document-format-supported",
            FORMATS.iter().map(|format| Value::mime(format)).collect(),
        ),
        Attribute::keywords("compression-supported", &["none"]),
        Attribute::keywords("pdl-override-supported", &["attempted"]),
        Attribute::one("color-supported", Value::boolean(false)),
        Attribute::one("multiple-document-jobs-supported", Value::boolean(false)),
        Attribute::one("multiple-operation-time-out", Value::integer(60)),
        Attribute::keywords("media-supported", &[MEDIA]),
        Attribute::keywords("media-default", &[MEDIA]),
        Attribute::keywords("sides-supported", &SIDES),
        Attribute::keywords("sides-default", &SIDES[..1]),
        Attribute::keywords("print-color-mode-supported", &COLOR_MODES),
        Attribute::keywords("print-color-mode-default", &COLOR_MODES[..1]),
        Attribute::one("copies-supported", Value::range(1, 99)),
        Attribute::one("copies-default", Value::integer(1)),
        Attribute::one("page-ranges-supported", Value::boolean(true)),
        Attribute::one(
            "pages-per-minute",
            Value::integer(i32::try_from(speed).unwrap_or(i32::MAX)),
        ),
    ]
}

fn supply_attributes(state: &State) -> Vec<Attribute> {
    let toner = i32::from(state.toner_percent);
    let is_single = state.fault == Some(PageFault::SingleMarkerLevels);
    let levels = |values: [i32; 2]| {
        let count = if is_single { 1 } else { 2 };
        values.into_iter().take(count).map(Value::integer).collect()
    };
    let supply = format!("type=toner;maxcapacity=100;level={toner};colorantname=black;");
    vec![
        Attribute::set(
            "marker-names",
            vec![Value::name("Black Toner"), Value::name("Waste Toner")],
        ),
        Attribute::keywords("marker-types", &["toner", "waste-toner"]),
        Attribute::set(
            "marker-colors",
            vec![Value::name("#000000"), Value::name("none")],
        ),
        // Waste counts the other way: its level is what is filled.
        Attribute::set("marker-levels", levels([toner, 20])),
        Attribute::set(
            "marker-low-levels",
            levels([i32::from(TONER_LOW_PERCENT), 0]),
        ),
        Attribute::set("marker-high-levels", levels([100, 90])),
        Attribute::one("printer-supply", Value::octets(&supply)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_choose_pages_that_exist_once() {
        assert_eq!(pages_in(&[], 5), 5);
        assert_eq!(pages_in(&[(2, 3)], 5), 2);
        assert_eq!(pages_in(&[(1, 2), (2, 9)], 5), 5);
        assert_eq!(pages_in(&[(7, 9)], 5), 0);
    }
}
