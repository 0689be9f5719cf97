//! The administrator's day: three machines become terminals by a code each, and speak with the platform
//! over TLS with certificates on both sides from then on. The three villages take a good release in waves, and are kept from a broken
//! one, because the first to take it gives it back by itself and the platform then holds it for the
//! others, before the operator has looked. Keys and releases are made by the real `kiosk-admin`, releases
//! are taken by the real `kiosk-updater`, from a web server that knows nothing of either.
//!
//! The release that is broken is the good one with a slip printer driver that looks for its printer
//! where it is not: it starts, it paints, and it does not print.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use central_platform::tls::{TestCertificates, test_certificates};
use central_platform::{Administrator, Authority, Enroll, HoldRule, Platform, Signatures};
use kiosk_update::engine::status::Phase;
use kiosk_update::manifest::Version;
use kiosk_update::waves::place_of;
use serde::Serialize;

use crate::album::Album;
use crate::clock::{Deadline, milliseconds_since, now, pause};
use crate::world::{Setting, start_platform};

mod enrolment;
mod operator;
mod site;
mod web;

pub use enrolment::{Enrolment, Machine};
pub use operator::{Code, Operator};
pub use site::{Pass, Place, Site, restart};
pub use web::Web;

/// The terminals and where they stand, by code and by name: two villages of one town, one of another.
const VILLAGES: [(&str, &str, &str); 3] = [
    ("D001", "440113001005", "演示市/演示县/东镇/一村"),
    ("D002", "440113001006", "演示市/演示县/东镇/二村"),
    ("D003", "440113002001", "演示市/演示县/西镇/三村"),
];
/// The kind of hardware that they have.
const HARDWARE: &str = "demo";
/// The releases.
const GOOD: Version = Version::new(0, 2, 0);
const BROKEN: Version = Version::new(0, 3, 0);
/// Where the first wave ends, in percent.
const FIRST_PERCENT: u16 = 34;
/// When everybody else follows, in seconds after the publication. Chosen: the first one is done with
/// the good release; with the broken one it has time for every examination, and the others to hear.
const REST_AFTER_S: u64 = 60;
const REST_AFTER_BROKEN_S: u64 = 900;
/// One that takes a release back is enough: three villages are the whole fleet.
const HOLD: HoldRule = HoldRule {
    terminals: 1,
    percent: 10,
};
/// Longest jitter inside a wave.
const SPREAD_S: u64 = 5;
/// Life of a terminal's certificate, as in the field.
const CERTIFICATE_DAYS: u32 = 365;
/// How often each updater looks; in the field an hour.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// When all must have happened.
const LIMIT: Duration = Duration::from_mins(10);
/// How long the platform and the terminals may take to hear of each other.
const HEARD: Duration = Duration::from_mins(2);
/// Where no printer listens: the port that was once for multiplexing (RFC 1078).
const NOWHERE: &str = "tcp:127.0.0.1:1";
/// The program's name in a slot, as the unit names it, and the demo's own beside it.
const IN_SLOT: &str = "bin/kiosk";
const BESIDE: &str = "bin/kiosk-demo";

/// What was seen.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Everything happened as it should.
    pub ok: bool,
    /// What did not, in words.
    pub error: Option<String>,
    /// Machines that became terminals, in order.
    pub enrolments: Vec<Enrolment>,
    /// What another machine was told that came with a code that was used.
    pub used_code: String,
    /// Bytes of the first release, and what went over the line until all had it.
    pub good_bytes: u64,
    /// Bytes that went over the line for it.
    pub good_sent_bytes: u64,
    /// From its publication to the first terminal that marked it good, in milliseconds.
    pub first_good_ms: u64,
    /// The same for the last one; the wave's delay is in it.
    pub all_good_ms: u64,
    /// Bytes that went over the line for the broken release.
    pub broken_sent_bytes: u64,
    /// From its publication to its taking back, in milliseconds.
    pub rolled_back_ms: u64,
    /// From the taking back to the hold of all others, in milliseconds.
    pub held_ms: u64,
    /// The most memory that an updater held, in KiB.
    pub updater_memory_kib: u64,
    /// Each pass of an updater that came to something else than the one before it.
    pub passes: Vec<Pass>,
    /// Who runs what while the broken release is held, as the office sees it.
    pub fleet: String,
    /// What is offered at the end, in the operator's words.
    pub offered: String,
}

/// Plays the day; `out` gets pictures of the glasses, what was said, and `result.json`.
///
/// # Errors
/// Something did not happen as it should; `result.json` says the same.
pub fn play(out: &Path, setting: &Setting, console: &mut dyn Write) -> anyhow::Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let out = out.canonicalize()?;
    let mut report = Report::default();
    let outcome = Day::begin(&out, setting, console).and_then(|mut day| {
        let outcome = day.play(setting, &mut report);
        day.end();
        outcome
    });
    report.ok = outcome.is_ok();
    report.error = outcome.as_ref().err().map(|error| format!("{error:#}"));
    fs::write(out.join("result.json"), serde_json::to_vec_pretty(&report)?)?;
    outcome
}

/// The `kiosk.toml` of a program whose slip printer driver does not find the printer.
///
/// # Errors
/// The configuration of the demo cannot be read or the other one not be written.
pub fn without_printer(config: &Path) -> anyhow::Result<PathBuf> {
    let mut table: toml::Table = toml::from_str(&fs::read_to_string(config)?)?;
    let devices = table.get_mut("device").and_then(toml::Value::as_array_mut);
    let printer = devices
        .into_iter()
        .flatten()
        .filter_map(toml::Value::as_table_mut)
        .find(|device| device.get("class").and_then(toml::Value::as_str) == Some("slip-printer"))
        .context("no slip printer is configured")?;
    printer.insert("port".to_owned(), NOWHERE.into());
    let changed = config.with_file_name("kiosk-broken.toml");
    fs::write(&changed, toml::to_string(&table)?)?;
    Ok(changed)
}

struct Day<'a> {
    out: PathBuf,
    console: &'a mut dyn Write,
    platform: Arc<Platform>,
    operator: Operator,
    web: Web,
    sites: Vec<Site>,
    published: PathBuf,
    program: PathBuf,
    albums: Vec<Album>,
    first: String,
}

impl<'a> Day<'a> {
    /// Keys, the platform, the web server. There is no terminal yet.
    fn begin(out: &Path, setting: &Setting, console: &'a mut dyn Write) -> anyhow::Result<Self> {
        let published = setting.directory.join("published");
        fs::create_dir_all(&published)?;
        let operator = Operator::open(
            &setting.directory.join("office"),
            &setting.program.with_file_name("kiosk-admin"),
            &out.join("operator.log"),
        )?;
        let administrator = operator.register()?;
        let authority = setting.directory.join("authority");
        fs::create_dir_all(&authority)?;
        let certificates = test_certificates(&authority)?;
        fs::copy(&certificates.ca, operator.ca())?;
        let platform = start_platform(&setting.directory.join("platform"), |config| {
            demand_certificates(config, &certificates, administrator);
        })?;
        operator.hold_ceremony()?;
        Ok(Self {
            out: out.to_owned(),
            console,
            platform: Arc::new(platform),
            operator,
            web: Web::start(&published)?,
            sites: Vec::new(),
            published,
            program: setting.program.clone(),
            albums: VILLAGES.iter().map(|_| Album::new(out)).collect(),
            first: String::new(),
        })
    }

    /// Each machine becomes a terminal by the code that was made for its number. Whoever comes with
    /// the same code afterwards is sent away.
    fn enroll(&mut self, setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
        let url = self.platform.url();
        let kiosk = setting.program.with_file_name("kiosk");
        let mut used = None;
        for (terminal, region, name) in VILLAGES {
            let directory = setting.directory.join(terminal);
            let machine = Machine::new(terminal, &directory, kiosk.clone(), &self.operator)?;
            let code = self.operator.expect(&url, terminal, name)?;
            let enrolment = machine.enroll(&self.operator, &url, &code)?;
            ensure!(
                enrolment.region == name,
                "{terminal} was told another place"
            );
            let words = format!(
                "{terminal} is enrolled; its certificate is good until {}.",
                enrolment.certificate_until
            );
            self.say(&words)?;
            self.add_site(setting, region, &enrolment)?;
            report.enrolments.push(enrolment);
            used = Some(code);
        }
        let used = used.context("there is no village")?;
        let directory = setting.directory.join("stranger");
        let stranger = Machine::new("stranger", &directory, kiosk, &self.operator)?;
        report.used_code = stranger.be_refused(&self.operator, &url, &used)?;
        self.say("Another machine that shows a used code is refused.")
    }

    /// A village with its updater, whose terminal shows the certificate that it got.
    fn add_site(
        &mut self,
        setting: &Setting,
        region: &str,
        enrolment: &Enrolment,
    ) -> anyhow::Result<()> {
        let setting = Setting {
            terminal: enrolment.terminal.clone(),
            platform: Some(Arc::clone(&self.platform)),
            directory: setting.directory.join(&enrolment.terminal),
            is_hurried: true,
            enrolled: Some(enrolment.lines.clone()),
            ..setting.clone()
        };
        let place = Place {
            region,
            hardware: HARDWARE,
            repository: &format!("{}/program", self.web.url()),
            root: &self.operator.root(),
        };
        self.sites.push(Site::new(&setting, &place)?);
        Ok(())
    }

    fn play(&mut self, setting: &Setting, report: &mut Report) -> anyhow::Result<()> {
        self.enroll(setting, report)?;
        self.open()?;
        self.roll_out(report)?;
        self.roll_back(report)?;
        self.clear(report)
    }

    fn say(&mut self, words: &str) -> anyhow::Result<()> {
        writeln!(self.console, "{words}")?;
        self.console.flush()?;
        Ok(())
    }

    /// Each terminal starts with the program of its package.
    fn open(&mut self) -> anyhow::Result<()> {
        for site in &mut self.sites {
            site.start()?;
            site.world.wait_line(true, HEARD)?;
        }
        let shown = self.operator.show(&self.platform.url(), VILLAGES[0].0)?;
        ensure!(
            shown.contains("certificate until"),
            "the office does not know the certificate of {}:\n{shown}",
            VILLAGES[0].0
        );
        self.say("Three terminals run the program of their package, each with its certificate.")
    }

    /// The good release goes to one, then to all.
    fn roll_out(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let tree = self.tree("good", false)?;
        report.good_bytes = size_of(&tree)?;
        let first = self.publish(GOOD, &tree, REST_AFTER_S, None)?;
        let (began, sent) = (now(), self.web.sent_bytes());
        let words =
            format!("{GOOD} is published: {first} first, the others {REST_AFTER_S} s later.");
        self.say(&words)?;
        let deadline = Deadline::after(LIMIT);
        while !self.all_run(GOOD) {
            ensure!(!deadline.has_passed(), "not everybody takes {GOOD}");
            for pass in self.passes(report)? {
                ensure!(
                    pass.status.phase != Phase::RolledBack,
                    "{}: {}",
                    pass.terminal,
                    pass.status.words
                );
                if pass.status.running == Some(GOOD) {
                    self.say(&format!("{} has marked {GOOD} good.", pass.terminal))?;
                    if report.first_good_ms == 0 {
                        ensure!(pass.terminal == first, "another one than {first} was first");
                        report.first_good_ms = milliseconds_since(began);
                    }
                }
            }
            pause(LOOK_EVERY);
        }
        report.all_good_ms = milliseconds_since(began);
        report.good_sent_bytes = self.web.sent_bytes() - sent;
        self.picture("good")
    }

    /// The broken release comes to one, which gives it back; the platform keeps it from the others.
    fn roll_back(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let tree = self.tree("broken", true)?;
        let before = self.first.clone();
        let first = self.publish(BROKEN, &tree, REST_AFTER_BROKEN_S, Some(&before))?;
        let (began, sent) = (now(), self.web.sent_bytes());
        let words = format!("{BROKEN}, which cannot print, is published: {first} first.");
        self.say(&words)?;
        let deadline = Deadline::after(LIMIT);
        let mut rolled_back_at = None;
        while self.held()? < VILLAGES.len() - 1 {
            ensure!(!deadline.has_passed(), "nobody holds {BROKEN}");
            for pass in self.passes(report)? {
                if pass.status.phase != Phase::RolledBack {
                    continue;
                }
                ensure!(pass.terminal == first, "{} took it too", pass.terminal);
                report.rolled_back_ms = milliseconds_since(began);
                rolled_back_at = Some(now());
                self.say(&format!("{first}: {}", pass.status.words))?;
            }
            pause(LOOK_EVERY);
        }
        let rolled_back_at = rolled_back_at.context("it was held before anybody had tried it")?;
        report.held_ms = milliseconds_since(rolled_back_at);
        ensure!(
            self.all_run(GOOD),
            "somebody runs something else than {GOOD}"
        );
        report.broken_sent_bytes = self.web.sent_bytes() - sent;
        self.say("The platform holds it back: the others keep what they have.")?;
        self.look(report, &first)?;
        self.picture("kept")
    }

    /// The operator looks who runs what and why, without leaving the office.
    fn look(&mut self, report: &mut Report, first: &str) -> anyhow::Result<()> {
        let url = self.platform.url();
        report.fleet = self.operator.fleet(&url)?;
        let shown = self.operator.show(&url, first)?;
        ensure!(
            shown.contains("update.device-lost"),
            "nobody in the office is told why {first} took it back:\n{shown}"
        );
        let words = report.fleet.clone();
        self.say(&words)
    }

    /// The broken release is taken away; what was good is offered again, and nobody has to do anything.
    fn clear(&mut self, report: &mut Report) -> anyhow::Result<()> {
        self.operator.change("withdraw")?;
        self.operator.publish(&self.published)?;
        let deadline = Deadline::after(HEARD);
        loop {
            drop(self.passes(report)?);
            let mut settled = 0;
            for site in &self.sites {
                let status = site.status()?;
                let is_settled = status.phase == Phase::UpToDate && status.running == Some(GOOD);
                settled += usize::from(is_settled);
            }
            if settled == VILLAGES.len() {
                break;
            }
            ensure!(!deadline.has_passed(), "somebody does not come to rest");
            pause(LOOK_EVERY);
        }
        report.offered = self.operator.offered()?;
        self.say("It is withdrawn; everybody runs what is offered.")
    }

    /// One look of every updater. What came to the same as the look before is no news.
    fn passes(&mut self, report: &mut Report) -> anyhow::Result<Vec<Pass>> {
        let mut news = Vec::new();
        for site in &mut self.sites {
            let pass = site.pass()?;
            report.updater_memory_kib = report.updater_memory_kib.max(pass.memory_kib);
            let last = report
                .passes
                .iter()
                .rev()
                .find(|last| last.terminal == pass.terminal);
            let is_news = last.is_none_or(|last| {
                (last.status.phase, last.status.running, &last.status.code)
                    != (pass.status.phase, pass.status.running, &pass.status.code)
            });
            if is_news {
                report.passes.push(pass.clone());
                news.push(pass);
            }
        }
        Ok(news)
    }

    fn all_run(&self, version: Version) -> bool {
        self.sites.iter().all(|site| {
            // Before its first pass an updater has said nothing.
            let status = site.status().ok();
            status.and_then(|status| status.running) == Some(version)
        })
    }

    /// How many are kept from what is offered, by the platform's order.
    fn held(&self) -> anyhow::Result<usize> {
        let mut held = 0;
        for site in &self.sites {
            let status = site.status()?;
            held += usize::from(status.code.as_deref() == Some("update.held"));
        }
        Ok(held)
    }

    /// Adds, signs and publishes a release whose first wave is one village, another than `before`.
    fn publish(
        &mut self,
        version: Version,
        tree: &Path,
        rest_after_s: u64,
        before: Option<&str>,
    ) -> anyhow::Result<String> {
        let (seed, first) = (1..10_000)
            .find_map(|seed| Some((seed, alone(seed)?)).filter(|(_, first)| before != Some(*first)))
            .context("no seed draws one village alone")?;
        self.operator.release(&operator::Plan {
            version,
            tree,
            seed,
            hardware: HARDWARE,
            first_percent: FIRST_PERCENT,
            rest_after_s,
            spread_s: SPREAD_S,
        })?;
        self.operator.publish(&self.published)?;
        first.clone_into(&mut self.first);
        Ok(first.to_owned())
    }

    /// What is released: this program, and the two lines that start it in a slot.
    fn tree(&self, name: &str, is_broken: bool) -> anyhow::Result<PathBuf> {
        let tree = self.operator.directory().join(name);
        fs::create_dir_all(tree.join("bin"))?;
        fs::copy(&self.program, tree.join(BESIDE))?;
        let flag = if is_broken { " --broken-printer" } else { "" };
        let starter = tree.join(IN_SLOT);
        fs::write(
            &starter,
            format!("#!/bin/sh\nexec \"${{0%/*}}/kiosk-demo\" \"$@\"{flag}\n"),
        )?;
        fs::set_permissions(&starter, fs::Permissions::from_mode(0o755))?;
        Ok(tree)
    }

    fn picture(&mut self, name: &str) -> anyhow::Result<()> {
        for (site, album) in self.sites.iter_mut().zip(&mut self.albums) {
            let name = format!("{}-{name}", site.terminal());
            album.take(&mut site.world, &name)?;
        }
        Ok(())
    }

    fn end(self) {
        for mut site in self.sites {
            let log = self.out.join(format!("{}.log", site.terminal()));
            // What was written is for whoever looks why; the day itself is over.
            drop(fs::copy(site.world.terminal_log(), log));
            drop(site.world.quit());
        }
    }
}

/// A platform that takes terminals in by codes, and hears nobody without a certificate and a
/// signature after that.
fn demand_certificates(
    config: &mut central_platform::Config,
    certificates: &TestCertificates,
    administrator: Administrator,
) {
    config.hold = HOLD;
    config.administrators.push(administrator);
    config.tls = Some(certificates.mutual(&certificates.server));
    config.signatures = Signatures::Required;
    config.enroll = Enroll::Registered;
    config.authority = Some(Authority {
        certificate: certificates.authority.certificate.clone(),
        key: certificates.authority.key.clone(),
        days: CERTIFICATE_DAYS,
    });
}

/// The one village that this seed draws into the first wave; `None` when it is none or several.
fn alone(seed: u32) -> Option<&'static str> {
    let bound = u32::from(FIRST_PERCENT) * u32::from(kiosk_update::manifest::PLACES) / 100;
    let mut first = VILLAGES
        .iter()
        .map(|(terminal, ..)| *terminal)
        .filter(|terminal| u32::from(place_of(terminal, seed)) < bound);
    let one = first.next()?;
    first.next().is_none().then_some(one)
}

fn size_of(tree: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for file in [IN_SLOT, BESIDE] {
        bytes += fs::metadata(tree.join(file))?.len();
    }
    if bytes == 0 {
        bail!("{} is empty", tree.display());
    }
    Ok(bytes)
}
