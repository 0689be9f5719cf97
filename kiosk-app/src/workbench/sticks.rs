//! USB sticks: which are plugged in, what on them is read, how something is written onto one. A stick
//! is the most hostile thing that is ever put into a terminal: every listing is bounded, names are
//! cleaned before anybody sees them, nothing is followed or executed, and what was not written to
//! its end never looks as if it were.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{OFlags, StatVfsMountFlags, statvfs};

use crate::carry::stick::{Medium, StickError};
use crate::clock;

/// Where the kernel tells what is mounted.
const MOUNTS: &str = "/proc/mounts";
/// Where removable media are mounted (Filesystem Hierarchy Standard 3.0 §3.11; udisks).
const ROOTS: [&str; 3] = ["/media", "/run/media", "/mnt"];
/// File systems that sticks have.
const KINDS: [&str; 9] = [
    "vfat", "exfat", "ntfs", "ntfs3", "fuseblk", "ext2", "ext3", "ext4", "msdos",
];
/// Longest list of mounts that is read. Chosen: a machine with containers has some hundred lines.
const MOUNTS_BYTES_MAX: usize = 256 * 1024;
/// Most sticks at once.
const STICKS_MAX: usize = 8;
/// Most names of one directory that are looked at. Chosen: FAT32 itself allows 65,536.
const NAMES_MAX: usize = 200_000;
/// Longest time for one directory. Chosen: a slow stick lists ten thousand names a second.
const LIST_LIMIT: Duration = Duration::from_secs(20);
/// Most files that are read from one stick.
const FILES_MAX: usize = 16;
/// Longest name that is shown, in characters.
const NAME_CHARACTERS_MAX: usize = 48;

/// Why a stick was not read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StickTrouble {
    /// It is not plugged in, or no longer.
    #[error("the stick is not there")]
    Gone,
    /// It cannot be written.
    #[error("the stick is read-only")]
    ReadOnly,
    /// It is full.
    #[error("the stick has no room")]
    Full,
    /// It failed, or was pulled out.
    #[error("the stick failed")]
    Failed,
    /// A file of that name is there already.
    #[error("the name is taken")]
    Taken,
    /// It holds more names than are looked at.
    #[error("the stick holds too many files")]
    TooMany,
}

impl StickTrouble {
    /// Stable problem code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Gone => "stick.gone",
            Self::ReadOnly => "stick.read-only",
            Self::Full => "stick.full",
            Self::Failed => "stick.failed",
            Self::Taken => "stick.taken",
            Self::TooMany => "stick.too-many-files",
        }
    }
}

impl From<&StickError> for StickTrouble {
    fn from(error: &StickError) -> Self {
        match error {
            StickError::Directory { .. } => Self::Gone,
            StickError::Full { .. } => Self::Full,
            StickError::Exists { .. } => Self::Taken,
            StickError::Write { source } => Self::of(source),
            StickError::Refused { .. } | StickError::Terminal(_) => Self::Failed,
        }
    }
}

impl StickTrouble {
    fn of(error: &std::io::Error) -> Self {
        let kind = error.kind();
        if matches!(
            kind,
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
        ) {
            Self::ReadOnly
        } else if matches!(
            kind,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
        ) {
            Self::Full
        } else if kind == ErrorKind::NotFound {
            Self::Gone
        } else {
            Self::Failed
        }
    }
}

/// One line of the list of mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub path: PathBuf,
    /// The file system.
    pub kind: String,
    /// Nothing can be written.
    pub is_read_only: bool,
}

/// A stick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stick {
    /// Where it is mounted.
    pub path: PathBuf,
    /// Its name, cleaned for people.
    pub name: String,
    /// The file system; empty where the configuration names the directory.
    pub kind: String,
    /// Nothing can be written.
    pub is_read_only: bool,
    /// Free bytes.
    pub free: u64,
}

/// Finds sticks.
#[derive(Clone, Debug)]
pub struct Sticks {
    mounts: PathBuf,
    roots: Vec<PathBuf>,
    /// Directories that count as sticks beside what is mounted.
    named: Vec<PathBuf>,
}

impl Sticks {
    /// What the kernel has mounted, and `named` directories.
    pub fn new(named: &[PathBuf]) -> Self {
        Self {
            mounts: PathBuf::from(MOUNTS),
            roots: ROOTS.map(PathBuf::from).to_vec(),
            named: named.to_vec(),
        }
    }

    /// Every stick that is plugged in now.
    pub fn find(&self) -> Vec<Stick> {
        let text = read_bounded(&self.mounts, MOUNTS_BYTES_MAX).unwrap_or_default();
        let is_stick = |mount: &Mount| {
            KINDS.contains(&mount.kind.as_str())
                && self
                    .roots
                    .iter()
                    .any(|root| mount.path.starts_with(root) && mount.path != *root)
        };
        let mounted = parse_mounts(&text).into_iter().filter(is_stick);
        let named = self.named.iter().map(|path| Mount {
            path: path.clone(),
            kind: String::new(),
            is_read_only: false,
        });
        mounted
            .chain(named)
            .filter_map(stick)
            .take(STICKS_MAX)
            .collect()
    }

    /// The stick at `path`, if one is plugged in there.
    ///
    /// # Errors
    /// `Gone`: whoever asked saw it a moment ago.
    pub fn at(&self, path: &Path) -> Result<Stick, StickTrouble> {
        self.find()
            .into_iter()
            .find(|stick| stick.path == path)
            .ok_or(StickTrouble::Gone)
    }
}

fn stick(mount: Mount) -> Option<Stick> {
    if !fs::symlink_metadata(&mount.path).ok()?.is_dir() {
        return None;
    }
    let found = statvfs(&mount.path).ok()?;
    let name = mount.path.file_name().unwrap_or(mount.path.as_os_str());
    Some(Stick {
        name: shown(name.as_bytes()),
        is_read_only: mount.is_read_only || found.f_flag.contains(StatVfsMountFlags::RDONLY),
        free: found.f_bavail.saturating_mul(found.f_frsize),
        kind: mount.kind,
        path: mount.path,
    })
}

/// Reads the kernel's list of mounts (`proc_pid_mounts(5)`): lines that are not understood are left
/// out, and no more is read than a machine can have.
pub fn parse_mounts(bytes: &[u8]) -> Vec<Mount> {
    let bytes = &bytes[..bytes.len().min(MOUNTS_BYTES_MAX)];
    bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let mut words = line.split(|byte| *byte == b' ');
            let (_, path, kind, options) =
                (words.next()?, words.next()?, words.next()?, words.next()?);
            let path = unescape(path);
            if path.first() != Some(&b'/') {
                return None;
            }
            let mut options = options.split(|byte| *byte == b',');
            Some(Mount {
                path: PathBuf::from(std::ffi::OsString::from_vec(path)),
                kind: String::from_utf8_lossy(kind).into_owned(),
                is_read_only: options.any(|option| option == b"ro"),
            })
        })
        .collect()
}

/// Blanks and the like stand as a backslash and three octal digits.
fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|digits| {
                *first == b'\\' && digits.iter().all(|digit| (b'0'..=b'7').contains(digit))
            })
            .map(|digits| {
                digits
                    .iter()
                    .fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'))
            })
            .and_then(|value| u8::try_from(value).ok());
        if let Some(byte) = octal {
            out.push(byte);
            rest = &tail[3..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

/// A name from a stick as people may see it: no control characters, no tricks with the direction of
/// writing, not too long. Never used to open anything.
pub fn shown(name: &[u8]) -> String {
    let is_steering = |character: char| {
        character.is_control()
            || matches!(character, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
    };
    // Four bytes a character at most: what lies beyond cannot be shown anyway.
    let name = &name[..name.len().min(NAME_CHARACTERS_MAX * 8)];
    let text: String = String::from_utf8_lossy(name)
        .chars()
        .map(|character| {
            if is_steering(character) {
                '\u{FFFD}'
            } else {
                character
            }
        })
        .collect();
    if text.chars().count() <= NAME_CHARACTERS_MAX {
        return text;
    }
    let mut cut: String = text.chars().take(NAME_CHARACTERS_MAX - 1).collect();
    cut.push('…');
    cut
}

/// Files in the root of a stick whose names are wanted, at most 16, sorted. They may be anything yet:
/// [`read_regular`] looks.
///
/// # Errors
/// [`StickTrouble`]: it is gone, fails, or holds more names than are looked at.
pub fn find_files(
    directory: &Path,
    is_wanted: impl Fn(&[u8]) -> bool,
) -> Result<Vec<PathBuf>, StickTrouble> {
    let deadline = clock::now().uptime + LIST_LIMIT;
    let mut found = Vec::new();
    let entries = fs::read_dir(directory).map_err(|error| StickTrouble::of(&error))?;
    for (count, entry) in entries.enumerate() {
        // The clock is looked at now and then only: most names cost less than a look.
        if count >= NAMES_MAX || (count % 1024 == 0 && clock::now().uptime > deadline) {
            return Err(StickTrouble::TooMany);
        }
        let entry = entry.map_err(|error| StickTrouble::of(&error))?;
        if is_wanted(entry.file_name().as_bytes()) {
            found.push(entry.path());
        }
        if found.len() >= FILES_MAX {
            break;
        }
    }
    found.sort();
    Ok(found)
}

/// What a regular file holds that is no larger than `bytes_max`; links, pipes and larger files hold
/// nothing.
pub fn read_regular(path: &Path, bytes_max: usize) -> Option<Vec<u8>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).ok()?)
        .open(path)
        .ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(bytes_max as u64 + 1)
        .read_to_end(&mut bytes)
        .ok()?;
    (bytes.len() <= bytes_max).then_some(bytes)
}

/// Writes a file onto a stick: under its name only when it is whole and on the medium.
///
/// # Errors
/// [`StickTrouble`]; what was begun is removed, as far as the stick is still there.
pub fn write(directory: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, StickTrouble> {
    let trouble = |error: StickError| StickTrouble::from(&error);
    let medium = Medium::open(directory).map_err(trouble)?;
    medium.check_room(bytes.len() as u64).map_err(trouble)?;
    let mut file = medium.begin(name).map_err(trouble)?;
    file.write_all(bytes)
        .map_err(|error| StickTrouble::of(&error))?;
    file.finish().map_err(trouble)
}

/// Writes several files into a new directory of a stick: the directory has its name only when all of
/// them are whole and on the medium.
///
/// # Errors
/// [`StickTrouble`].
pub fn write_directory(
    stick: &Path,
    name: &str,
    files: &[(&str, Vec<u8>)],
) -> Result<PathBuf, StickTrouble> {
    let failed = |error: std::io::Error| StickTrouble::of(&error);
    let bytes: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    Medium::open(stick)
        .and_then(|medium| medium.check_room(bytes))
        .map_err(|error| StickTrouble::from(&error))?;
    let target = stick.join(name);
    if fs::symlink_metadata(&target).is_ok() {
        return Err(StickTrouble::Taken);
    }
    let partial = stick.join(format!(".{name}.partial"));
    fs::create_dir(&partial).map_err(|error| {
        if error.kind() == ErrorKind::AlreadyExists {
            StickTrouble::Taken
        } else {
            StickTrouble::of(&error)
        }
    })?;
    let written = files
        .iter()
        .try_for_each(|(name, bytes)| write(&partial, name, bytes).map(drop))
        .and_then(|()| fs::rename(&partial, &target).map_err(failed))
        .and_then(|()| {
            File::open(stick)
                .and_then(|root| root.sync_all())
                .map_err(failed)
        });
    if written.is_err() {
        // On a pulled stick it cannot be removed; its name says what it is.
        fs::remove_dir_all(&partial).ok();
    }
    written.map(|()| target)
}

/// What a file holds, up to a bound; `None` when it cannot be read.
pub(super) fn read_bounded(path: &Path, bytes_max: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(bytes_max as u64)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn mounts_are_read_with_blanks_in_names_and_rubbish_is_left_out() {
        let text = b"sysfs /sys sysfs rw 0 0\n/dev/sdb1 /media/kiosk/MY\\040STICK vfat rw,nosuid 0 0\n\
            /dev/sdc1 /run/media/kiosk/\\346\\265\\213 exfat ro,nosuid 0 0\nrubbish\n\x00 \xff\xfe \\0 \n";
        let mounts = parse_mounts(text);
        assert_eq!(mounts.len(), 3);
        assert_eq!(mounts[1].path, Path::new("/media/kiosk/MY STICK"));
        assert_eq!(mounts[2].path, Path::new("/run/media/kiosk/测"));
        assert!(mounts[2].is_read_only && !mounts[1].is_read_only);
        assert!(parse_mounts(&vec![b'\\'; MOUNTS_BYTES_MAX * 2]).is_empty());
    }

    #[test]
    fn only_removable_media_and_named_directories_are_sticks() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("media");
        for name in ["vfat stick", "data"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        let named = directory.path().join("named");
        fs::create_dir(&named).unwrap();
        let mounts = directory.path().join("mounts");
        let path = root.display();
        fs::write(
            &mounts,
            format!(
                "/dev/sdb1 {path}/vfat\\040stick vfat ro 0 0\nnone {path}/data tmpfs rw 0 0\n\
                 /dev/sdd1 /home vfat rw 0 0\n/dev/sde1 {path}/gone vfat rw 0 0\n"
            ),
        )
        .unwrap();
        let sticks = Sticks {
            mounts,
            roots: vec![root.clone()],
            named: vec![named.clone(), directory.path().join("absent")],
        };
        let found = sticks.find();
        let shown: Vec<&str> = found.iter().map(|stick| stick.name.as_str()).collect();
        assert_eq!(shown, ["vfat stick", "named"]);
        assert!(found[0].is_read_only && !found[1].is_read_only);
        assert!(sticks.at(&named).is_ok());
        assert_eq!(sticks.at(&root.join("data")), Err(StickTrouble::Gone));
    }

    #[test]
    fn hostile_names_are_harmless_to_see() {
        assert_eq!(shown(b"a\x1b[2Jb\n"), "a\u{FFFD}[2Jb\u{FFFD}");
        assert_eq!(shown("\u{202E}txt.exe".as_bytes()), "\u{FFFD}txt.exe");
        assert_eq!(shown(b"\xff\xfe"), "\u{FFFD}\u{FFFD}");
        assert_eq!(
            shown("长".repeat(300).as_bytes()).chars().count(),
            NAME_CHARACTERS_MAX
        );
    }

    #[test]
    fn a_file_is_found_among_a_hundred_thousand_with_hostile_names() {
        let stick = tempfile::tempdir().unwrap();
        for index in 0..100_000 {
            File::create(stick.path().join(index.to_string())).unwrap();
        }
        let odd = std::ffi::OsString::from_vec(b"\xff\x1b[31m.kiosk-unlock".to_vec());
        fs::write(stick.path().join(odd), b"odd").unwrap();
        fs::write(stick.path().join("good.kiosk-unlock"), b"good").unwrap();
        fs::write(stick.path().join("large.kiosk-unlock"), [0; 5000]).unwrap();
        fs::create_dir(stick.path().join("directory.kiosk-unlock")).unwrap();
        symlink("/etc/passwd", stick.path().join("link.kiosk-unlock")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            stick.path().join("pipe.kiosk-unlock"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let is_wanted = |name: &[u8]| name.ends_with(b".kiosk-unlock");
        let mut found: Vec<Vec<u8>> = find_files(stick.path(), is_wanted)
            .unwrap()
            .iter()
            .filter_map(|path| read_regular(path, 4096))
            .collect();
        found.sort();
        assert_eq!(found, [b"good".to_vec(), b"odd".to_vec()]);
        let gone = find_files(&stick.path().join("absent"), is_wanted);
        assert_eq!(gone.unwrap_err(), StickTrouble::Gone);
    }

    #[test]
    fn a_file_has_its_name_only_when_it_is_whole_and_never_replaces_another() {
        let stick = tempfile::tempdir().unwrap();
        write(stick.path(), "report.pdf", b"whole").unwrap();
        assert_eq!(fs::read(stick.path().join("report.pdf")).unwrap(), b"whole");
        assert_eq!(
            write(stick.path(), "report.pdf", b"other"),
            Err(StickTrouble::Taken)
        );
        let files = [("a.json", b"{}".to_vec()), ("b.txt", b"words".to_vec())];
        let made = write_directory(stick.path(), "evidence", &files).unwrap();
        assert_eq!(fs::read(made.join("b.txt")).unwrap(), b"words");
        assert_eq!(
            write_directory(stick.path(), "evidence", &files),
            Err(StickTrouble::Taken)
        );
        let names: Vec<String> = fs::read_dir(stick.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains("partial"))
            .collect();
        assert!(names.is_empty(), "{names:?}");
    }

    #[test]
    fn a_stick_that_is_gone_in_the_middle_leaves_nothing_that_looks_finished() {
        let stick = tempfile::tempdir().unwrap();
        // The second name cannot be made: as if the stick had gone between the two.
        let files = [
            ("a.json", b"{}".to_vec()),
            ("gone/b.txt", b"words".to_vec()),
        ];
        let error = write_directory(stick.path(), "evidence", &files).unwrap_err();
        assert_eq!(error, StickTrouble::Gone);
        assert!(!stick.path().join("evidence").exists());
        assert!(!stick.path().join(".evidence.partial").exists());
        drop(fs::remove_dir_all(stick.path()));
        assert_eq!(
            write(stick.path(), "a.json", b"{}"),
            Err(StickTrouble::Gone)
        );
    }

    #[test]
    fn troubles_of_a_medium_are_told_apart() {
        for (kind, expected) in [
            (ErrorKind::ReadOnlyFilesystem, "stick.read-only"),
            (ErrorKind::StorageFull, "stick.full"),
            (ErrorKind::NotFound, "stick.gone"),
            (ErrorKind::Other, "stick.failed"),
        ] {
            let source = std::io::Error::from(kind);
            let trouble = StickTrouble::from(&StickError::Write { source });
            assert_eq!(trouble.code(), expected);
        }
        let stick = tempfile::tempdir().unwrap();
        let huge = Medium::open(stick.path()).unwrap().check_room(u64::MAX);
        assert_eq!(StickTrouble::from(&huge.unwrap_err()), StickTrouble::Full);
        // Root writes everywhere, so that rights alone say nothing there.
        if !rustix::process::geteuid().is_root() {
            let mode = fs::Permissions::from_mode(0o500);
            fs::set_permissions(stick.path(), mode).unwrap();
            let refused = write(stick.path(), "a", b"a");
            assert_eq!(refused, Err(StickTrouble::ReadOnly));
        }
    }
}
