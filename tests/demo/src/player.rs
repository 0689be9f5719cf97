//! Plays a journey in a world, one step after the other, and tells what happened.
//!
//! Every wait has a deadline; the first step that fails ends the journey, with what was wanted and
//! what was on the glass.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use image::RgbImage;
use kiosk_emulators::{Act, Device, scenes, slip_code};

use crate::album::Album;
use crate::clock::{Deadline, milliseconds_since, now, pause};
use crate::control::{Request, Sight};
use crate::journey::{CodeSource, Deed, Journey, Numbered, Step};
use crate::privacy::PersonalWords;
use crate::report::{PrintReport, Report, StepReport, TransactionReport};
use crate::world::{LOOK_TICK, Setting, TERMINAL_ID, World};

/// How long the state of the line may take to reach the glass at the start.
/// Width at which a printed page is looked at, dots. Chosen: 150 dpi, as a poor telephone sees it.
const PAGE_DOTS: u32 = 1240;
const LINE_LIMIT: Duration = Duration::from_secs(20);
/// How long a signed answer may take to be read and looked at.
const UNLOCK_LIMIT: Duration = Duration::from_secs(30);
/// Pause between two runs of a command that does not say yet what it should.
const COMMAND_TICK: Duration = Duration::from_millis(500);
/// How long after the last step the terminal may still be busy with what it began.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// Plays the journey in `file` in a new world, writes pictures, prints and `result.json` to `out`.
///
/// # Errors
/// Something went wrong in the visit; `result.json` is there all the same, with the same words.
pub fn play_file(file: &Path, out: &Path, setting: &Setting) -> anyhow::Result<Report> {
    let journey = Journey::read(file)?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let out = out.canonicalize()?;
    clear(&out)?;
    let mut report = Report {
        journey: file.to_owned(),
        title: journey.title.clone(),
        ..Report::default()
    };
    let setting = Setting {
        is_hurried: journey.start.hurried,
        has_staff: journey.start.staff,
        ..setting.clone()
    };
    let outcome = play_whole(&journey, &out, &setting, &mut report);
    report.ok = outcome.is_ok();
    report.error = outcome.as_ref().err().map(|error| format!("{error:#}"));
    report.write(&out)?;
    outcome.map(|()| report)
}

/// Removes what an earlier journey left: pictures of two journeys must not mix.
fn clear(out: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(out)? {
        let path = entry?.path();
        let is_ours = path
            .extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| ["png", "pdf", "log"].contains(&extension));
        if path.is_file() && (is_ours || path.file_name().is_some_and(|name| name == "result.json"))
        {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn play_whole(
    journey: &Journey,
    out: &Path,
    setting: &Setting,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut world = World::new(setting)?;
    let mut album = Album::new(out);
    let played = open(&mut world, journey, report).and_then(|()| {
        Player {
            world: &mut world,
            album: &mut album,
        }
        .play(&journey.steps, report)
    });
    if played.is_err() {
        // The picture belongs to the error; without a terminal there is none.
        let _pictured = album.take(&mut world, "failed");
    }
    report.screens = album.pictures().iter().map(|file| name_of(file)).collect();
    let ended = world.quit();
    let log = out.join("terminal.log");
    if world.terminal_log().exists() {
        std::fs::copy(world.terminal_log(), &log)?;
    }
    report.terminal_log = name_of(&log);
    report.transactions = transactions(&world)?;
    report.prints = collect_prints(&world, out)?;
    played?;
    ended?;
    PersonalWords::gather(journey.typed())?.check(&log)
}

/// Starts the terminal and measures it while it is idle.
fn open(world: &mut World, journey: &Journey, report: &mut Report) -> anyhow::Result<()> {
    world.set_network(journey.start.network)?;
    world.start_terminal()?;
    world.wait_line(journey.start.network, LINE_LIMIT)?;
    world.wait(LINE_LIMIT, "the attract screen", |sight| {
        sight.screen == "attract"
    })?;
    report.first_frame_ms = world.first_frame_ms()?;
    report.pss_kib = Some(world.pss_kib()?);
    Ok(())
}

fn name_of(file: &Path) -> PathBuf {
    file.file_name().map_or_else(PathBuf::new, PathBuf::from)
}

fn transactions(world: &World) -> anyhow::Result<Vec<TransactionReport>> {
    Ok(world
        .accepted()?
        .into_iter()
        .map(|accepted| TransactionReport {
            id: accepted.id.to_string(),
            kind: accepted.kind,
            item: accepted.item,
            case_number: accepted.case_number,
            state: "accepted".to_owned(),
            times_received: u64::from(accepted.times_received),
        })
        .collect())
}

/// One word of an enum as its wire form spells it.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

/// Every print so far, slips first, each in the order in which it was made.
pub fn prints(world: &World) -> Vec<PrintReport> {
    let bench = world.bench();
    let slips = bench.slips().into_iter().map(|slip| PrintReport {
        device: word(&Device::SlipPrinter),
        file: slip.file,
        outcome: word(&slip.outcome),
        pages: None,
        height_mm: Some(slip.height_mm),
    });
    let documents = bench.documents().into_iter().map(|document| PrintReport {
        device: word(&Device::PagePrinter),
        file: document.file,
        outcome: word(&document.outcome),
        pages: Some(document.pages_printed),
        height_mm: None,
    });
    slips.chain(documents).collect()
}

/// Copies every print to `out` under a plain name.
fn collect_prints(world: &World, out: &Path) -> anyhow::Result<Vec<PrintReport>> {
    let mut collected = prints(world);
    let (mut slips, mut documents) = (0, 0);
    for print in &mut collected {
        let extension = print
            .file
            .extension()
            .and_then(|text| text.to_str())
            .unwrap_or("bin")
            .to_owned();
        let name = if print.height_mm.is_some() {
            slips += 1;
            format!("slip-{slips}.{extension}")
        } else {
            documents += 1;
            format!("document-{documents}.{extension}")
        };
        std::fs::copy(&print.file, out.join(&name))
            .with_context(|| format!("cannot copy {}", print.file.display()))?;
        print.file = PathBuf::from(name);
    }
    Ok(collected)
}

/// The text of the QR code on the newest whole slip.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn code_of_last_slip(world: &World) -> anyhow::Result<String> {
    Ok(slip_code::read(&last_slip(world)?.file)?)
}

fn code_of_last_page(world: &World) -> anyhow::Result<String> {
    let document = prints(world)
        .into_iter()
        .rfind(|print| print.pages.is_some() && print.outcome == "complete")
        .context("no whole document was printed yet")?;
    let pages = kiosk_documents::pdf_pages(&std::fs::read(&document.file)?, PAGE_DOTS, 1)?;
    let page = pages.into_iter().next().context("a document of no page")?;
    let picture = RgbImage::from_raw(page.width, page.height, page.rgb).context("no picture")?;
    let seen = document.file.with_extension("seen.png");
    picture.save(&seen)?;
    Ok(slip_code::read(&seen)?)
}

fn last_slip(world: &World) -> anyhow::Result<PrintReport> {
    prints(world)
        .into_iter()
        .rfind(|print| print.height_mm.is_some() && print.outcome == "complete")
        .context("no whole slip was printed yet")
}

/// The newest slip as the document camera sees it: on its desk, as large as the picture allows.
fn lay_slip(world: &mut World) -> anyhow::Result<()> {
    let file = last_slip(world)?.file;
    let slip = image::open(&file)?.to_rgb8();
    let mut desk = image::load_from_memory(&scenes::document(1)?)?.to_rgb8();
    let wide = slip.width() * desk.height() / slip.height().max(1);
    let slip = image::imageops::thumbnail(&slip, wide.min(desk.width()), desk.height());
    let left = i64::from(desk.width() - slip.width()) / 2;
    image::imageops::overlay(&mut desk, &slip, left, 0);
    let seen = file.with_extension("seen.jpeg");
    desk.save(&seen)?;
    world.act(Act::ShowScene {
        camera: Device::DocumentCamera,
        scene: None,
        file: Some(seen),
    })
}

/// Does what happens in the world rather than at the glass; false for steps of the other kind.
///
/// # Errors
/// The world does not allow it.
pub fn happen(world: &mut World, deed: &Deed) -> anyhow::Result<bool> {
    match deed {
        Deed::Act(act) => world.act(act.clone())?,
        Deed::Fault(fault) => world.set_fault(*fault),
        Deed::Step(Step::ShowCode { text, from }) => show_code(world, text.as_deref(), *from)?,
        Deed::Step(Step::LaySlip) => lay_slip(world)?,
        Deed::Step(Step::Network { up }) => world.set_network(*up)?,
        Deed::Step(Step::PlatformFace { answer }) => world.set_face(*answer),
        Deed::Step(Step::Kill) => world.kill()?,
        Deed::Step(Step::Restart) => world.start_terminal()?,
        Deed::Step(
            Step::Touch { .. }
            | Step::Hold { .. }
            | Step::Type { .. }
            | Step::WaitScreen { .. }
            | Step::WaitText { .. }
            | Step::WaitNoText { .. }
            | Step::ExpectText { .. }
            | Step::ExpectNoText { .. }
            | Step::Stay { .. }
            | Step::Wipe
            | Step::WaitSynced { .. }
            | Step::ExpectAccepted { .. }
            | Step::ExpectPrints { .. }
            | Step::Unlock { .. }
            | Step::VerifyCertificate
            | Step::Command { .. }
            | Step::Snapshot { .. },
        ) => return Ok(false),
    }
    Ok(true)
}

/// The text of the QR code on the glass, read from its picture as a telephone reads it.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn code_on_glass(world: &mut World) -> anyhow::Result<String> {
    let file = world.directory().join("photo.png");
    world.order(&Request::Snapshot { file: file.clone() })?;
    slip_code::read(&file).context("no code can be read from the glass")
}

fn show_code(
    world: &mut World,
    text: Option<&str>,
    from: Option<CodeSource>,
) -> anyhow::Result<()> {
    let text = match (text, from) {
        (Some(text), _) => text.to_owned(),
        (None, Some(CodeSource::LastSlip)) => code_of_last_slip(world)?,
        (None, Some(CodeSource::LastPage)) => code_of_last_page(world)?,
        (None, Some(CodeSource::Glass)) => code_on_glass(world)?,
        (None, None) => bail!("no code to show"),
    };
    world.act(Act::ShowCode {
        text,
        encoding: kiosk_emulators::CodeEncoding::default(),
    })
}

/// Who walks through the journey.
struct Player<'a> {
    world: &'a mut World,
    album: &'a mut Album,
}

impl Player<'_> {
    fn play(&mut self, steps: &[Numbered], report: &mut Report) -> anyhow::Result<()> {
        for step in steps {
            let start = now();
            tracing::info!("{step}");
            self.act(&step.deed).with_context(|| step.to_string())?;
            let screen = if self.world.is_running() {
                self.world.look()?.screen
            } else {
                String::new()
            };
            report.steps.push(StepReport {
                index: step.index,
                act: step.name.clone(),
                screen,
                ms: milliseconds_since(start),
            });
        }
        if self.world.is_running() {
            let sight = self.world.look()?;
            self.album.see(self.world, &sight)?;
        }
        Ok(())
    }

    fn act(&mut self, deed: &Deed) -> anyhow::Result<()> {
        if happen(self.world, deed)? {
            return Ok(());
        }
        match deed {
            Deed::Step(step) => self.step(step),
            Deed::Act(_) | Deed::Fault(_) => bail!("the world does not take this step"),
        }
    }

    fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::Touch { label, within_s } => self.touch(label, within_s.duration()),
            Step::Hold { label, ms } => self.hold(label, *ms),
            Step::Type { text } => self.type_keys(text),
            Step::Wipe => self.wipe(),
            Step::WaitScreen { screen, within_s } => {
                let wanted = format!("screen `{screen}`");
                self.wait(within_s.duration(), &wanted, |sight| {
                    sight.screen == *screen
                })
            }
            Step::WaitText { text, within_s } => self.wait(
                within_s.duration(),
                &format!("the text `{text}`"),
                |sight| sight.says(text),
            ),
            Step::WaitNoText { text, within_s } => {
                let wanted = format!("the text `{text}` to go");
                self.wait(within_s.duration(), &wanted, |sight| !sight.says(text))
            }
            Step::ExpectText { text } => self.expect(text, true),
            Step::ExpectNoText { text } => self.expect(text, false),
            Step::Stay {
                screen,
                seconds,
                without,
            } => self.stay(screen, Duration::from_secs(*seconds), without),
            Step::WaitSynced { within_s } => self.world.wait_synced(within_s.duration()),
            Step::ExpectAccepted { item, count } => self.expect_accepted(item, *count),
            Step::ExpectPrints {
                device,
                count,
                outcome,
                within_s,
            } => self.expect_prints(&word(device), *count, outcome, within_s.duration()),
            Step::Unlock {
                person,
                role,
                pin,
                minutes,
            } => self.unlock(person, role, pin, *minutes),
            Step::VerifyCertificate => self.verify_certificate(),
            Step::Command {
                words,
                status,
                says,
                within_s,
            } => self.command(words, *status, says, within_s.duration()),
            Step::Snapshot { name } => self.album.take(self.world, name),
            Step::ShowCode { .. }
            | Step::LaySlip
            | Step::Network { .. }
            | Step::PlatformFace { .. }
            | Step::Kill
            | Step::Restart => bail!("the world does not take this step"),
        }
    }

    /// Looks until `is_there`, taking a picture of every page that comes by.
    fn wait(
        &mut self,
        within: Duration,
        wanted: &str,
        is_there: impl Fn(&Sight) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Deadline::after(within);
        loop {
            let sight = self.world.look()?;
            self.album.see(self.world, &sight)?;
            if is_there(&sight) {
                return Ok(());
            }
            if deadline.has_passed() {
                bail!(
                    "waited {} s for {wanted}; {}",
                    within.as_secs(),
                    sight.describe()
                );
            }
            pause(LOOK_TICK);
        }
    }

    fn touch(&mut self, label: &str, within: Duration) -> anyhow::Result<()> {
        self.wait(within, &format!("a button `{label}`"), |sight| {
            sight.has_button(label)
        })?;
        let sight = self.world.look()?;
        self.album.leave(self.world, &sight)?;
        self.world.touch(label).with_context(|| sight.describe())?;
        self.album.touched();
        Ok(())
    }

    fn hold(&mut self, label: &str, ms: u64) -> anyhow::Result<()> {
        self.wait(
            Duration::from_secs(15),
            &format!("a button `{label}`"),
            |sight| sight.has_button(label),
        )?;
        self.world.order(&Request::Hold {
            label: label.to_owned(),
            ms,
        })
    }

    fn type_keys(&mut self, text: &str) -> anyhow::Result<()> {
        for key in text.chars() {
            self.world.touch(&key.to_string())?;
        }
        Ok(())
    }

    /// The last field ends the test: there may be another page then.
    fn wipe(&mut self) -> anyhow::Result<()> {
        self.wait(Duration::from_secs(15), "the touch test", |sight| {
            sight.has_button("cell-0")
        })?;
        let sight = self.world.look()?;
        self.album.see(self.world, &sight)?;
        let labels = sight.elements.iter().map(|element| element.label.as_str());
        for cell in labels.filter(|label| label.starts_with("cell-")) {
            self.world.touch(cell)?;
        }
        Ok(())
    }

    fn expect(&mut self, text: &str, is_wanted: bool) -> anyhow::Result<()> {
        let sight = self.world.look()?;
        self.album.see(self.world, &sight)?;
        ensure!(
            sight.says(text) == is_wanted,
            "the text `{text}` is {}there; {}",
            if is_wanted { "not " } else { "" },
            sight.describe()
        );
        Ok(())
    }

    fn stay(&mut self, screen: &str, time: Duration, without: &str) -> anyhow::Result<()> {
        let deadline = Deadline::after(time);
        while !deadline.has_passed() {
            let sight = self.world.look()?;
            ensure!(
                sight.screen == screen,
                "screen `{screen}` did not stay; {}",
                sight.describe()
            );
            let is_clean = without.is_empty() || !sight.says(without);
            ensure!(is_clean, "the text `{without}` came; {}", sight.describe());
            // Nothing is urgent here: a look in five is enough.
            pause(LOOK_TICK * 5);
        }
        Ok(())
    }

    /// The way in: the operator signs what the glass shows, and the scanner is shown the answer.
    fn unlock(&mut self, person: &str, role: &str, pin: &str, minutes: u16) -> anyhow::Result<()> {
        let challenge = code_on_glass(self.world)?;
        let office = self.world.office()?;
        let token = office.unlock(&challenge, person, role, pin, minutes)?;
        show_code(self.world, Some(&token), None)?;
        let left = self.wait(UNLOCK_LIMIT, "the question for the PIN", |sight| {
            sight.screen == "staff/pin"
        });
        self.world.act(Act::HideCode)?;
        left
    }

    /// On another machine: is what the glass shows to be believed?
    fn verify_certificate(&mut self) -> anyhow::Result<()> {
        let certificate = code_on_glass(self.world)?;
        let key = self.world.terminal_key()?;
        let office = self.world.office()?;
        let words = office.verify_certificate(&certificate, TERMINAL_ID, &key)?;
        tracing::info!("{words}");
        let altered = format!("{}0", certificate.trim_end());
        ensure!(
            office
                .verify_certificate(&altered, TERMINAL_ID, &key)
                .is_err(),
            "an altered certificate was believed"
        );
        Ok(())
    }

    /// Runs a technician's command again and again until it ends and says as it should.
    fn command(
        &mut self,
        words: &[String],
        status: i32,
        says: &[String],
        within: Duration,
    ) -> anyhow::Result<()> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let deadline = Deadline::after(within);
        loop {
            let output = self.world.command(&words)?;
            let said = String::from_utf8_lossy(&output.stdout);
            let missing = says.iter().find(|wanted| !said.contains(wanted.as_str()));
            if output.status.code() == Some(status) && missing.is_none() {
                return Ok(());
            }
            ensure!(
                !deadline.has_passed(),
                "`kiosk {}` ended with {} and not {status}, or does not say `{}`: {said}{}",
                words.join(" "),
                output.status,
                missing.map_or("", String::as_str),
                String::from_utf8_lossy(&output.stderr)
            );
            pause(COMMAND_TICK);
        }
    }

    fn expect_accepted(&mut self, item: &str, count: usize) -> anyhow::Result<()> {
        let deadline = Deadline::after(SETTLE_LIMIT);
        loop {
            let accepted = self.world.accepted()?;
            let cases: Vec<_> = accepted
                .iter()
                .filter(|each| each.item == item && each.kind == "case")
                .collect();
            let mut numbers: Vec<&str> =
                cases.iter().map(|case| case.case_number.as_str()).collect();
            numbers.sort_unstable();
            numbers.dedup();
            ensure!(
                numbers.len() == cases.len(),
                "one case number stands for several cases of {item}"
            );
            if cases.len() == count {
                return Ok(());
            }
            let is_too_many = cases.len() > count;
            ensure!(
                !is_too_many && !deadline.has_passed(),
                "the platform has {} cases of {item}, not {count}",
                cases.len()
            );
            pause(LOOK_TICK);
        }
    }

    fn expect_prints(
        &mut self,
        device: &str,
        count: usize,
        outcome: &str,
        within: Duration,
    ) -> anyhow::Result<()> {
        let deadline = Deadline::after(within);
        loop {
            let all = prints(self.world);
            let found = all
                .iter()
                .filter(|print| print.device == device && print.outcome == outcome)
                .count();
            if found == count {
                return Ok(());
            }
            if found > count || deadline.has_passed() {
                let mut list = String::new();
                for print in &all {
                    write!(list, " {}:{}", print.device, print.outcome)?;
                }
                bail!(
                    "{device} made {found} prints that are {outcome}, not {count}; all prints:{list}"
                );
            }
            pause(LOOK_TICK);
        }
    }
}
