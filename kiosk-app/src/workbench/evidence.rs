//! What an auditor asks of a terminal (GB/T 22239-2019 level 2, GB/T 39786-2021): which algorithms and
//! keys it uses, who came, whether the machine under it is closed as it should be, whether the log
//! is whole. Facts with pass or fail and what to do; keys by fingerprint, never keys.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use offline_cache::{Safeguard, SafeguardKind};
use serde::Serialize;

use super::host::Host;
use crate::words::{Lang, text};

/// A program or a system that was not renewed for so long wants a look. Chosen: two releases a year.
const RENEWED_WITHIN_DAYS: i64 = 180;
/// Clocks may differ by so much. Chosen: what the log of a case may be wrong by.
const CLOCK_SECONDS_MAX: u64 = 60;
/// Secret files of the state directory.
const SECRETS: [&str; 2] = ["digest-key", "device-key.pk8"];
/// The rights of everybody but the owner.
const OTHERS: u32 = 0o077;
const SECONDS_A_DAY: i64 = 24 * 60 * 60;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgment {
    /// As it should be.
    Pass,
    /// Not as it should be.
    Fail,
    /// It cannot be told on this machine.
    Unknown,
}

/// One check of the baseline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its stable name.
    pub id: &'static str,
    /// How it ended.
    pub judgment: Judgment,
    /// What was found.
    pub found: String,
    #[serde(skip)]
    title: &'static str,
    #[serde(skip)]
    remedy: &'static str,
}

impl Check {
    /// What is checked.
    pub fn title(&self, lang: Lang) -> &'static str {
        text(lang, self.title)
    }

    /// What to do when it fails.
    pub fn remedy(&self, lang: Lang) -> &'static str {
        text(lang, self.remedy)
    }
}

/// What the baseline is judged by.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The machine.
    pub host: &'a Host,
    /// Directory of the durable state.
    pub state: &'a Path,
    /// The configuration file, where it is known.
    pub configuration: Option<&'a Path>,
    /// The line to the platform is encrypted and both ends prove who they are.
    pub has_mutual_tls: bool,
    /// Keys that may let staff in are configured.
    pub has_unlock_keys: bool,
    /// What the open store does for what lies in it.
    pub safeguards: &'a [Safeguard],
    /// Findings in the audit log; `None` where it could not be read.
    pub log_findings: Option<usize>,
    /// The time by the clock of the machine.
    pub clock: Timestamp,
    /// The time as far as the platform has told it.
    pub time: Timestamp,
    /// When this program was built, at the earliest.
    pub built: Timestamp,
}

/// Every check of the baseline, in the order of the export.
pub fn baseline(subject: &Subject<'_>) -> Vec<Check> {
    let mut checks = files(subject);
    checks.extend(process(subject.host));
    checks.extend(doors(subject.host));
    checks.extend(machine(subject));
    checks.extend(own(subject));
    checks.extend(subject.safeguards.iter().map(store));
    checks
}

fn check(
    id: &'static str,
    texts: (&'static str, &'static str),
    judgment: Judgment,
    found: impl Into<String>,
) -> Check {
    Check {
        id,
        judgment,
        found: found.into(),
        title: texts.0,
        remedy: texts.1,
    }
}

fn pass_if(is_good: bool) -> Judgment {
    if is_good {
        Judgment::Pass
    } else {
        Judgment::Fail
    }
}

/// Judges what was found; what was not found is unknown.
fn judged<T>(found: Option<T>, judge: impl Fn(&T) -> bool) -> Judgment {
    found.map_or(Judgment::Unknown, |found| pass_if(judge(&found)))
}

/// The rights of a file; `None` when it is not there.
fn mode(path: &Path) -> Option<u32> {
    Some(std::fs::metadata(path).ok()?.permissions().mode() & 0o7777)
}

fn octal(mode: Option<u32>) -> String {
    mode.map_or_else(|| "-".to_owned(), |mode| format!("{mode:04o}"))
}

fn files(subject: &Subject<'_>) -> Vec<Check> {
    let state = mode(subject.state);
    let secrets: Vec<PathBuf> = SECRETS
        .iter()
        .map(|name| subject.state.join(name))
        .filter(|path| path.exists())
        .collect();
    let loose: Vec<String> = secrets
        .iter()
        .filter(|path| mode(path).is_none_or(|mode| mode & OTHERS != 0))
        .map(|path| path.display().to_string())
        .collect();
    let configuration = subject.configuration.and_then(mode);
    let owner = subject
        .configuration
        .and_then(|path| std::fs::metadata(path).ok())
        .map_or_else(|| "-".to_owned(), |found| found.uid().to_string());
    vec![
        check(
            "state-directory-is-private",
            ("bench.check-state", "bench.remedy-state"),
            judged(state, |mode| mode & OTHERS == 0),
            octal(state),
        ),
        check(
            "key-files-are-private",
            ("bench.check-keys", "bench.remedy-keys"),
            pass_if(loose.is_empty()),
            if loose.is_empty() {
                secrets.len().to_string()
            } else {
                loose.join(" ")
            },
        ),
        check(
            "configuration-is-not-writable-by-others",
            ("bench.check-config", "bench.remedy-config"),
            judged(configuration, |mode| mode & 0o022 == 0),
            format!("{} uid {owner}", octal(configuration)),
        ),
    ]
}

fn process(host: &Host) -> Vec<Check> {
    let user = host
        .status("Uid")
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u32>().ok());
    let umask = host
        .status("Umask")
        .and_then(|text| u32::from_str_radix(&text, 8).ok());
    let cores = host.read("/proc/self/limits").and_then(|text| {
        let line = text
            .lines()
            .find(|line| line.starts_with("Max core file size"))?;
        line.split_whitespace().nth(4).map(str::to_owned)
    });
    let word = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |id| id.to_string());
    vec![
        check(
            "program-is-not-root",
            ("bench.check-user", "bench.remedy-user"),
            judged(user, |user| *user != 0),
            word(user),
        ),
        check(
            "core-dumps-are-off",
            ("bench.check-cores", "bench.remedy-cores"),
            judged(cores.as_deref(), |limit| *limit == "0"),
            cores.clone().unwrap_or_else(|| "-".to_owned()),
        ),
        check(
            "new-files-are-private",
            ("bench.check-umask", "bench.remedy-umask"),
            judged(umask, |umask| umask & 0o027 == 0o027),
            octal(umask),
        ),
    ]
}

fn doors(host: &Host) -> Vec<Check> {
    let open: Option<Vec<String>> = host.listeners().map(|listeners| {
        let foreign = listeners
            .iter()
            .filter(|listener| !listener.address.is_loopback());
        foreign
            .map(|listener| format!("{}:{}", listener.address, listener.port))
            .collect()
    });
    let console = host.read("/proc/cmdline").map(|text| {
        text.split_whitespace()
            .filter(|word| {
                word.starts_with("console=ttyS")
                    || word.starts_with("console=ttyUSB")
                    || word.starts_with("kgdboc")
                    || *word == "kgdbwait"
            })
            .collect::<Vec<_>>()
            .join(" ")
    });
    let tracing = host.read("/proc/sys/kernel/yama/ptrace_scope");
    let usb: Option<Vec<bool>> = {
        let hubs: Vec<bool> = host
            .names("/sys/bus/usb/devices")
            .into_iter()
            .filter_map(|name| {
                host.read(&format!("/sys/bus/usb/devices/{name}/authorized_default"))
            })
            .map(|text| text.trim() == "0")
            .collect();
        (!hubs.is_empty()).then_some(hubs)
    };
    let words = |found: Option<String>| match found {
        None => "-".to_owned(),
        Some(text) if text.is_empty() => "0".to_owned(),
        Some(text) => text,
    };
    vec![
        check(
            "no-port-is-open-to-the-network",
            ("bench.check-ports", "bench.remedy-ports"),
            judged(open.as_ref(), |open| open.is_empty()),
            words(open.as_ref().map(|open| open.join(" "))),
        ),
        check(
            "no-debug-console",
            ("bench.check-console", "bench.remedy-console"),
            judged(console.as_ref(), |words| words.is_empty()),
            words(console.clone()),
        ),
        check(
            "programs-cannot-look-into-each-other",
            ("bench.check-trace", "bench.remedy-trace"),
            judged(tracing.as_ref(), |scope| scope.trim() != "0"),
            words(tracing.as_ref().map(|scope| scope.trim().to_owned())),
        ),
        check(
            "new-usb-devices-are-not-let-in",
            ("bench.check-usb", "bench.remedy-usb"),
            judged(usb.as_ref(), |hubs| hubs.iter().all(|is_closed| *is_closed)),
            usb.as_ref().map_or_else(
                || "-".to_owned(),
                |hubs| format!("{}/{}", hubs.iter().filter(|is| **is).count(), hubs.len()),
            ),
        ),
    ]
}

fn machine(subject: &Subject<'_>) -> Vec<Check> {
    let Subject { host, state, .. } = subject;
    let encrypted = host.is_encrypted(state);
    let swap = host.read("/proc/swaps").map(|text| {
        let names = text
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next());
        // Memory that is written to a compressed piece of memory never reaches the disk.
        names
            .filter(|name| !name.contains("zram"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    let renewed = host
        .changed_s("/var/lib/dpkg/status")
        .or_else(|| host.changed_s("/var/lib/rpm"))
        .map(|at| (subject.time.as_second() - at) / SECONDS_A_DAY);
    let age = (subject.time.as_second() - subject.built.as_second()) / SECONDS_A_DAY;
    let apart = subject
        .clock
        .duration_since(subject.time)
        .unsigned_abs()
        .as_secs();
    let days = |days: Option<i64>| days.map_or_else(|| "-".to_owned(), |days| format!("{days} d"));
    vec![
        check(
            "disk-is-encrypted",
            ("bench.check-disk", "bench.remedy-disk"),
            encrypted.map_or(Judgment::Unknown, pass_if),
            encrypted.map_or("-", |is| if is { "dm-crypt" } else { "plain" }),
        ),
        check(
            "memory-is-not-written-to-disk",
            ("bench.check-swap", "bench.remedy-swap"),
            judged(swap.as_ref(), |names| names.is_empty()),
            swap.map_or_else(|| "-".to_owned(), |names| names.len().to_string()),
        ),
        check(
            "system-was-renewed",
            ("bench.check-system", "bench.remedy-system"),
            judged(renewed, |days| *days <= RENEWED_WITHIN_DAYS),
            days(renewed),
        ),
        check(
            "program-was-renewed",
            ("bench.check-program", "bench.remedy-program"),
            pass_if(age <= RENEWED_WITHIN_DAYS),
            days(Some(age)),
        ),
        check(
            "clock-is-in-step",
            ("bench.check-clock", "bench.remedy-clock"),
            pass_if(apart <= CLOCK_SECONDS_MAX),
            format!("{apart} s"),
        ),
    ]
}

fn own(subject: &Subject<'_>) -> Vec<Check> {
    vec![
        check(
            "line-is-encrypted-both-ends-proved",
            ("bench.check-tls", "bench.remedy-tls"),
            pass_if(subject.has_mutual_tls),
            if subject.has_mutual_tls { "mTLS" } else { "0" },
        ),
        check(
            "staff-come-in-by-name",
            ("bench.check-staff", "bench.remedy-staff"),
            pass_if(subject.has_unlock_keys),
            u32::from(subject.has_unlock_keys).to_string(),
        ),
        check(
            "audit-log-is-whole",
            ("bench.check-log", "bench.remedy-log"),
            judged(subject.log_findings, |findings| *findings == 0),
            subject
                .log_findings
                .map_or_else(|| "-".to_owned(), |findings| findings.to_string()),
        ),
    ]
}

/// What was found of one safeguard of the open store.
fn store(safeguard: &Safeguard) -> Check {
    let (id, texts) = match safeguard.kind {
        SafeguardKind::SecureDelete => (
            "store-overwrites-what-it-deletes",
            ("bench.check-erase", "bench.remedy-store"),
        ),
        SafeguardKind::FullSync => (
            "store-waits-for-the-disk",
            ("bench.check-sync", "bench.remedy-store"),
        ),
        SafeguardKind::WriteAheadLog => (
            "store-writes-ahead",
            ("bench.check-journal", "bench.remedy-store"),
        ),
        SafeguardKind::ForeignKeys => (
            "store-keeps-its-references",
            ("bench.check-references", "bench.remedy-store"),
        ),
        SafeguardKind::DistrustedSchema => (
            "store-runs-nothing-foreign",
            ("bench.check-schema", "bench.remedy-store"),
        ),
        SafeguardKind::TemporariesInMemory => (
            "store-leaves-no-temporary-files",
            ("bench.check-temporary", "bench.remedy-store"),
        ),
        SafeguardKind::Triggers => (
            "audit-log-only-grows",
            ("bench.check-triggers", "bench.remedy-triggers"),
        ),
        SafeguardKind::FileModes => (
            "store-files-are-private",
            ("bench.check-store-files", "bench.remedy-store-files"),
        ),
    };
    check(
        id,
        texts,
        pass_if(safeguard.is_kept),
        safeguard.found.clone(),
    )
}

/// One account that came in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// As what it came last.
    pub role: String,
    /// When it came last.
    pub last_at: String,
    /// How often it came.
    pub times: u64,
}

/// One key by its fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyLine {
    /// What it is for.
    pub purpose: &'static str,
    /// Its algorithm.
    pub algorithm: String,
    /// Its fingerprint.
    pub key_id: String,
    /// Who keeps the private half: `file`, `credential`, `tpm`, `platform`, `operator`.
    pub keeper: &'static str,
}

/// The state of the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogChain {
    /// Entries.
    pub entries: u64,
    /// Sequence and hash of the last one.
    pub head: Option<String>,
    /// What is wrong.
    pub findings: Vec<String>,
}

/// Everything that is exported.
#[derive(Clone, Debug, Serialize)]
pub struct Evidence {
    /// Version of the format.
    pub format: u32,
    /// The terminal.
    pub terminal: String,
    /// Where it stands.
    pub site: String,
    /// When it was taken.
    pub at: String,
    /// Version of the program.
    pub program: String,
    /// SHA-256 of the program.
    pub program_digest: String,
    /// SHA-256 of the configuration.
    pub configuration_digest: String,
    /// Algorithms by use.
    pub algorithms: BTreeMap<&'static str, String>,
    /// Keys.
    pub keys: Vec<KeyLine>,
    /// Accounts of staff that came in.
    pub accounts: BTreeMap<String, Account>,
    /// The baseline.
    pub baseline: Vec<Check>,
    /// The audit log.
    pub log: LogChain,
    /// Attempts to come in that failed in a row.
    pub failed_unlocks: u32,
    /// Settings that are not as they were at installation.
    pub changed_settings: Vec<super::settings::Difference>,
}

impl Evidence {
    /// As JSON, for tools.
    ///
    /// # Panics
    /// Never: plain values become JSON.
    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("plain values become JSON")
    }

    /// As text, for people.
    pub fn text(&self, lang: Lang) -> String {
        let mut lines = vec![
            text(lang, "bench.evidence-title").to_owned(),
            format!("{}  {}  {}", self.terminal, self.site, self.at),
            format!("{}  {}", self.program, self.program_digest),
            format!(
                "{}  {}",
                text(lang, "bench.config-digest"),
                self.configuration_digest
            ),
        ];
        let mut section = |title: &'static str, rows: Vec<String>| {
            lines.push(String::new());
            lines.push(format!("== {} ==", text(lang, title)));
            lines.extend(rows);
        };
        let algorithms = self.algorithms.iter();
        section(
            "bench.algorithms",
            algorithms
                .map(|(name, value)| format!("{name}: {value}"))
                .collect(),
        );
        let keys = self.keys.iter().map(|key| {
            format!(
                "{}  {}  {}  {}",
                key.purpose, key.algorithm, key.key_id, key.keeper
            )
        });
        section("bench.keys", keys.collect());
        let accounts = self.accounts.iter().map(|(name, account)| {
            format!(
                "{name}  {}  ×{}  {}",
                account.role, account.times, account.last_at
            )
        });
        section("bench.accounts", accounts.collect());
        section(
            "bench.baseline",
            self.baseline.iter().map(|each| line(each, lang)).collect(),
        );
        let mut log = vec![format!(
            "{}  {}",
            self.log.entries,
            self.log.head.as_deref().unwrap_or("-")
        )];
        log.extend(self.log.findings.iter().cloned());
        section("bench.log-chain", log);
        let changed = self
            .changed_settings
            .iter()
            .map(|each| format!("{}: {} → {}", each.key, each.was, each.is));
        section("bench.changed", changed.collect());
        lines.push(String::new());
        lines.join("\n")
    }
}

fn line(check: &Check, lang: Lang) -> String {
    let (word, remedy) = match check.judgment {
        Judgment::Pass => (text(lang, "bench.pass"), ""),
        Judgment::Fail => (text(lang, "bench.fail"), check.remedy(lang)),
        Judgment::Unknown => (text(lang, "bench.not-told"), ""),
    };
    let mut line = format!("[{word}] {} ({})", check.title(lang), check.found);
    if !remedy.is_empty() {
        line.push_str("\n    ");
        line.push_str(remedy);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn kept(kind: SafeguardKind) -> Safeguard {
        Safeguard {
            kind,
            is_kept: true,
            found: String::new(),
        }
    }

    fn judge(root: &Path, change: impl Fn(&mut Subject<'_>)) -> BTreeMap<&'static str, Judgment> {
        judge_with(root, &SafeguardKind::ALL.map(kept), change)
    }

    fn judge_with(
        root: &Path,
        safeguards: &[Safeguard],
        change: impl Fn(&mut Subject<'_>),
    ) -> BTreeMap<&'static str, Judgment> {
        let host = Host::new(root);
        let state = root.join("state");
        let configuration = root.join("kiosk.toml");
        let now = Timestamp::from_second(1_795_311_660).unwrap();
        let mut subject = Subject {
            host: &host,
            state: &state,
            configuration: Some(&configuration),
            has_mutual_tls: true,
            has_unlock_keys: true,
            safeguards,
            log_findings: Some(0),
            clock: now,
            time: now,
            built: now,
        };
        change(&mut subject);
        let checks = baseline(&subject).into_iter();
        checks.map(|check| (check.id, check.judgment)).collect()
    }

    fn closed_machine() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let mode = std::fs::Permissions::from_mode;
        write(root.path(), "state/digest-key", "x");
        std::fs::set_permissions(root.path().join("state"), mode(0o700)).unwrap();
        std::fs::set_permissions(root.path().join("state/digest-key"), mode(0o600)).unwrap();
        write(root.path(), "kiosk.toml", "");
        std::fs::set_permissions(root.path().join("kiosk.toml"), mode(0o640)).unwrap();
        write(
            root.path(),
            "proc/self/status",
            "Uid:\t990\t990\t990\t990\nUmask:\t0077\n",
        );
        write(
            root.path(),
            "proc/self/limits",
            "Limit  Soft  Hard\nMax core file size        0                    0       bytes\n",
        );
        write(
            root.path(),
            "proc/net/tcp",
            "head\n 0: 0100007F:0277 0:0 0A x\n",
        );
        write(root.path(), "proc/cmdline", "quiet console=tty0");
        write(root.path(), "proc/sys/kernel/yama/ptrace_scope", "1\n");
        write(
            root.path(),
            "proc/swaps",
            "Filename Type\n/dev/zram0 partition\n",
        );
        write(
            root.path(),
            "sys/bus/usb/devices/usb1/authorized_default",
            "0\n",
        );
        root
    }

    #[test]
    fn a_closed_machine_passes_and_what_cannot_be_told_is_not_passed() {
        let root = closed_machine();
        let judged = judge(root.path(), |_| {});
        for (id, judgment) in &judged {
            assert_ne!(*judgment, Judgment::Fail, "{id}");
        }
        assert_eq!(judged["disk-is-encrypted"], Judgment::Unknown);
        assert_eq!(judged["no-port-is-open-to-the-network"], Judgment::Pass);
        assert_eq!(judged.len(), 26);
    }

    #[test]
    fn each_opening_fails_its_own_check() {
        type Opening<'a> = &'a dyn Fn(&Path);
        let mode = std::fs::Permissions::from_mode;
        let cases: [(&str, Opening<'_>); 10] = [
            ("state-directory-is-private", &|root| {
                std::fs::set_permissions(root.join("state"), mode(0o755)).unwrap();
            }),
            ("key-files-are-private", &|root| {
                let key = root.join("state/digest-key");
                std::fs::set_permissions(key, mode(0o644)).unwrap();
            }),
            ("configuration-is-not-writable-by-others", &|root| {
                std::fs::set_permissions(root.join("kiosk.toml"), mode(0o666)).unwrap();
            }),
            ("program-is-not-root", &|root| {
                write(root, "proc/self/status", "Uid:\t0\t0\t0\t0\nUmask:\t0077\n");
            }),
            ("new-files-are-private", &|root| {
                write(root, "proc/self/status", "Uid:\t9\t9\t9\t9\nUmask:\t0022\n");
            }),
            ("core-dumps-are-off", &|root| {
                let line = "Max core file size   unlimited   unlimited bytes\n";
                write(root, "proc/self/limits", line);
            }),
            ("no-port-is-open-to-the-network", &|root| {
                write(root, "proc/net/tcp", "head\n 0: 00000000:0016 0:0 0A x\n");
            }),
            ("no-debug-console", &|root| {
                write(root, "proc/cmdline", "quiet console=ttyS0,115200");
            }),
            ("memory-is-not-written-to-disk", &|root| {
                write(root, "proc/swaps", "Filename Type\n/dev/sda3 partition\n");
            }),
            ("new-usb-devices-are-not-let-in", &|root| {
                write(root, "sys/bus/usb/devices/usb2/authorized_default", "1\n");
            }),
        ];
        for (id, open) in cases {
            let root = closed_machine();
            open(root.path());
            let judged = judge(root.path(), |_| {});
            let failed: Vec<&&str> = judged
                .iter()
                .filter(|(_, judgment)| **judgment == Judgment::Fail)
                .map(|(id, _)| id)
                .collect();
            assert_eq!(failed, [&id], "{id}");
        }
    }

    #[test]
    fn each_safeguard_that_the_store_has_lost_fails_its_own_check_and_has_a_remedy() {
        let root = closed_machine();
        let mut ids = std::collections::BTreeSet::new();
        for lost in SafeguardKind::ALL {
            let safeguards = SafeguardKind::ALL.map(|kind| Safeguard {
                is_kept: kind != lost,
                ..kept(kind)
            });
            let judged = judge_with(root.path(), &safeguards, |_| {});
            let failed: Vec<&str> = judged
                .iter()
                .filter(|(_, judgment)| **judgment == Judgment::Fail)
                .map(|(id, _)| *id)
                .collect();
            assert_eq!(failed.len(), 1, "{lost:?}: {failed:?}");
            ids.extend(failed);
            let told = store(safeguards.iter().find(|each| !each.is_kept).unwrap());
            for lang in Lang::ALL {
                assert!(!told.title(lang).is_empty() && !told.remedy(lang).is_empty());
            }
        }
        assert_eq!(ids.len(), SafeguardKind::ALL.len());
    }

    #[test]
    fn what_is_set_and_what_time_it_is_are_judged_too() {
        let root = closed_machine();
        let judged = judge(root.path(), |subject| {
            subject.has_mutual_tls = false;
            subject.has_unlock_keys = false;
            subject.log_findings = Some(1);
            subject.clock = Timestamp::UNIX_EPOCH;
            subject.built = Timestamp::UNIX_EPOCH;
        });
        for id in [
            "line-is-encrypted-both-ends-proved",
            "staff-come-in-by-name",
            "audit-log-is-whole",
            "clock-is-in-step",
            "program-was-renewed",
        ] {
            assert_eq!(judged[id], Judgment::Fail, "{id}");
        }
    }
}
