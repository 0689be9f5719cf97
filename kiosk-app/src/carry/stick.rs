//! Bundle parts on a stick. A part is under its name only when it is whole and on the medium; what a
//! pulled stick leaves is a `.partial` file and a clear error, and the queue has lost nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with, statvfs};
use rustix::io::Errno;
use uuid::Uuid;

use crate::clock::Moment;
use crate::desk::{Answer, Ask, Counter};

/// Most parts of one bundle; 64 GiB.
const PARTS_MAX: u32 = 1024;
/// Left free on the stick, for its own tables and for the receipts that come back.
const FREE_MARGIN: u64 = 4 * 1024 * 1024;

/// Why a bundle is not on the stick.
#[derive(Debug, thiserror::Error)]
pub enum StickError {
    /// It is no directory of a stick that may be written into.
    #[error("{} is {reason}", path.display())]
    Directory {
        /// What was named.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The stick is too small.
    #[error(
        "the stick has {free_mib} MiB free and {needed_mib} MiB are needed; use a larger one, or empty it"
    )]
    Full {
        /// Free, in MiB.
        free_mib: u64,
        /// Needed, in MiB.
        needed_mib: u64,
    },
    /// A name that is to be written exists.
    #[error("{} exists; it is never written over", path.display())]
    Exists {
        /// The name.
        path: PathBuf,
    },
    /// The stick failed or was pulled out.
    #[error(
        "the stick cannot be written ({source}); nothing is lost: everything is still in the queue. Put a good stick in and export again"
    )]
    Write {
        /// Why.
        source: io::Error,
    },
    /// The queue refused or failed.
    #[error("{words} [{code}]")]
    Refused {
        /// Problem code.
        code: String,
        /// In words.
        words: String,
    },
    /// The terminal does not answer.
    #[error("the terminal does not answer")]
    Terminal(#[source] io::Error),
}

impl StickError {
    /// Stable problem code.
    pub fn code(&self) -> &str {
        match self {
            Self::Directory { .. } => "bundle.directory",
            Self::Full { .. } => "bundle.stick-full",
            Self::Exists { .. } => "bundle.exists",
            Self::Write { .. } => "bundle.stick-failed",
            Self::Refused { code, .. } => code,
            Self::Terminal(_) => "queue.no-answer",
        }
    }
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// The files, in order.
    pub files: Vec<PathBuf>,
    /// Transactions in them.
    pub transactions: u64,
    /// Transactions that could not be carried.
    pub left_out: Vec<Uuid>,
}

/// A name for a new bundle.
pub fn mint(now: Moment) -> Uuid {
    crate::queue::mint(now)
}

/// Writes everything that waits into `directory`, part by part. Rows of a part are marked only when
/// it is on the medium.
///
/// # Errors
/// [`StickError`]; parts that were finished stay and are good.
pub fn export(
    counter: &mut Counter,
    directory: &Path,
    by: &str,
    bundle: Uuid,
    now: Moment,
) -> Result<Exported, StickError> {
    let medium = Medium::open(directory)?;
    let Answer::Load {
        bytes,
        transactions,
        terminal,
    } = ask(counter, &Ask::Load {}, &mut io::sink(), now)?
    else {
        return Err(unexpected());
    };
    if transactions == 0 {
        return Ok(Exported::default());
    }
    medium.check_room(bytes)?;
    let mut exported = Exported::default();
    let mut after = 0;
    for part in 1..=PARTS_MAX {
        let name = format!("kiosk-{terminal}-{bundle}-{part:03}.bundle");
        let mut file = medium.begin(&name)?;
        let place = Ask::Part {
            bundle,
            part,
            after,
        };
        let answer = ask(counter, &place, &mut file, now);
        if let Some(source) = file.failure.take() {
            return Err(StickError::Write { source });
        }
        let Answer::Part {
            transactions,
            last,
            mut left_out,
        } = answer?
        else {
            return Err(unexpected());
        };
        exported.left_out.append(&mut left_out);
        if transactions == 0 {
            // Dropping the file removes it: there was nothing left.
            return Ok(exported);
        }
        let path = file.finish()?;
        let carried = Ask::Carried { by: by.to_owned() };
        let Answer::Done { .. } = ask(counter, &carried, &mut io::sink(), now)? else {
            return Err(unexpected());
        };
        exported.files.push(path);
        exported.transactions += transactions;
        after = last;
    }
    Ok(exported)
}

fn ask(
    counter: &mut Counter,
    ask: &Ask,
    out: &mut dyn Write,
    now: Moment,
) -> Result<Answer, StickError> {
    match counter.ask(ask, &[], out, now) {
        Ok(Answer::Refused { code, words }) => Err(StickError::Refused { code, words }),
        Ok(answer) => Ok(answer),
        Err(error) => Err(StickError::Terminal(error)),
    }
}

fn unexpected() -> StickError {
    StickError::Refused {
        code: "queue.no-answer".to_owned(),
        words: "the terminal answered something else".to_owned(),
    }
}

/// A directory that can be written into.
pub(crate) struct Medium {
    directory: PathBuf,
    /// Open, so that names in it can be made durable.
    handle: File,
}

impl Medium {
    pub(crate) fn open(directory: &Path) -> Result<Self, StickError> {
        let refused = |reason| StickError::Directory {
            path: directory.to_path_buf(),
            reason,
        };
        let found = fs::symlink_metadata(directory).map_err(|_| refused("not there"))?;
        if found.is_symlink() {
            return Err(refused("a link; name the directory itself"));
        }
        if !found.is_dir() {
            return Err(refused("no directory"));
        }
        let handle = OpenOptions::new()
            .read(true)
            .custom_flags(flags(OFlags::DIRECTORY | OFlags::NOFOLLOW))
            .open(directory)
            .map_err(|_| refused("a directory that cannot be opened"))?;
        Ok(Self {
            directory: directory.to_path_buf(),
            handle,
        })
    }

    pub(crate) fn check_room(&self, needed: u64) -> Result<(), StickError> {
        let found = statvfs(self.directory.as_path()).map_err(write_failed)?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        let needed = needed.saturating_add(FREE_MARGIN);
        if free < needed {
            return Err(StickError::Full {
                free_mib: free >> 20,
                needed_mib: needed.div_ceil(1 << 20),
            });
        }
        Ok(())
    }

    /// A new file that gets its name when it is finished.
    pub(crate) fn begin(&self, name: &str) -> Result<PartFile<'_>, StickError> {
        let path = self.directory.join(name);
        if fs::symlink_metadata(&path).is_ok() {
            return Err(StickError::Exists { path });
        }
        let partial = self.directory.join(format!(".{name}.partial"));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(flags(OFlags::NOFOLLOW))
            .open(&partial)
            .map_err(|source| {
                if source.kind() == io::ErrorKind::AlreadyExists {
                    let path = partial.clone();
                    return StickError::Exists { path };
                }
                StickError::Write { source }
            })?;
        Ok(PartFile {
            medium: self,
            file,
            partial,
            path,
            failure: None,
        })
    }
}

/// A part that is being written; dropped before it is finished, it goes away.
pub(crate) struct PartFile<'a> {
    medium: &'a Medium,
    file: File,
    partial: PathBuf,
    path: PathBuf,
    /// What the stick said, apart from what the terminal says.
    failure: Option<io::Error>,
}

impl PartFile<'_> {
    /// On the medium, under its name, with its name on the medium too.
    pub(crate) fn finish(self) -> Result<PathBuf, StickError> {
        let failed = |source| StickError::Write { source };
        self.file.sync_all().map_err(failed)?;
        let (from, to) = (self.partial.as_path(), self.path.as_path());
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Some file systems of sticks know no such flag; the name is random, and was looked for.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                fs::rename(from, to).map_err(failed)?;
            }
            Err(Errno::EXIST) => {
                return Err(StickError::Exists {
                    path: self.path.clone(),
                });
            }
            outcome => outcome.map_err(write_failed)?,
        }
        self.medium.handle.sync_all().map_err(failed)?;
        Ok(self.path.clone())
    }
}

impl Write for PartFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).inspect_err(|error| {
            self.failure = Some(io::Error::new(error.kind(), error.to_string()));
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for PartFile<'_> {
    fn drop(&mut self) {
        // Renamed, it is not there any more; on a pulled stick it cannot be removed either.
        fs::remove_file(&self.partial).ok();
    }
}

fn write_failed(errno: Errno) -> StickError {
    StickError::Write {
        source: errno.into(),
    }
}

fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_and_names_that_exist_are_never_written_to() {
        let stick = tempfile::tempdir().unwrap();
        let medium = Medium::open(stick.path()).unwrap();
        fs::write(stick.path().join("a.bundle"), b"old").unwrap();
        symlink("/dev/null", stick.path().join(".b.bundle.partial")).unwrap();
        symlink("nowhere", stick.path().join("c.bundle")).unwrap();
        for name in ["a.bundle", "b.bundle", "c.bundle"] {
            let error = medium.begin(name).map(drop).unwrap_err();
            assert_eq!(error.code(), "bundle.exists", "{name}");
        }
        assert_eq!(fs::read(stick.path().join("a.bundle")).unwrap(), b"old");
        let link = stick.path().join("link");
        symlink(stick.path(), &link).unwrap();
        for path in [
            &link,
            &stick.path().join("a.bundle"),
            &stick.path().join("x"),
        ] {
            let error = Medium::open(path).map(drop).unwrap_err();
            assert_eq!(error.code(), "bundle.directory", "{}", path.display());
        }
    }

    #[test]
    fn a_part_has_its_name_only_when_it_is_whole() {
        let stick = tempfile::tempdir().unwrap();
        let medium = Medium::open(stick.path()).unwrap();
        let names = || -> Vec<String> {
            fs::read_dir(stick.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        };
        let mut file = medium.begin("a.bundle").unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(names(), [".a.bundle.partial"]);
        drop(file);
        assert!(names().is_empty());
        let mut file = medium.begin("a.bundle").unwrap();
        file.write_all(b"whole").unwrap();
        // Somebody was faster.
        fs::write(stick.path().join("a.bundle"), b"other").unwrap();
        assert_eq!(file.finish().unwrap_err().code(), "bundle.exists");
        fs::remove_file(stick.path().join("a.bundle")).unwrap();
        let mut file = medium.begin("a.bundle").unwrap();
        file.write_all(b"whole").unwrap();
        file.finish().unwrap();
        assert_eq!(names(), ["a.bundle"]);
    }

    #[test]
    fn a_stick_that_is_too_small_is_refused_before_anything_is_written() {
        let stick = tempfile::tempdir().unwrap();
        let medium = Medium::open(stick.path()).unwrap();
        assert_eq!(
            medium.check_room(u64::MAX).unwrap_err().code(),
            "bundle.stick-full"
        );
        medium.check_room(0).unwrap();
    }

    #[test]
    fn a_medium_that_fails_is_told_apart_from_the_terminal() {
        let stick = tempfile::tempdir().unwrap();
        let medium = Medium::open(stick.path()).unwrap();
        let mut file = medium.begin("a.bundle").unwrap();
        // A device that is always full (Linux full(4)).
        file.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        assert!(file.write_all(b"x").is_err());
        assert!(file.failure.is_some());
    }
}
