//! The program's log: one level for everything, and another for a single device while somebody looks
//! at it. Changed while the program runs, forgotten when it ends.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Devices whose level differs at once. Chosen: a terminal has about ten.
const DEVICES_MAX: usize = 32;
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
        let (log, subscriber) = build(base, io::stderr);
        if tracing::subscriber::set_global_default(subscriber).is_err() {
            // Somebody else has opened a log already; its levels are not ours.
            return Log::fixed();
        }
        log
    });
}

/// The log of this process; one that cannot be changed when it was never opened here.
pub fn current() -> Log {
    LOG.get().cloned().unwrap_or_else(Log::fixed)
}

fn build<W>(base: String, writer: W) -> (Log, impl tracing::Subscriber + Send + Sync)
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
    }));
    (log, builder.finish())
}

impl Log {
    fn fixed() -> Self {
        Self(Arc::new(Shared {
            base: String::new(),
            devices: Mutex::default(),
            reload: Box::new(|_| false),
        }))
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

    impl io::Write for Paper {
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
        let (log, subscriber) = build("info".to_owned(), move || writer.clone());
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
        let (log, _subscriber) = build("info".to_owned(), io::sink);
        assert!(matches!(
            log.set_level("scanner", Some("loud")),
            Err(LevelError::Unknown(_))
        ));
        assert_eq!(
            Log::fixed().set_level("scanner", Some("debug")),
            Err(LevelError::Fixed)
        );
    }
}
