//! Looks at the machine itself, and does what a test needs beside devices: typesets the test slip and
//! the test page, plays a tone. A thread of its own, because a disk, a line and a sound card take their
//! time; every part has a deadline or a bound.
//!
//! What the kernel says is read by pure functions of text; what it does not say is left out, never
//! guessed. Nothing here sees anything of a citizen.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Program, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use kiosk_device::wire;
use kiosk_documents::{Bits, DocumentError, Offset, Template, Typesetter, pdf_shifted, qr_svg};

use super::run::NO_SENSOR;
use super::step::Sheet;
use super::{Finding, Part};
use crate::clock;
use crate::desk::{Answer, Ask, Desk};
use crate::event::{Event, Ticket};
use crate::platform::measure::Gauge;
use crate::runtime::Input;

/// Work that may wait; a test asks one thing at a time.
const INBOX_LIMIT: usize = 8;
/// Longest connection to one address.
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
/// Addresses of each family that are tried.
const TRIED_MAX: usize = 2;
/// Seconds by which the clocks may differ: signatures bear five minutes, people one.
const AHEAD_MAX_S: i64 = 60;
/// No program of this version ran before: 2026-11-01T00:00:00Z, raised with each release.
const BUILT_AT_S: i64 = 1_793_491_200;
/// Seconds by which the clock of the board may differ from the system's. Chosen: more than the kernel
/// leaves after it has written it, less than a dead battery makes of it.
const BOARD_AHEAD_MAX_S: i64 = 300;
/// What is written to look at the disk, and the slowest speed, in bytes a second. Chosen: the oldest
/// flash disks of terminals write 10 MB/s, and a case must be durable within a second.
const PROBE_BYTES: usize = 4 * 1024 * 1024;
const SPEED_MIN: u64 = 1024 * 1024;
/// Name of the file that is written for it.
const PROBE_FILE: &str = "disk-test.tmp";
/// Free room below which a terminal takes nothing new soon, in bytes.
const FREE_MIN: u64 = 256 * 1024 * 1024;
/// Working memory that must be free, in KiB, and what is written and read to look at it.
const MEMORY_FREE_MIN_KIB: u64 = 96 * 1024;
const MEMORY_BYTES: usize = 16 * 1024 * 1024;
/// Two patterns in which each bit is once on and once off.
const MEMORY_PATTERNS: [u8; 2] = [0x55, 0xAA];
/// A processor slows down from here, in degrees Celsius.
const HOT_CELSIUS: i64 = 90;
/// Sensors and disks that are looked at at most, and the longest text of the kernel.
const ENTRIES_MAX: usize = 32;
const TEXT_BYTES_MAX: u64 = 64 * 1024;
/// Width of a slip in dots: an 80 mm head at 203 dpi.
pub(crate) const SLIP_WIDTH_DOTS: u32 = 576;
/// The tone: concert pitch, a second, mono, 16 bit.
const TONE_HZ: f64 = 440.0;
const TONE_RATE: u32 = 16_000;
const TONE_SAMPLES: u32 = TONE_RATE;
/// Loudness of the samples, of 32767; the volume is set at the loudspeaker.
const TONE_PEAK: f64 = 20_000.0;
/// Longest playing of a tone of a second.
const PLAY_LIMIT: Duration = Duration::from_secs(6);
/// How long whoever ends the thread waits. Chosen: longer than the playing of a tone.
const END_LIMIT: Duration = Duration::from_secs(8);
/// Between two looks at a player that has not ended.
const PLAY_LOOK: Duration = Duration::from_millis(50);

/// The test slip and the test page.
const SLIP: &str = include_str!("test-slip.typ");
const PAGE: &str = include_str!("test-page.typ");

/// Where the machine is looked at.
#[derive(Debug)]
pub struct Surroundings {
    /// The terminal's number and place, for what is printed.
    pub terminal: String,
    /// Name of the place.
    pub site: String,
    /// Directory of the durable state.
    pub state: PathBuf,
    /// Directories of fonts; the system's where empty.
    pub fonts: Vec<PathBuf>,
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
    /// Measures the line; `None` where it could not be made.
    pub gauge: Option<Gauge>,
    /// Verifies the audit log; `None` where the store cannot be opened.
    pub desk: Option<Desk>,
}

impl Surroundings {
    /// Those of this machine, without a line and a store.
    pub fn new(config: &crate::Config) -> Self {
        Self {
            terminal: config.terminal.id.clone(),
            site: config.terminal.site.clone(),
            state: config.paths.state.clone(),
            fonts: config.paths.fonts.clone(),
            proc: PathBuf::from("/proc"),
            sys: PathBuf::from("/sys"),
            gauge: None,
            desk: None,
        }
    }
}

/// What is ready to be printed.
#[derive(Clone, Debug)]
pub enum Typeset {
    /// The dots of the slip.
    Slip(Bits),
    /// The page as PDF.
    Page(Vec<u8>),
}

/// How a tone gets to the loudspeaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Player {
    /// The program, `aplay` or what stands in its place.
    pub program: PathBuf,
    /// The sound card.
    pub card: String,
}

enum Work {
    Look(Ticket, Part),
    Typeset(Ticket, Sheet, String, Offset),
    Play(Ticket, Player),
    /// End, let the store go, and say so.
    End(SyncSender<()>),
}

/// The inbox of the thread; clones are the same thread.
#[derive(Clone, Debug)]
pub struct Machine {
    inbox: SyncSender<Work>,
}

impl Machine {
    /// Starts the thread. It ends with the last handle.
    ///
    /// # Errors
    /// When the machine cannot start a thread.
    pub fn start(surroundings: Surroundings, out: SyncSender<Input>) -> std::io::Result<Self> {
        let (inbox, work) = sync_channel(INBOX_LIMIT);
        // No visit hangs on it: a bug here must not end one.
        thread::Builder::new()
            .name("machine-test".to_owned())
            .spawn(move || run(surroundings, &work, &out))?;
        Ok(Self { inbox })
    }

    fn put(&self, work: Work) -> Result<(), &'static str> {
        self.inbox.try_send(work).map_err(|_| "test.machine-silent")
    }

    /// Ends the thread and waits until it has let the store go, a few seconds at most.
    pub fn end(self) {
        let (done, ended) = sync_channel(1);
        let is_ended =
            self.inbox.try_send(Work::End(done)).is_ok() && ended.recv_timeout(END_LIMIT).is_ok();
        if !is_ended {
            tracing::warn!("the thread that looks at the machine does not end");
        }
    }

    /// Looks at a part; the answer is `Event::Probed`.
    pub(crate) fn look(&self, ticket: Ticket, part: Part) -> Result<(), &'static str> {
        self.put(Work::Look(ticket, part))
    }

    /// Typesets a test print, a page moved by `offset`; the answer is `Input::TestSheet`.
    pub(crate) fn typeset(
        &self,
        ticket: Ticket,
        sheet: Sheet,
        code: &str,
        offset: Offset,
    ) -> Result<(), &'static str> {
        self.put(Work::Typeset(ticket, sheet, code.to_owned(), offset))
    }

    /// Plays a tone; the answer is `Event::Probed`.
    pub(crate) fn play(&self, ticket: Ticket, player: Player) -> Result<(), &'static str> {
        self.put(Work::Play(ticket, player))
    }
}

fn run(mut surroundings: Surroundings, work: &Receiver<Work>, out: &SyncSender<Input>) {
    // Ends when it is told to, or when the terminal drops its side.
    for work in work {
        let answer = match work {
            Work::End(done) => {
                drop(surroundings);
                if done.try_send(()).is_err() {
                    tracing::debug!("nobody waits for the end any more");
                }
                return;
            }
            Work::Look(ticket, part) => {
                Input::Event(Event::Probed(ticket, look(&mut surroundings, part)))
            }
            Work::Typeset(ticket, sheet, code, offset) => {
                let typeset = typeset(&surroundings, sheet, &code, offset).map_err(|error| {
                    tracing::error!(%error, "a test print cannot be typeset");
                    "document.template"
                });
                Input::TestSheet(ticket, typeset)
            }
            Work::Play(ticket, player) => {
                let problem = play(&player, &tone()).err();
                let finding = Finding {
                    problem,
                    ..Finding::default()
                };
                Input::Event(Event::Probed(ticket, finding))
            }
        };
        if out.send(answer).is_err() {
            return;
        }
    }
}

fn look(surroundings: &mut Surroundings, part: Part) -> Finding {
    let mut finding = Finding::default();
    match part {
        Part::Disk => disk(surroundings, &mut finding),
        Part::Clock => clocks(surroundings, &mut finding),
        Part::Memory => memory(surroundings, &mut finding),
        Part::Network => network(surroundings, &mut finding),
        Part::Store => store(surroundings, &mut finding),
        Part::Sensors => sensors(surroundings, &mut finding),
    }
    finding
}

impl Finding {
    fn figure(&mut self, name: &str, value: impl Into<String>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// The first thing that is wrong stands; the rest shows in the figures.
    fn wrong(&mut self, code: &'static str) {
        self.problem.get_or_insert(code);
    }
}

/// Text of the kernel; empty where there is none.
fn told(path: &Path) -> String {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(TEXT_BYTES_MAX).read_to_string(&mut text));
    if read.is_err() {
        text.clear();
    }
    text
}

fn disk(surroundings: &Surroundings, finding: &mut Finding) {
    match rustix::fs::statvfs(&surroundings.state) {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let all = found.f_blocks.saturating_mul(found.f_frsize);
            finding.figure("disk-free", format!("{}/{} MiB", free >> 20, all >> 20));
            if free < FREE_MIN {
                finding.wrong("test.disk-full");
            }
        }
        Err(error) => {
            tracing::warn!(%error, "the disk does not tell its room");
            finding.wrong("test.disk-failed");
        }
    }
    match write_speed(&surroundings.state) {
        Ok(speed) => {
            finding.figure("disk-speed", format!("{} KiB/s", speed >> 10));
            if speed < SPEED_MIN {
                finding.wrong("test.disk-slow");
            }
        }
        Err(error) => {
            tracing::warn!(%error, "the disk cannot be written");
            finding.wrong("test.disk-failed");
        }
    }
    let errors = disk_errors(&surroundings.sys);
    if let Some(errors) = errors {
        finding.figure("disk-errors", errors.to_string());
        if errors > 0 {
            finding.wrong("test.disk-errors");
        }
    }
}

/// Bytes a second until they are safe, and what was written comes back as it was.
fn write_speed(directory: &Path) -> std::io::Result<u64> {
    let path = directory.join(PROBE_FILE);
    let speed = write_and_read(&path);
    let removed = std::fs::remove_file(&path);
    let speed = speed?;
    removed?;
    Ok(speed)
}

fn write_and_read(path: &Path) -> std::io::Result<u64> {
    let content: Vec<u8> = (0_u8..251).cycle().take(PROBE_BYTES).collect();
    let began = clock::now().uptime;
    let mut file = File::create(path)?;
    file.write_all(&content)?;
    file.sync_all()?;
    let took = clock::now().uptime.saturating_sub(began);
    let mut back = Vec::new();
    let limit = u64::try_from(PROBE_BYTES).unwrap_or(u64::MAX);
    File::open(path)?.take(limit).read_to_end(&mut back)?;
    if back != content {
        return Err(std::io::Error::from(std::io::ErrorKind::InvalidData));
    }
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    Ok(limit.saturating_mul(1000) / milliseconds)
}

/// Errors that the file systems have met; `None` where the kernel does not count them.
fn disk_errors(sys: &Path) -> Option<u64> {
    let systems = std::fs::read_dir(sys.join("fs/ext4")).ok()?;
    let counts = systems.take(ENTRIES_MAX).filter_map(|entry| {
        told(&entry.ok()?.path().join("errors_count"))
            .trim()
            .parse()
            .ok()
    });
    counts.reduce(u64::saturating_add)
}

fn clocks(surroundings: &Surroundings, finding: &mut Finding) {
    let now = clock::now();
    finding.figure("clock", now.minute());
    if now.at.as_second() < BUILT_AT_S {
        finding.wrong("test.clock-unset");
    }
    let board = told(&surroundings.sys.join("class/rtc/rtc0/since_epoch"));
    if let Ok(seconds) = board.trim().parse::<i64>() {
        let ahead = seconds.saturating_sub(now.at.as_second());
        finding.figure("clock-board", format!("{ahead:+} s"));
        if ahead.abs() > BOARD_AHEAD_MAX_S {
            finding.wrong("test.clock-board");
        }
    }
    // Without a line nobody can say what time it is; that is for the test of the line.
    if let Some(ahead) = surroundings
        .gauge
        .as_ref()
        .and_then(|gauge| gauge.measure().ahead_s)
    {
        difference(ahead, finding);
    }
}

fn difference(ahead_s: i64, finding: &mut Finding) {
    finding.figure("time-difference", format!("{ahead_s:+} s"));
    if ahead_s.abs() > AHEAD_MAX_S {
        finding.wrong("test.clock-off");
    }
}

fn memory(surroundings: &Surroundings, finding: &mut Finding) {
    let text = told(&surroundings.proc.join("meminfo"));
    let figures = memory_figures(&text);
    if let (Some(all), Some(free)) = (figures.get("MemTotal"), figures.get("MemAvailable")) {
        finding.figure("memory-free", format!("{}/{} MiB", free >> 10, all >> 10));
        if *free < MEMORY_FREE_MIN_KIB {
            finding.wrong("test.memory-low");
        }
    }
    let text = told(&surroundings.proc.join("self/status"));
    if let Some(used) = memory_figures(&text).get("VmRSS") {
        finding.figure("memory-used", format!("{} MiB", used >> 10));
    }
    if !is_memory_sound() {
        finding.wrong("test.memory-bad");
    }
}

/// Lines such as `MemTotal: 8048 kB` of the kernel, in KiB by name; what is no such line is left out.
pub fn memory_figures(text: &str) -> BTreeMap<&str, u64> {
    text.lines()
        .take(256)
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            let number = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some((name.trim(), number))
        })
        .collect()
}

/// Writes both patterns and reads them back. A machine that forgets this much forgets cases too.
fn is_memory_sound() -> bool {
    let mut room = vec![0_u8; MEMORY_BYTES];
    MEMORY_PATTERNS.iter().all(|pattern| {
        room.fill(*pattern);
        // Without this the compiler knows what it has just written.
        std::hint::black_box(&mut room);
        room.iter().all(|byte| byte == pattern)
    })
}

fn network(surroundings: &Surroundings, finding: &mut Finding) {
    let Some(gauge) = &surroundings.gauge else {
        return finding.wrong("platform.configuration");
    };
    let (host, port) = gauge.place();
    let began = clock::now().uptime;
    let addresses = wire::resolve(host, port).unwrap_or_default();
    let took = clock::now().uptime.saturating_sub(began);
    finding.figure("resolve-time", format!("{} ms", took.as_millis()));
    finding.figure("addresses", addresses.len().to_string());
    if addresses.is_empty() {
        return finding.wrong("test.name-unknown");
    }
    for (name, is_of_family) in [
        ("ipv4", SocketAddr::is_ipv4 as fn(&SocketAddr) -> bool),
        ("ipv6", SocketAddr::is_ipv6),
    ] {
        let of_family: Vec<&SocketAddr> = addresses
            .iter()
            .filter(|address| is_of_family(address))
            .collect();
        finding.figure(name, connected(&of_family));
    }
    let measured = gauge.measure();
    if let Some(health) = measured.health {
        finding.figure("health-time", format!("{} ms", health.as_millis()));
    }
    if let Some(problem) = measured.problem {
        finding.wrong(problem);
    }
    if let Some(ahead) = measured.ahead_s {
        difference(ahead, finding);
    }
    if let Some((bytes, took)) = measured.fetched {
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
        let speed = bytes.saturating_mul(1000) / milliseconds;
        let words = format!("{bytes} B, {} KiB/s", speed >> 10);
        finding.figure("throughput", words);
    }
}

/// How a connection to the first of these addresses went.
fn connected(addresses: &[&SocketAddr]) -> String {
    if addresses.is_empty() {
        return "-".to_owned();
    }
    for address in addresses.iter().take(TRIED_MAX) {
        let began = clock::now().uptime;
        if TcpStream::connect_timeout(address, CONNECT_LIMIT).is_ok() {
            let took = clock::now().uptime.saturating_sub(began);
            return format!("{} ms", took.as_millis());
        }
    }
    "failed".to_owned()
}

fn store(surroundings: &mut Surroundings, finding: &mut Finding) {
    let Some(desk) = &mut surroundings.desk else {
        return finding.wrong("queue.in-use");
    };
    let mut nothing = std::io::empty();
    let verify = Ask::Verify { anchor: None };
    match desk.answer(verify, &mut nothing, &mut std::io::sink(), clock::now()) {
        Answer::Verdict {
            entries,
            head,
            findings,
        } => {
            finding.figure("audit-entries", entries.to_string());
            if let Some(head) = head {
                let start: String = head.head.chars().take(12).collect();
                finding.figure("audit-head", start);
            }
            if !findings.is_empty() {
                tracing::error!(count = findings.len(), "the audit log is not whole");
                finding.wrong("audit.edited");
            }
        }
        Answer::Refused { code, words } => {
            tracing::warn!(code, words, "the store does not answer");
            finding.wrong("queue.store");
        }
        Answer::Rows { .. }
        | Answer::Load { .. }
        | Answer::Part { .. }
        | Answer::Imported { .. }
        | Answer::Key { .. }
        | Answer::Held { .. }
        | Answer::Usage { .. }
        | Answer::Done { .. } => finding.wrong("queue.store"),
    }
}

fn sensors(surroundings: &Surroundings, finding: &mut Finding) {
    let Ok(zones) = std::fs::read_dir(surroundings.sys.join("class/thermal")) else {
        return finding.wrong(NO_SENSOR);
    };
    let warmest = zones
        .take(ENTRIES_MAX)
        .filter_map(|zone| temperature(&told(&zone.ok()?.path().join("temp"))))
        .max();
    let Some(celsius) = warmest else {
        return finding.wrong(NO_SENSOR);
    };
    finding.figure("temperature", format!("{celsius} °C"));
    if celsius >= HOT_CELSIUS {
        finding.wrong("test.too-hot");
    }
}

/// What a sensor of the kernel says, in whole degrees; `None` where it is no temperature of a machine
/// that runs.
pub fn temperature(text: &str) -> Option<i64> {
    let celsius = text.trim().parse::<i64>().ok()? / 1000;
    (-40..=150).contains(&celsius).then_some(celsius)
}

fn typeset(
    surroundings: &Surroundings,
    sheet: Sheet,
    code: &str,
    offset: Offset,
) -> Result<Typeset, DocumentError> {
    // Made anew for each print and dropped behind it: tests are rare, and fonts are large.
    let typesetter = if surroundings.fonts.is_empty() {
        Typesetter::with_system_fonts()?
    } else {
        Typesetter::new(&surroundings.fonts)?
    };
    let data = serde_json::json!({
        "code": code,
        "terminal": surroundings.terminal,
        "site": surroundings.site,
        "time": clock::now().minute(),
    });
    let document = typesetter.compile(&Template {
        source: match sheet {
            Sheet::Slip => SLIP,
            Sheet::Page => PAGE,
        },
        data: &data,
        files: &[("qr.svg", qr_svg(code)?)],
    })?;
    Ok(match sheet {
        Sheet::Slip => Typeset::Slip(document.page_bits(0, SLIP_WIDTH_DOTS)?),
        Sheet::Page if offset.is_zero() => Typeset::Page(document.pdf()?),
        Sheet::Page => Typeset::Page(pdf_shifted(&document.pdf()?, offset)?),
    })
}

/// A tone of one second as a WAV file, swelling at its ends so that it does not click.
pub fn tone() -> Vec<u8> {
    let bytes = TONE_SAMPLES * 2;
    let mut wav = Vec::new();
    wav.extend(b"RIFF");
    wav.extend((bytes + 36).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16_u32.to_le_bytes());
    // PCM, one channel.
    wav.extend([1, 0, 1, 0]);
    wav.extend(TONE_RATE.to_le_bytes());
    wav.extend((TONE_RATE * 2).to_le_bytes());
    // Two bytes a sample, sixteen bits.
    wav.extend([2, 0, 16, 0]);
    wav.extend(b"data");
    wav.extend(bytes.to_le_bytes());
    for sample in 0..TONE_SAMPLES {
        let seconds = f64::from(sample) / f64::from(TONE_RATE);
        let swell = (seconds.min(1.0 - seconds) * 20.0).clamp(0.0, 1.0);
        let height = (seconds * TONE_HZ * std::f64::consts::TAU).sin() * swell * TONE_PEAK;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the peak is below that of 16 bits"
        )]
        wav.extend((height as i16).to_le_bytes());
    }
    wav
}

/// Gives the sound to the program, which has [`PLAY_LIMIT`].
fn play(player: &Player, wav: &[u8]) -> Result<(), &'static str> {
    let child = Program::new(&player.program)
        .args(["-q", "-D", &player.card, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.map_err(|error| {
        tracing::warn!(%error, program = %player.program.display(), "no player");
        "test.no-player"
    })?;
    let stdin = child.stdin.take();
    let sound = wav.to_vec();
    // A program that does not read would hold the writer; it ends with the program.
    let writer = thread::Builder::new()
        .name("tone".to_owned())
        .spawn(move || stdin.is_some_and(|mut stdin| stdin.write_all(&sound).is_ok()));
    let is_played = writer.is_ok() && wait(&mut child);
    if is_played {
        Ok(())
    } else {
        Err("test.player-failed")
    }
}

/// True when the program has ended well within its limit; one that has not is ended.
fn wait(child: &mut Child) -> bool {
    let until = clock::now().uptime + PLAY_LIMIT;
    let (keeper, silence) = sync_channel::<()>(1);
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status.success()),
            Ok(None) if clock::now().uptime < until => {}
            Ok(None) | Err(_) => break None,
        }
        // The kernel tells of the end to whoever asks; nothing ever comes on this channel.
        if silence.recv_timeout(PLAY_LOOK) == Err(RecvTimeoutError::Disconnected) {
            break None;
        }
    };
    drop(keeper);
    if ended.is_none() {
        let ended = child.kill().and_then(|()| child.wait());
        tracing::warn!(?ended, "a player was ended");
    }
    ended.unwrap_or(false)
}

#[cfg(test)]
mod tests;
