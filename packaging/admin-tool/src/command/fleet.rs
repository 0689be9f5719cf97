//! `fleet`: the terminals in the field, as the platform knows them. What changes something says with
//! `--dry-run` what it would ask; what is read is a table, or with `--json` what the platform said.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand, ValueEnum};
use kiosk_admin::files;
use kiosk_admin::fleet::{Central, FleetError, percent, villages, with_those_around};
use kiosk_admin::import::Certificates;
use kiosk_admin::order;
use kiosk_admin::table::{Table, csv_field, plain};
use kiosk_sealing::{RecipientSecret, Suite, hex, sha256};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::say;

/// Longest token that is read from the standard input, in bytes.
const TOKEN_BYTES_MAX: u64 = 4096;
/// Largest list of villages, in bytes.
const LIST_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Entries of the log that are shown.
const LOG_LINES_MAX: usize = 500;

/// The platform, and who asks it.
#[derive(Args)]
pub(crate) struct Door {
    /// Base address of the platform.
    #[arg(long)]
    platform: String,
    /// File of the administrator's token, readable by its owner alone; `-` for the standard input.
    #[arg(long)]
    token_file: PathBuf,
    /// Who vouches for the platform, in PEM; needed for https.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Our own certificate, in PEM, where the platform wants one.
    #[arg(long, requires = "certificate_key")]
    certificate: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    #[arg(long, requires = "certificate")]
    certificate_key: Option<PathBuf>,
    /// Print what the platform said, in JSON.
    #[arg(long)]
    json: bool,
}

/// What every change takes.
#[derive(Args)]
pub(crate) struct Change {
    #[command(flatten)]
    door: Door,
    /// Say what would be asked; ask nothing that changes.
    #[arg(long)]
    dry_run: bool,
}

/// The terminals in the field.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make an administrator's token in a new file, and print what goes into the platform's configuration.
    #[command(
        after_help = "Example:\n  kiosk-admin fleet token county.token --name county-1 --role operate --region 揭阳市/普宁市"
    )]
    Token(NewToken),
    /// List terminals: where they stand, what runs, what waits, what is broken.
    #[command(after_help = "\
Example:
  kiosk-admin fleet list --region 揭阳市/普宁市 --silent-for 24 --platform https://platform.example --token-file county.token --ca ca.pem")]
    List(List),
    /// Show one terminal: version, update and why it was taken back, devices, queue, tickets, use.
    #[command(after_help = "\
Example:
  kiosk-admin fleet show T001 --platform https://platform.example --token-file county.token --ca ca.pem")]
    Show(Show),
    /// Order something of a terminal, or of all terminals of a place.
    #[command(after_help = "\
Example:
  kiosk-admin fleet command T001 suspend-item --item old-age-allowance --platform https://platform.example --token-file county.token --ca ca.pem
  kiosk-admin fleet command --region 揭阳市/普宁市 sync-now --platform https://platform.example --token-file county.token --ca ca.pem --dry-run")]
    #[command(name = "command")]
    Order(Order),
    /// Hold a release: no terminal fetches it or switches to it.
    #[command(after_help = "\
Example:
  kiosk-admin fleet hold 1.4.2 --platform https://platform.example --token-file owner.token --ca ca.pem")]
    Hold(Release),
    /// Let a release go on.
    #[command(after_help = "\
Example:
  kiosk-admin fleet release 1.4.2 --platform https://platform.example --token-file owner.token --ca ca.pem")]
    Release(Release),
    /// List releases: how many terminals marked them good or took them back, and which are held.
    #[command(after_help = "\
Example:
  kiosk-admin fleet holds --platform https://platform.example --token-file county.token --ca ca.pem")]
    Holds(Ask),
    /// Say where a terminal stands and what the year asks of it.
    #[command(after_help = "\
Example:
  kiosk-admin fleet place T001 --region 揭阳市/普宁市/里湖镇/某某村 --site 党群服务中心 --installed-on 2026-03-01 --target 500 --platform https://platform.example --token-file county.token --ca ca.pem")]
    Place(Place),
    /// Let a new terminal in: prints the code that works once, for whoever installs it.
    #[command(after_help = "\
Example:
  kiosk-admin fleet enrol T001 --region 揭阳市/普宁市/里湖镇/某某村 --site 党群服务中心 --installed-on 2026-03-01 --target 500 --platform https://platform.example --token-file county.token --ca ca.pem")]
    Enrol(Place),
    /// Shut a terminal out: nothing that it sends is taken until it is restored.
    #[command(after_help = "\
Example:
  kiosk-admin fleet revoke T001 --reason stolen --platform https://platform.example --token-file county.token --ca ca.pem")]
    Revoke(Revoke),
    /// Let a terminal that was shut out in again.
    #[command(after_help = "\
Example:
  kiosk-admin fleet restore T001 --platform https://platform.example --token-file county.token --ca ca.pem")]
    Restore(Restore),
    /// Tell cases against what the year asks (370, 500 or 800), with a forecast for 31 December.
    #[command(after_help = "\
Example:
  kiosk-admin fleet usage --by village --platform https://platform.example --token-file county.token --ca ca.pem")]
    Usage(Usage),
    /// Tell how each item does: visits completed, left and failed, and what to look at.
    #[command(after_help = "\
Example:
  kiosk-admin fleet quality --platform https://platform.example --token-file county.token --ca ca.pem")]
    Quality(Regional),
    /// Write a month's data pack into a new directory: CSV files and their description, nothing personal.
    #[command(after_help = "\
Example:
  kiosk-admin fleet pack --month 2026-10 --to pack-2026-10 --platform https://platform.example --token-file county.token --ca ca.pem")]
    Pack(Pack),
    /// Tell which villages of a list have a terminal and which have none.
    #[command(after_help = "\
Example:
  kiosk-admin fleet villages --list villages.csv --platform https://platform.example --token-file county.token --ca ca.pem")]
    Villages(Villages),
    /// Show who changed what, newest first.
    #[command(after_help = "\
Example:
  kiosk-admin fleet log --platform https://platform.example --token-file owner.token --ca ca.pem")]
    Log(Ask),
}

/// What an administrator may do.
#[derive(Clone, Copy, ValueEnum)]
enum Role {
    /// Read.
    View,
    /// Command, suspend, place and enroll terminals; hold releases.
    Operate,
    /// Everything.
    Own,
}

/// A token.
#[derive(Args)]
pub(crate) struct NewToken {
    /// The file.
    file: PathBuf,
    /// Name of the administrator, as it stands in the log.
    #[arg(long)]
    name: String,
    /// What is allowed.
    #[arg(long, value_enum, default_value_t = Role::View)]
    role: Role,
    /// A place whose terminals are looked after; without any, all.
    #[arg(long = "region")]
    regions: Vec<String>,
}

/// What is only read.
#[derive(Args)]
pub(crate) struct Ask {
    #[command(flatten)]
    door: Door,
}

/// Which terminals.
#[derive(Args)]
pub(crate) struct List {
    /// Those of a place.
    #[arg(long, default_value = "")]
    region: String,
    /// Those that were not heard of for so many hours.
    #[arg(long, value_name = "HOURS")]
    silent_for: Option<u64>,
    /// Those that run a version.
    #[arg(long, default_value = "")]
    version: String,
    /// Those with a fault.
    #[arg(long)]
    fault: bool,
    #[command(flatten)]
    door: Door,
}

/// One terminal.
#[derive(Args)]
pub(crate) struct Show {
    /// Its number.
    terminal: String,
    #[command(flatten)]
    door: Door,
}

/// An order.
#[derive(Args)]
pub(crate) struct Order {
    /// The terminal, and what to do: suspend-item, resume-item, restart, lock, unlock, collect-logs,
    /// sync-now. With --region only what to do.
    #[arg(required = true, num_args = 1..=2, value_names = ["TERMINAL", "KIND"])]
    words: Vec<String>,
    /// All terminals of a place.
    #[arg(long)]
    region: Option<String>,
    /// The item, where the order is about one.
    #[arg(long)]
    item: Option<String>,
    /// How long it may be obeyed.
    #[arg(long, default_value_t = 3600)]
    expires_in_s: u32,
    #[command(flatten)]
    change: Change,
}

/// A release.
#[derive(Args)]
pub(crate) struct Release {
    /// Its version.
    version: String,
    #[command(flatten)]
    change: Change,
}

/// Where a terminal stands.
#[derive(Args)]
pub(crate) struct Place {
    /// Its number.
    terminal: String,
    /// City/county/town/village.
    #[arg(long)]
    region: String,
    /// Name of the site.
    #[arg(long)]
    site: String,
    /// Day of installation, such as 2026-03-01.
    #[arg(long)]
    installed_on: jiff::civil::Date,
    /// Cases that the year asks of it: 370, 500 or 800.
    #[arg(long)]
    target: u32,
    #[command(flatten)]
    change: Change,
}

/// A terminal that is shut out.
#[derive(Args)]
pub(crate) struct Revoke {
    /// Its number.
    terminal: String,
    /// Why, in a word that stands in the log.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    change: Change,
}

/// A terminal that comes back.
#[derive(Args)]
pub(crate) struct Restore {
    /// Its number.
    terminal: String,
    #[command(flatten)]
    change: Change,
}

/// How use is added up.
#[derive(Clone, Copy, ValueEnum)]
enum By {
    /// By village.
    Village,
    /// By item.
    Item,
    /// By terminal.
    Terminal,
}

/// Use of a year.
#[derive(Args)]
pub(crate) struct Usage {
    /// The year; this one without it.
    #[arg(long)]
    year: Option<u16>,
    /// How it is added up.
    #[arg(long, value_enum, default_value_t = By::Village)]
    by: By,
    /// Of a place.
    #[arg(long, default_value = "")]
    region: String,
    #[command(flatten)]
    door: Door,
}

/// Something of a place.
#[derive(Args)]
pub(crate) struct Regional {
    /// Of a place.
    #[arg(long, default_value = "")]
    region: String,
    #[command(flatten)]
    door: Door,
}

/// A data pack.
#[derive(Args)]
pub(crate) struct Pack {
    /// The month, such as 2026-10.
    #[arg(long)]
    month: String,
    /// The directory; made, never written over.
    #[arg(long, value_name = "DIRECTORY")]
    to: PathBuf,
    #[command(flatten)]
    door: Door,
}

/// A list of villages.
#[derive(Args)]
pub(crate) struct Villages {
    /// One a line, city/county/town/village, with a code and a comma before it or without.
    #[arg(long)]
    list: PathBuf,
    #[command(flatten)]
    door: Door,
}

/// Runs one of them.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Token(new) => new.make(),
        Command::List(list) => list.run(),
        Command::Show(show) => show.run(),
        Command::Order(order) => order.run(),
        Command::Hold(release) => release.run(true),
        Command::Release(release) => release.run(false),
        Command::Holds(read) => holds(&read.door),
        Command::Place(place) => place.run("/admin/places"),
        Command::Enrol(place) => place.run("/admin/enrolments"),
        Command::Revoke(revoke) => {
            let body = json!({"terminal": revoke.terminal, "reason": revoke.reason});
            revoke.change.ask("/admin/terminals/revoke", &body)
        }
        Command::Restore(restore) => {
            let body = json!({"terminal": restore.terminal});
            restore.change.ask("/admin/terminals/restore", &body)
        }
        Command::Usage(usage) => usage.run(),
        Command::Quality(regional) => quality(&regional),
        Command::Pack(pack) => pack.run(),
        Command::Villages(villages) => villages.run(),
        Command::Log(read) => log(&read.door),
    }
}

impl Door {
    fn open(&self) -> anyhow::Result<Central> {
        let certificates = Certificates {
            ca: self.ca.clone(),
            own: self.certificate.clone().zip(self.certificate_key.clone()),
        };
        Ok(Central::new(&self.platform, self.token()?, &certificates)?)
    }

    fn token(&self) -> anyhow::Result<Zeroizing<String>> {
        if self.token_file != Path::new("-") {
            return Ok(files::read_secret(&self.token_file)?);
        }
        let mut text = Zeroizing::new(String::new());
        std::io::stdin()
            .take(TOKEN_BYTES_MAX)
            .read_to_string(&mut text)
            .context("the token cannot be read from the standard input")?;
        let token = Zeroizing::new(text.trim().to_owned());
        ensure!(!token.is_empty(), "there is no token on the standard input");
        Ok(token)
    }

    /// Prints what the platform said when it was asked so; true when that was all.
    fn print(&self, said: &Value) -> anyhow::Result<bool> {
        if self.json {
            say(&serde_json::to_string_pretty(said)?)?;
        }
        Ok(self.json)
    }

    /// Every page of a list, with the answers' lists put together.
    fn all(&self, path: &str, query: &[(&str, &str)], list: &str) -> anyhow::Result<Vec<Value>> {
        let mut found = Vec::new();
        let central = self.open()?;
        central.pages(path, query, list, |entry| {
            found.push(entry.clone());
            Ok::<(), FleetError>(())
        })?;
        Ok(found)
    }
}

impl Change {
    /// Asks for a change, or says what would be asked.
    fn ask(&self, path: &str, body: &Value) -> anyhow::Result<ExitCode> {
        if self.dry_run {
            say(&format!("would be: POST {path} {body}"))?;
            return Ok(ExitCode::SUCCESS);
        }
        let said = self.door.open()?.post(path, body)?;
        if !self.door.print(&said)? {
            say(&done(&said))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The members of a reply as words, or that it is done.
fn done(said: &Value) -> String {
    let words: Vec<String> = said
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{} {}", plain(name), cell(value)))
        .collect();
    if words.is_empty() {
        "done".to_owned()
    } else {
        words.join(", ")
    }
}

/// A value as a cell; nothing where there is none.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            plain(&value.to_string())
        }
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Members of each entry as the columns of a table.
fn table<'a>(
    titles: &[&'static str],
    entries: impl IntoIterator<Item = &'a Value>,
    columns: impl Fn(&Value) -> Vec<String>,
) -> anyhow::Result<()> {
    let mut table = Table::new(titles);
    for entry in entries {
        table.row(columns(entry));
    }
    for line in table.lines() {
        say(&line)?;
    }
    Ok(())
}

/// The entries of a list of a reply.
fn entries(said: &Value) -> &[Value] {
    said.as_array().map_or(&[], Vec::as_slice)
}

impl NewToken {
    fn make(&self) -> anyhow::Result<ExitCode> {
        let source = RecipientSecret::generate(Suite::Intl)?.to_text();
        let token = Zeroizing::new(URL_SAFE_NO_PAD.encode(sha256(source.as_bytes())));
        let role = match self.role {
            Role::View => "view",
            Role::Operate => "operate",
            Role::Own => "own",
        };
        files::write_secret(&self.file, &token)?;
        let administrator = json!({
            "name": self.name, "token_sha256": hex(&sha256(token.as_bytes())), "role": role,
            "regions": self.regions,
        });
        say(&format!("wrote {}", self.file.display()))?;
        say(&administrator.to_string())?;
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let silent_for = self
            .silent_for
            .map_or(String::new(), |hours| hours.to_string());
        let query = [
            ("region", self.region.as_str()),
            ("silent_for", &silent_for),
            ("version", &self.version),
            ("fault", if self.fault { "1" } else { "" }),
        ];
        let found = self.door.all("/admin/fleet", &query, "terminals")?;
        if self.door.print(&json!(found))? {
            return Ok(ExitCode::SUCCESS);
        }
        let titles = [
            "terminal", "region", "version", "update", "silent", "waiting", "faults", "tickets",
            "cases", "of",
        ];
        table(&titles, &found, |each| {
            let faults = entries(&each["faults"]).iter();
            let faults: Vec<String> = faults.map(|fault| cell(&fault["code"])).collect();
            vec![
                cell(&each["terminal"]),
                cell(&each["region"]),
                cell(&each["version"]),
                update_words(&each["update"]),
                silent_words(&each["silent_h"]),
                queue_words(each),
                faults.join(" "),
                tickets_words(each),
                cell(&each["cases"]),
                target_words(&each["target"]),
            ]
        })?;
        say(&format!("{} terminals", found.len()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// How far an update has come, and why it was taken back.
fn update_words(update: &Value) -> String {
    let back = &update["taken_back"];
    if back.is_null() {
        return cell(&update["state"]);
    }
    let (version, code) = (cell(&back["version"]), cell(&back["code"]));
    format!("{} ({version}: {code})", cell(&update["state"]))
}

fn silent_words(hours: &Value) -> String {
    match hours.as_u64() {
        None => "never heard".to_owned(),
        Some(hours) if hours < 48 => format!("{hours} h"),
        Some(hours) => format!("{} d", hours / 24),
    }
}

fn queue_words(each: &Value) -> String {
    match number(&each["dead"]) {
        0 => cell(&each["waiting"]),
        dead => format!("{} +{dead} refused", cell(&each["waiting"])),
    }
}

fn tickets_words(each: &Value) -> String {
    match number(&each["tickets_late"]) {
        0 => cell(&each["tickets_open"]),
        late => format!("{} ({late} late)", cell(&each["tickets_open"])),
    }
}

fn target_words(target: &Value) -> String {
    match number(target) {
        0 => String::new(),
        target => target.to_string(),
    }
}

impl Show {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let path = format!("/admin/fleet/{}", percent(&self.terminal));
        let said = self.door.open()?.get(&path, &[])?;
        if self.door.print(&said)? {
            return Ok(ExitCode::SUCCESS);
        }
        for line in description(&said) {
            say(&line)?;
        }
        let beat = &said["heartbeat"];
        say("\ndevices")?;
        table(
            &["device", "class", "state", "faults"],
            entries(&beat["devices"]),
            |each| {
                let faults = entries(&each["faults"])
                    .iter()
                    .map(cell)
                    .collect::<Vec<_>>();
                vec![
                    cell(&each["id"]),
                    cell(&each["class"]),
                    cell(&each["state"]),
                    faults.join(" "),
                ]
            },
        )?;
        say("\ntickets")?;
        let titles = ["number", "device", "code", "state", "level", "repair by"];
        table(&titles, entries(&said["tickets"]), |each| {
            ["number", "device", "code", "state", "level", "repair_by"]
                .map(|name| cell(&each[name]))
                .to_vec()
        })?;
        say("\ncommands")?;
        table(
            &["kind", "state", "code", "id"],
            entries(&said["commands"]),
            |each| {
                ["kind", "state", "code", "id"]
                    .map(|name| cell(&each[name]))
                    .to_vec()
            },
        )?;
        say("\ncases by month and item")?;
        table(
            &["month", "item", "cases"],
            entries(&said["case_counts"]),
            |each| {
                ["month", "item", "cases"]
                    .map(|name| cell(&each[name]))
                    .to_vec()
            },
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Why visits were left, and how often.
fn abandoned_words(said: &Value) -> String {
    let causes: Vec<String> = said["visits"]["abandoned"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, count)| number(count) > 0)
        .map(|(cause, count)| format!("{} {}", plain(cause), cell(count)))
        .collect();
    causes.join(", ")
}

/// What waits and what was refused, by the system that it is for.
fn upstreams_words(queue: &Value) -> String {
    let upstreams: Vec<String> = entries(&queue["upstreams"])
        .iter()
        .map(|each| {
            let name = cell(&each["upstream"]);
            let name = if name.is_empty() { "platform" } else { &name };
            format!("{name} {}+{}", cell(&each["waiting"]), cell(&each["dead"]))
        })
        .collect();
    upstreams.join(", ")
}

fn alarms_words(said: &Value) -> String {
    let alarms: Vec<String> = entries(&said["alarms"])
        .iter()
        .map(|each| format!("{} at {}", cell(&each["code"]), cell(&each["sequence"])))
        .collect();
    alarms.join(", ")
}

/// What is said of a terminal in lines.
fn description(said: &Value) -> Vec<String> {
    let (beat, update, queue) = (
        &said["heartbeat"],
        &said["update"],
        &said["heartbeat"]["queue"],
    );
    let back = &update["taken_back"];
    let lines = [
        ("terminal", cell(&said["terminal"])),
        (
            "place",
            format!("{} {}", cell(&said["region"]), cell(&said["site"])),
        ),
        ("installed on", cell(&said["installed_on"])),
        (
            "heard",
            format!(
                "{} ({})",
                cell(&said["heard_at"]),
                silent_words(&said["silent_h"])
            ),
        ),
        ("version", cell(&said["version"])),
        ("update", update_words(update)),
        ("offered", cell(&update["offered"])),
        ("taken back because", cell(&back["reason"])),
        ("metadata until", cell(&beat["update"]["metadata_expires"])),
        ("items", cell(&beat["update"]["items_version"])),
        (
            "items' metadata until",
            cell(&beat["update"]["items_metadata_expires"]),
        ),
        (
            "queue",
            format!(
                "{} waiting, {} refused",
                cell(&queue["waiting"]),
                cell(&queue["dead"])
            ),
        ),
        ("by upstream", upstreams_words(queue)),
        (
            "desired state",
            format!(
                "{} of {}",
                cell(&beat["desired_version"]),
                cell(&said["wanted_version"])
            ),
        ),
        ("audit log", cell(&beat["audit"]["sequence"])),
        ("alarms", alarms_words(said)),
        (
            "cases this year",
            format!(
                "{} of {}, {} expected by 31 December",
                cell(&said["cases"]),
                cell(&said["target"]),
                cell(&said["forecast"])
            ),
        ),
        ("visits left", abandoned_words(said)),
        ("certificate until", cell(&said["certificate_until"])),
    ];
    let lines = lines
        .into_iter()
        .filter(|(_, value)| !value.trim().is_empty());
    lines
        .map(|(name, value)| format!("{name:<20}{value}").trim_end().to_owned())
        .collect()
}

impl Order {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let (terminal, kind) = match (self.words.as_slice(), &self.region) {
            ([kind], Some(_)) => (None, kind),
            ([terminal, kind], None) => (Some(terminal), kind),
            _ => bail!("name a terminal and what to do, or --region and what to do"),
        };
        order::check(kind, self.item.is_some())?;
        let door = &self.change.door;
        let terminals: Vec<String> = match (terminal, &self.region) {
            (Some(terminal), _) => vec![terminal.clone()],
            (None, region) => {
                let region = region.as_deref().unwrap_or_default();
                ensure!(!region.is_empty(), "--region names no place");
                let found = door.all("/admin/fleet", &[("region", region)], "terminals")?;
                found.iter().map(|each| cell(&each["terminal"])).collect()
            }
        };
        ensure!(!terminals.is_empty(), "there is no terminal in this place");
        let arguments = self
            .item
            .as_ref()
            .map_or(json!({}), |item| json!({"item": item}));
        let mut failed = 0_usize;
        let central = door.open()?;
        for terminal in &terminals {
            let body = json!({"terminal": terminal, "kind": kind, "arguments": arguments,
                "expires_in_s": self.expires_in_s});
            if self.change.dry_run {
                say(&format!("would be: POST /admin/commands {body}"))?;
                continue;
            }
            match central.post("/admin/commands", &body) {
                Ok(said) => say(&format!("{terminal}  {kind}  {}", cell(&said["id"])))?,
                // One terminal alone is refused as any other request is.
                Err(error) if terminals.len() == 1 => return Err(error.into()),
                Err(error) => {
                    failed += 1;
                    say(&format!("{terminal}  {kind}  not ordered: {error}"))?;
                }
            }
        }
        if failed > 0 {
            bail!("{failed} of {} terminals were not ordered", terminals.len());
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Release {
    fn run(&self, is_held: bool) -> anyhow::Result<ExitCode> {
        let body = json!({"version": self.version, "is_held": is_held});
        self.change.ask("/admin/holds", &body)
    }
}

fn holds(door: &Door) -> anyhow::Result<ExitCode> {
    let said = door.open()?.get("/admin/holds", &[])?;
    if door.print(&said)? {
        return Ok(ExitCode::SUCCESS);
    }
    let titles = ["release", "marked good", "taken back", "held", "because"];
    table(&titles, entries(&said["releases"]), |each| {
        let held = if each["is_held"] == true { "held" } else { "" };
        vec![
            cell(&each["version"]),
            cell(&each["good"]),
            cell(&each["taken_back"]),
            held.to_owned(),
            cell(&each["reason"]),
        ]
    })?;
    Ok(ExitCode::SUCCESS)
}

impl Place {
    fn run(&self, path: &str) -> anyhow::Result<ExitCode> {
        let body = json!({
            "terminal": self.terminal, "region": self.region, "site": self.site,
            "installed_on": self.installed_on.to_string(), "target": self.target,
        });
        self.change.ask(path, &body)
    }
}

impl Usage {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let by = match self.by {
            By::Village => "village",
            By::Item => "item",
            By::Terminal => "terminal",
        };
        let year = self.year.map_or(String::new(), |year| year.to_string());
        let query = [
            ("year", year.as_str()),
            ("by", by),
            ("region", &self.region),
        ];
        let said = self.door.open()?.get("/admin/usage", &query)?;
        if self.door.print(&said)? {
            return Ok(ExitCode::SUCCESS);
        }
        say(&format!(
            "{}, until {}",
            cell(&said["year"]),
            cell(&said["until"])
        ))?;
        let titles = [by, "region", "terminals", "cases", "of", "31 December", ""];
        table(&titles, entries(&said["lines"]), |each| {
            let (key, region) = (cell(&each["key"]), cell(&each["region"]));
            let is_behind = number(&each["forecast"]) < number(&each["target"]);
            vec![
                if key.is_empty() {
                    "(no place)".to_owned()
                } else {
                    key.clone()
                },
                if region == key { String::new() } else { region },
                cell(&each["terminals"]),
                cell(&each["cases"]),
                target_words(&each["target"]),
                cell(&each["forecast"]),
                if is_behind { "behind" } else { "" }.to_owned(),
            ]
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

fn quality(regional: &Regional) -> anyhow::Result<ExitCode> {
    let query = [("region", regional.region.as_str())];
    let said = regional.door.open()?.get("/admin/quality", &query)?;
    if regional.door.print(&said)? {
        return Ok(ExitCode::SUCCESS);
    }
    let titles = ["item", "visits", "completed", "left", "failed", ""];
    table(&titles, entries(&said["items"]), |each| {
        [
            "item",
            "visits",
            "completed",
            "abandoned",
            "failed",
            "verdict",
        ]
        .map(|name| cell(&each[name]))
        .to_vec()
    })?;
    say("\nwhy visits were left, over all items")?;
    let causes = said["abandoned"].as_object();
    let mut table = Table::new(&["cause", "visits"]);
    for (cause, count) in causes.into_iter().flatten() {
        table.row([plain(cause), cell(count)]);
    }
    for line in table.lines() {
        say(&line)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is in a data pack; goes with it.
const PACK_README: &str = "\
月度数据包 / monthly data pack

terminals.csv  终端 / terminals: terminal, region, site, installed_on, version, target, cases (of the year)
cases.csv      办件 / cases of the month: month, region, terminal, item, cases
tickets.csv    工单 / fault tickets opened in the month: number, region, terminal, class, code, level, state, opened_at, mended_at, closed_at, times_reopened
visits.csv     访问(自终端启用以来的累计) / visits since each terminal began to count: item, completed, abandoned, failed

时间为 UTC；月份按 UTC+8。不含任何个人信息。
Times are UTC; the month is that of UTC+8. Nothing in it is personal.
";

/// One file of a pack: its name, its columns, and the members that they are.
type PackFile = (&'static str, &'static [&'static str]);
const TERMINALS: PackFile = (
    "terminals.csv",
    &[
        "terminal",
        "region",
        "site",
        "installed_on",
        "version",
        "target",
        "cases",
    ],
);
const CASES: PackFile = (
    "cases.csv",
    &["month", "region", "terminal", "item", "cases"],
);
const TICKETS: PackFile = (
    "tickets.csv",
    &[
        "number",
        "region",
        "terminal",
        "class",
        "code",
        "level",
        "state",
        "opened_at",
        "mended_at",
        "closed_at",
        "times_reopened",
    ],
);
const VISITS: PackFile = ("visits.csv", &["item", "completed", "abandoned", "failed"]);

impl Pack {
    fn run(&self) -> anyhow::Result<ExitCode> {
        files::refuse_existing(&self.to)?;
        let month = [("month", self.month.as_str())];
        let mut terminals = self.door.all("/admin/fleet", &[], "terminals")?;
        let regions: BTreeMap<String, Value> = terminals
            .iter()
            .map(|each| (cell(&each["terminal"]), each["region"].clone()))
            .collect();
        let placed = |mut entries: Vec<Value>| {
            for entry in &mut entries {
                let region = regions.get(&cell(&entry["terminal"]));
                entry["region"] = region.cloned().unwrap_or_default();
            }
            entries
        };
        let cases = placed(self.door.all("/admin/pack/cases", &month, "cases")?);
        let tickets = placed(self.door.all("/admin/pack/tickets", &month, "tickets")?);
        let visits = self.door.open()?.get("/admin/quality", &[])?;
        terminals.sort_by_key(|each| cell(&each["region"]));
        std::fs::create_dir(&self.to).with_context(|| self.to.display().to_string())?;
        let files: [(PackFile, &[Value]); 4] = [
            (TERMINALS, &terminals),
            (CASES, &cases),
            (TICKETS, &tickets),
            (VISITS, entries(&visits["items"])),
        ];
        for ((name, columns), lines) in files {
            files::write_result(&self.to.join(name), csv(columns, lines))?;
            say(&format!("{name:<16}{} lines", lines.len()))?;
        }
        // Last, so that a pack with it is whole.
        files::write_result(&self.to.join("README.txt"), PACK_README)?;
        say(&format!("wrote {}", self.to.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn csv(columns: &[&str], lines: &[Value]) -> String {
    // The mark tells spreadsheets that it is UTF-8.
    let mut text = format!("\u{feff}{}\r\n", columns.join(","));
    for line in lines {
        let fields: Vec<String> = columns
            .iter()
            .map(|column| csv_field(&cell(&line[*column])))
            .collect();
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
    }
    text
}

impl Villages {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let place = || self.list.display().to_string();
        let bytes = files::read_bounded(&self.list, LIST_BYTES_MAX)?;
        let text = std::str::from_utf8(&bytes).with_context(place)?;
        let wanted = villages(text).with_context(place)?;
        let terminals = self.door.all("/admin/fleet", &[], "terminals")?;
        let mut there: BTreeMap<&str, u64> = BTreeMap::new();
        let mut unlisted = BTreeSet::new();
        for terminal in &terminals {
            let region = terminal["region"].as_str().unwrap_or_default();
            let around: Vec<&str> = with_those_around(region).collect();
            for place in &around {
                *there.entry(place).or_default() += 1;
            }
            if !around.iter().any(|place| wanted.contains(*place)) {
                unlisted.insert(format!("{} {}", cell(&terminal["terminal"]), plain(region)));
            }
        }
        let count = |village: &String| there.get(village.as_str()).copied().unwrap_or(0);
        let (covered, bare): (Vec<&String>, Vec<&String>) =
            wanted.iter().partition(|village| count(village) > 0);
        let said = json!({"covered": covered, "uncovered": bare, "unlisted": unlisted});
        if self.door.print(&said)? {
            return Ok(ExitCode::SUCCESS);
        }
        say(&format!(
            "{} of {} villages have a terminal",
            covered.len(),
            wanted.len()
        ))?;
        for village in bare {
            say(&format!("none       {}", plain(village)))?;
        }
        for terminal in unlisted {
            say(&format!("not listed {}", terminal.trim_end()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn log(door: &Door) -> anyhow::Result<ExitCode> {
    let said = door.open()?.get("/admin/log", &[])?;
    if door.print(&said)? {
        return Ok(ExitCode::SUCCESS);
    }
    let acts = entries(&said["acts"]).iter().take(LOG_LINES_MAX);
    table(
        &["at", "who", "what", "terminal", "detail", "status"],
        acts,
        |each| {
            ["at", "who", "act", "terminal", "detail", "status"]
                .map(|name| cell(&each[name]))
                .to_vec()
        },
    )?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_described_by_what_is_known() {
        let said = json!({
            "terminal": "T001", "region": "揭阳市", "site": "", "heard_at": null, "silent_h": null,
            "heartbeat": null, "cases": 3, "target": 500, "forecast": 400,
            "update": {"state": "rolled-back", "taken_back":
                {"version": "1.4.2", "code": "health.device", "reason": "printer\u{1b}[2J"}},
        });
        let lines = description(&said);
        assert!(
            lines.contains(&"update              rolled-back (1.4.2: health.device)".to_owned())
        );
        assert!(lines.contains(&"taken back because  printer[2J".to_owned()));
        assert!(
            !lines.iter().any(|line| line.starts_with("audit log")),
            "{lines:?}"
        );
    }

    #[test]
    fn a_pack_is_written_as_spreadsheets_read_it() {
        let line = json!({"item": "=a,b", "completed": 1, "abandoned": 0});
        let text = csv(VISITS.1, &[line]);
        assert_eq!(
            text,
            "\u{feff}item,completed,abandoned,failed\r\n\"'=a,b\",1,0,\r\n"
        );
    }
}
