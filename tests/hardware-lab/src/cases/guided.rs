//! The guided test of the signature pad as a technician runs it: the terminal's own program against a
//! digitizer of the kernel. It passes on strokes, names what is wrong with a pen that does not write and
//! with a pad that is pulled, and mends its own ticket.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kiosk_device::clock;

use crate::case::{Measure, Outcome};
use crate::virtual_input::{PEN_MAX, VirtualInput};

/// Where `run.sh` puts the terminal's program.
const PROGRAM: &str = "/lab/kiosk";
/// A terminal window: the program asks there whether somebody is present who can write.
const WINDOW: &str = "/dev/ttyS0";
/// Pace of the pen. Chosen: digitizers report 100 to 200 times a second.
const PEN_INTERVAL: Duration = Duration::from_millis(10);
/// Points of a stroke, and the pause behind it.
const POINTS: i32 = 8;
/// What the program says when the first of three strokes has been counted.
const TWO_LEFT: &str = "2";
/// Public half of a key that nobody has kept: nothing is queued here, but a terminal does not start
/// without one.
const SEALING_KEY: &str = "intl:h08qqW_ejVM3EAkemTIRb8Eg-an3vU2vI5fMcG-0ElI";
/// Between the strokes of a pad that will be pulled. Chosen: a dozen turns of the program's loop.
const COUNTED: Duration = Duration::from_millis(1500);
const NAME: &str = "lab signature pad";

/// What the hand with the pen does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hand {
    /// Signs.
    Writes,
    /// Moves above the surface: positions come, contact does not.
    Hovers,
    /// Writes on a surface that is twice as large as the pad says.
    Overreaches,
}

impl Hand {
    fn draw(self, pen: &mut VirtualInput) -> anyhow::Result<()> {
        let pressure = match self {
            Self::Writes | Self::Overreaches => PEN_MAX / 2,
            Self::Hovers => 0,
        };
        let width = match self {
            Self::Writes | Self::Hovers => PEN_MAX,
            Self::Overreaches => 2 * PEN_MAX,
        };
        for step in 0..=POINTS {
            let x = step * width / POINTS;
            pen.pen_at(x, PEN_MAX - step * PEN_MAX / POINTS, pressure)?;
            thread::park_timeout(PEN_INTERVAL);
        }
        pen.pen_at(PEN_MAX, 0, 0)?;
        thread::park_timeout(PEN_INTERVAL);
        Ok(())
    }
}

/// A terminal of its own, with the pad as its only device.
struct Place {
    directory: PathBuf,
}

impl Place {
    fn new() -> anyhow::Result<Self> {
        let directory = PathBuf::from("/tmp/guided");
        fs::create_dir_all(directory.join("items"))?;
        Ok(Self { directory })
    }

    fn config(&self, port: &str) -> anyhow::Result<PathBuf> {
        let root = self.directory.display();
        let path = self.directory.join("kiosk.toml");
        let text = format!(
            "[terminal]\nid = \"T001\"\nsite = \"lab\"\nhelp_phone = \"12345\"\n\
             [platform]\nurl = \"http://127.0.0.1:1\"\nsealing_key = \"{SEALING_KEY}\"\n\
             [paths]\nstate = \"{root}/state\"\nitems = \"{root}/items\"\n\
             [[device]]\nid = \"pad\"\nclass = \"signature-pad\"\ndriver = \"evdev-pen\"\n\
             port = \"{port}\"\n"
        );
        fs::write(&path, text)?;
        Ok(path)
    }

    /// How often the audit log holds an entry of this kind.
    fn audited(&self, kind: &str) -> anyhow::Result<usize> {
        let file = self.directory.join("audit");
        drop(fs::remove_file(&file));
        let output = Command::new(PROGRAM)
            .args(["audit", "--config"])
            .arg(self.directory.join("kiosk.toml"))
            .arg("export")
            .arg(&file)
            .output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "no audit log: {words}");
        Ok(fs::read_to_string(&file)?.matches(kind).count())
    }
}

/// What one run of the test said, and how long it took.
struct Said {
    lines: Vec<String>,
    is_passed: bool,
    took: Duration,
}

impl Said {
    fn expect(&self, word: &str) -> anyhow::Result<()> {
        let has = self.lines.iter().any(|line| line.contains(word));
        ensure!(has, "no {word} in {:?}", self.lines);
        Ok(())
    }
}

/// Runs the guided test while a hand draws; `is_pulled` takes the pad away behind the first stroke.
fn examine(place: &Place, hand: Hand, is_pulled: bool) -> anyhow::Result<Said> {
    let pen = VirtualInput::pen(NAME)?;
    let config = place.config(&pen.node())?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let writer =
        thread::Builder::new()
            .name("hand".to_owned())
            .spawn(move || -> anyhow::Result<()> {
                let mut pen = pen;
                while !stopped.load(Ordering::SeqCst) {
                    hand.draw(&mut pen)?;
                    if is_pulled {
                        // Time to be counted, so that the pad goes between two strokes of a test.
                        thread::park_timeout(COUNTED);
                    }
                }
                Ok(())
            })?;
    let said = follow(&config, is_pulled.then_some(&*stop));
    stop.store(true, Ordering::SeqCst);
    let Ok(drawn) = writer.join() else {
        anyhow::bail!("the hand panicked");
    };
    drawn?;
    said
}

fn follow(config: &Path, pull: Option<&AtomicBool>) -> anyhow::Result<Said> {
    let began = clock::now();
    let mut child = Command::new(PROGRAM)
        .args(["selftest", "--with-person", "--device", "pad", "--config"])
        .arg(config)
        .stdin(File::open(WINDOW)?)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context(PROGRAM)?;
    let out = child.stdout.take().context("no output")?;
    let mut lines = Vec::new();
    for line in BufReader::new(out).lines() {
        let line = line?;
        if let Some(pull) = pull
            && line.contains(TWO_LEFT)
        {
            pull.store(true, Ordering::SeqCst);
        }
        lines.push(line);
    }
    let is_passed = child.wait()?.success();
    Ok(Said {
        lines,
        is_passed,
        took: clock::now().saturating_duration_since(began),
    })
}

pub(crate) fn signature_pad() -> Outcome {
    let place = Place::new()?;
    let whole = examine(&place, Hand::Writes, false)?;
    ensure!(whole.is_passed, "strokes do not pass: {:?}", whole.lines);
    whole.expect("passed   signature-pad.strokes")?;
    ensure!(place.audited("ticket.opened")? == 0, "a ticket of nothing");
    let faults = [
        (Hand::Writes, true, "[device.gone]"),
        (Hand::Overreaches, false, "[test.outside-pad]"),
        (Hand::Hovers, false, "[test.no-stroke]"),
    ];
    for (hand, is_pulled, code) in faults {
        let said = examine(&place, hand, is_pulled)?;
        ensure!(!said.is_passed, "{hand:?} passes: {:?}", said.lines);
        said.expect("FAILED   signature-pad.strokes")?;
        said.expect(code)?;
    }
    ensure!(place.audited("ticket.opened")? > 0, "no ticket");
    ensure!(place.audited("ticket.mended")? == 0, "mended by nothing");
    let mended = examine(&place, Hand::Writes, false)?;
    ensure!(mended.is_passed, "not mended: {:?}", mended.lines);
    ensure!(place.audited("ticket.mended")? > 0, "the ticket stays open");
    Ok(vec![
        Measure::new("guided_test_of_the_pad", whole.took),
        Measure::new("guided_test_of_the_mended_pad", mended.took),
    ])
}
