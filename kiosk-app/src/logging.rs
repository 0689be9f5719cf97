//! The program's log: one level for everything, and another for a single device while somebody looks
//! at it. Changed while the program runs, forgotten when it ends; what staff want to be kept for longer
//! is the workbench's to bring back. The last lines are kept in memory, so that the platform can order
//! them; the log holds no personal data, and so do they.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Devices whose level differs at once. Chosen: a terminal has about ten.
const DEVICES_MAX: usize = 32;
/// Bytes of the log that are kept in memory. Chosen: an hour of a busy terminal.
const RECENT_BYTES_MAX: usize = 256 * 1024;
/// Name of the file into which the last lines are written; each order replaces it.
const COLLECTED: &str = "collected-log.txt";
/// Levels a device may have, the quietest first.
pub const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

type Reload = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// The levels of an open log; clones are the same log.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

struct Shared {
    base: String,
    devices: Mutex<BTreeMap<String, &'static str>>,
    reload: Reload,
    recent: Recent,
}

/// The last bytes of the log.
#[derive(Clone, Default)]
struct Recent(Arc<Mutex<VecDeque<u8>>>);

impl Recent {
    fn keep(&self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(RECENT_BYTES_MAX)..];
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let excess = (kept.len() + bytes.len()).saturating_sub(RECENT_BYTES_MAX);
        kept.drain(..excess);
        kept.extend(bytes);
    }

    /// Whole lines, the oldest first.
    fn lines(&self) -> Vec<u8> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_cut = kept.len() == RECENT_BYTES_MAX;
        let mut bytes: Vec<u8> = kept.iter().copied().collect();
        if is_cut && let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            bytes.drain(..=end);
        }
        bytes
    }
}

/// The standard error output, and the memory of it.
struct Tee(Recent);

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.keep(bytes);
        // A journal that does not listen must not stop the terminal.
        io::stderr().write_all(bytes).ok();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The log of this process, once it is open.
static LOG: OnceLock<Log> = OnceLock::new();

/// Why a level was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// No such level.
    #[error("the level {0:?} is unknown; accepted: error, warn, info, debug, trace")]
    Unknown(String),
    /// The log of this program is not ours to change, or too many devices differ already.
    #[error("the log of this program cannot be changed")]
    Fixed,
}

/// Opens the log of the process on the standard error output, at the level of the environment
/// variable `KIOSK_LOG`, else at `info`. A second call changes nothing.
pub fn open() {
    let base = std::env::var("KIOSK_LOG").unwrap_or_else(|_| "info".to_owned());
    LOG.get_or_init(|| {
        let recent = Recent::default();
        let (log, subscriber) = build(base, recent.clone(), move || Tee(recent.clone()));
        if tracing::subscriber::set_global_default(subscriber).is_err() {
            // Somebody else has opened a log already; its levels are not ours.
            return Log::fixed();
        }
        log
    });
}

/// The level of a line of the log: the word behind the time; a word further on is somebody's message.
pub(crate) fn level_of_line(line: &str) -> Option<&str> {
    line.split_whitespace().nth(1)
}

/// The log of this process; one that cannot be changed when it was never opened here.
pub fn current() -> Log {
    LOG.get().cloned().unwrap_or_else(Log::fixed)
}

fn build<W>(
    base: String,
    recent: Recent,
    writer: W,
) -> (Log, impl tracing::Subscriber + Send + Sync)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (base, filter) = match EnvFilter::try_new(&base) {
        Ok(filter) => (base, filter),
        Err(_) => ("info".to_owned(), EnvFilter::new("info")),
    };
    let builder = tracing_subscriber::fmt()
        .with_writer(writer)
        .with_ansi(false)
        .with_env_filter(filter)
        .with_filter_reloading();
    let handle = builder.reload_handle();
    let log = Log(Arc::new(Shared {
        base,
        devices: Mutex::default(),
        reload: Box::new(move |filter| handle.reload(filter).is_ok()),
        recent,
    }));
    (log, builder.finish())
}

impl Log {
    fn fixed() -> Self {
        Self(Arc::new(Shared {
            base: String::new(),
            devices: Mutex::default(),
            reload: Box::new(|_| false),
            recent: Recent::default(),
        }))
    }

    /// A log whose levels can be changed and that writes nothing.
    #[cfg(test)]
    pub(crate) fn changeable() -> Self {
        Self(Arc::new(Shared {
            base: "info".to_owned(),
            devices: Mutex::default(),
            reload: Box::new(|_| true),
            recent: Recent::default(),
        }))
    }

    /// Writes the last lines into a file in `directory`, in place of an earlier one, and returns its
    /// path. At most 256 KiB; readable by the terminal's user alone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn collect(&self, directory: &Path) -> io::Result<PathBuf> {
        let path = directory.join(COLLECTED);
        kiosk_sealing::write_private(&path, &self.0.recent.lines())?;
        Ok(path)
    }

    /// The last lines, whole, the oldest first; at most 256 KiB.
    pub(crate) fn last_lines(&self) -> Vec<u8> {
        self.0.recent.lines()
    }

    /// The level of a device where it differs from the rest.
    pub fn level_of(&self, device: &str) -> Option<&'static str> {
        let devices = self
            .0
            .devices
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        devices.get(device).copied()
    }

    /// Gives a device its own level, or takes it away again with `None`.
    ///
    /// # Errors
    /// [`LevelError`]; nothing has changed then.
    pub fn set_level(&self, device: &str, level: Option<&str>) -> Result<(), LevelError> {
        let mut devices = self
            .0
            .devices
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut wanted = devices.clone();
        match level {
            None => drop(wanted.remove(device)),
            Some(name) => {
                let known = LEVELS.into_iter().find(|level| *level == name);
                let known = known.ok_or_else(|| LevelError::Unknown(name.to_owned()))?;
                if wanted.len() >= DEVICES_MAX && !wanted.contains_key(device) {
                    return Err(LevelError::Fixed);
                }
                wanted.insert(device.to_owned(), known);
            }
        }
        let mut text = self.0.base.clone();
        for (device, level) in &wanted {
            // The span that the supervisor opens around the whole thread of a device.
            text = format!("{text},[device{{id={device}}}]={level}");
        }
        let filter = EnvFilter::builder()
            .with_regex(false)
            .parse(&text)
            .map_err(|_| LevelError::Fixed)?;
        if !(self.0.reload)(filter) {
            return Err(LevelError::Fixed);
        }
        *devices = wanted;
        Ok(())
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn talk(device: &str) {
        let _span = tracing::error_span!("device", id = %device).entered();
        tracing::debug!("whispered");
        tracing::info!("said");
    }

    fn lines(paper: &Paper, word: &str) -> usize {
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(word)).count()
    }

    #[test]
    fn one_device_is_made_talkative_and_quiet_again_while_the_others_stay_as_they_are() {
        let paper = Paper::default();
        let writer = paper.clone();
        let (log, subscriber) = build("info".to_owned(), Recent::default(), move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            talk("card-reader");
            assert_eq!((lines(&paper, "whispered"), lines(&paper, "said")), (0, 1));
            log.set_level("card-reader", Some("debug")).unwrap();
            assert_eq!(log.level_of("card-reader"), Some("debug"));
            talk("card-reader");
            talk("scanner");
            assert_eq!((lines(&paper, "whispered"), lines(&paper, "said")), (1, 3));
            log.set_level("card-reader", None).unwrap();
            talk("card-reader");
            assert_eq!((lines(&paper, "whispered"), lines(&paper, "said")), (1, 4));
        });
    }

    #[test]
    fn an_unknown_level_and_a_foreign_log_are_refused() {
        let (log, _subscriber) = build("info".to_owned(), Recent::default(), io::sink);
        assert!(matches!(
            log.set_level("scanner", Some("loud")),
            Err(LevelError::Unknown(_))
        ));
        assert_eq!(
            Log::fixed().set_level("scanner", Some("debug")),
            Err(LevelError::Fixed)
        );
    }

    #[test]
    fn the_last_lines_are_kept_whole_and_within_bounds() {
        let directory = tempfile::tempdir().unwrap();
        let recent = Recent::default();
        let writer = recent.clone();
        let (log, subscriber) = build("info".to_owned(), recent, move || Tee(writer.clone()));
        tracing::subscriber::with_default(subscriber, || talk("scanner"));
        let text = std::fs::read_to_string(log.collect(directory.path()).unwrap()).unwrap();
        assert!(
            text.contains("said") && !text.contains("whispered"),
            "{text}"
        );

        let line = [b'x'; 99];
        for _ in 0..RECENT_BYTES_MAX / 50 {
            log.0.recent.keep(&line);
            log.0.recent.keep(b"\n");
        }
        log.0.recent.keep(b"last\n");
        let path = log.collect(directory.path()).unwrap();
        let bytes = std::fs::read(path).unwrap();
        assert!(bytes.len() <= RECENT_BYTES_MAX);
        assert!(bytes.starts_with(&line) && bytes.ends_with(b"\nlast\n"));
    }
}
