//! A package as one file: the directory of an item as a compressed `tar`. The same directory has the
//! same bytes, whoever packs it and when. Nothing but plain files inside one directory goes in or
//! comes out: no links, no devices, no way out, and no more than an item has.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use tar::{Archive, Builder, EntryType, Header};

use crate::manifest::is_path;
use crate::slots::disk::Disk;

/// Largest package in bytes. Chosen: a hundred times the largest item, which has pictures.
pub const PACKAGE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Most bytes of an unpacked package. Chosen: held in memory while it is checked.
pub const PACKAGE_UNPACKED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Most files of a package; chosen, ten times the most seen.
const FILES_MAX: usize = 512;
/// Deepest directory of a package.
const DEPTH_MAX: usize = 6;
/// Longest path in bytes: what the oldest header of a `tar` takes (POSIX.1-1988 `ustar`, `name`).
const PATH_BYTES_MAX: usize = 100;
/// How hard to press. Chosen: packed once, sent a thousand times.
const LEVEL: i32 = 19;
/// Largest window that is unpacked with, as a power of two; level 19 uses 2^23.
const WINDOW_LOG_MAX: u32 = 23;
/// Bytes of the headers and of the fill of one file in a `tar`.
const FRAME_BYTES: u64 = 1024;

/// One file of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedFile {
    /// Where it goes, relative to the item's directory.
    pub path: String,
    /// Its content.
    pub content: Vec<u8>,
}

/// Why a directory or bytes are no package.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// More bytes than a package has.
    #[error("the package is larger than {PACKAGE_BYTES_MAX} bytes")]
    TooLong,
    /// More than an item has, or nothing.
    #[error("the package has no or too much {what}")]
    Size {
        /// Of what.
        what: &'static str,
    },
    /// A file under a name that is not allowed, that leads elsewhere, or stands twice.
    #[error("file {index} of the package has a name that is not allowed")]
    Path {
        /// Which, from 0.
        index: usize,
    },
    /// Something else than a plain file.
    #[error("file {index} of the package is no plain file")]
    Kind {
        /// Which, from 0.
        index: usize,
    },
    /// No compressed `tar`.
    #[error("the package cannot be unpacked")]
    Form,
    /// The disk failed.
    #[error("the package cannot be read or written")]
    Storage(#[from] io::Error),
}

impl PackageError {
    /// Stable problem code. Never reuse or rename one.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong
            | Self::Size { .. }
            | Self::Path { .. }
            | Self::Kind { .. }
            | Self::Form => "items.package-malformed",
            Self::Storage(error) if error.kind() == io::ErrorKind::StorageFull => "update.no-room",
            Self::Storage(_) => "update.storage",
        }
    }
}

/// Packs the directory of an item. Two packs of the same content are the same bytes.
///
/// # Errors
/// [`PackageError`] says what the directory holds that no package may hold.
pub fn pack(directory: &Path) -> Result<Vec<u8>, PackageError> {
    let mut files = Vec::new();
    let mut bytes = 0;
    gather(directory, "", DEPTH_MAX, &mut files, &mut bytes)?;
    files.sort_by(|one, other| one.path.cmp(&other.path));
    check(&files)?;
    let mut builder = Builder::new(Vec::new());
    for file in &files {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_path(&file.path)?;
        header.set_size(file.content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        builder.append(&header, &file.content[..])?;
    }
    let packed = zstd::bulk::compress(&builder.into_inner()?, LEVEL)?;
    if packed.len() as u64 > PACKAGE_BYTES_MAX {
        return Err(PackageError::TooLong);
    }
    Ok(packed)
}

/// The files of a package. A function of outside bytes: bounded, and it never panics.
///
/// # Errors
/// [`PackageError`], all but `Storage`.
pub fn read_package(packed: &[u8]) -> Result<Vec<PackedFile>, PackageError> {
    if packed.len() as u64 > PACKAGE_BYTES_MAX {
        return Err(PackageError::TooLong);
    }
    let mut decoder = zstd::Decoder::with_buffer(packed).map_err(|_| PackageError::Form)?;
    decoder
        .window_log_max(WINDOW_LOG_MAX)
        .map_err(|_| PackageError::Form)?;
    let most = PACKAGE_UNPACKED_BYTES_MAX + (FILES_MAX as u64 + 2) * FRAME_BYTES;
    let mut archive = Archive::new(decoder.take(most));
    let mut files = Vec::new();
    let mut left = PACKAGE_UNPACKED_BYTES_MAX;
    // Raw, so that every extension shows as what it is, and is none of ours.
    let entries = archive.entries().map_err(|_| PackageError::Form)?.raw(true);
    for (index, entry) in entries.enumerate() {
        let mut entry = entry.map_err(|_| PackageError::Form)?;
        if index >= FILES_MAX {
            return Err(PackageError::Size { what: "files" });
        }
        if entry.header().entry_type() != EntryType::Regular {
            return Err(PackageError::Kind { index });
        }
        let path = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| PackageError::Path { index })?;
        let size = entry.header().size().map_err(|_| PackageError::Form)?;
        left = left
            .checked_sub(size)
            .ok_or(PackageError::Size { what: "content" })?;
        let mut content = Vec::new();
        entry
            .read_to_end(&mut content)
            .map_err(|_| PackageError::Form)?;
        if content.len() as u64 != size {
            return Err(PackageError::Form);
        }
        files.push(PackedFile { path, content });
    }
    check(&files)?;
    Ok(files)
}

/// Unpacks a package into a directory that is not there yet; everything in it is durable but for the
/// directory's own name.
///
/// # Errors
/// [`PackageError`]; the directory may be there in part.
pub fn unpack(packed: &[u8], directory: &Path, disk: &dyn Disk) -> Result<(), PackageError> {
    let files = read_package(packed)?;
    let mut directories = BTreeSet::from([directory.to_path_buf()]);
    for file in &files {
        for above in Path::new(&file.path).ancestors().skip(1) {
            directories.insert(directory.join(above));
        }
    }
    // A set of paths is in the order from above to below.
    for directory in &directories {
        disk.create_directory(directory)?;
    }
    for file in &files {
        disk.write_new(
            &directory.join(&file.path),
            0o644,
            &mut file.content.as_slice(),
        )?;
    }
    for directory in directories.iter().rev() {
        disk.sync_directory(directory)?;
    }
    Ok(())
}

/// Files in order, each once, none below another, all within bounds.
fn check(files: &[PackedFile]) -> Result<(), PackageError> {
    if files.is_empty() || files.len() > FILES_MAX {
        return Err(PackageError::Size { what: "files" });
    }
    let mut taken = BTreeSet::new();
    let mut last = "";
    for (index, file) in files.iter().enumerate() {
        let path = file.path.as_str();
        let is_under_file = path
            .match_indices('/')
            .any(|(end, _)| taken.contains(&path[..end]));
        let is_allowed = path.len() <= PATH_BYTES_MAX
            && is_path(path)
            && path.split('/').count() <= DEPTH_MAX
            && path > last
            && !is_under_file;
        if !is_allowed {
            return Err(PackageError::Path { index });
        }
        taken.insert(path);
        last = path;
    }
    Ok(())
}

/// The plain files below a directory; what else is there is refused, not left out.
fn gather(
    directory: &Path,
    prefix: &str,
    depth: usize,
    files: &mut Vec<PackedFile>,
    bytes: &mut u64,
) -> Result<(), PackageError> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let index = files.len();
        let name = entry.file_name();
        let name = name.to_str().ok_or(PackageError::Path { index })?;
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if depth <= 1 {
                return Err(PackageError::Size { what: "depth" });
            }
            gather(&entry.path(), &format!("{path}/"), depth - 1, files, bytes)?;
            continue;
        }
        if !kind.is_file() {
            return Err(PackageError::Kind { index });
        }
        if index >= FILES_MAX {
            return Err(PackageError::Size { what: "files" });
        }
        let mut content = Vec::new();
        let left = PACKAGE_UNPACKED_BYTES_MAX.saturating_sub(*bytes);
        File::open(entry.path())?
            .take(left + 1)
            .read_to_end(&mut content)?;
        *bytes += content.len() as u64;
        if *bytes > PACKAGE_UNPACKED_BYTES_MAX {
            return Err(PackageError::Size { what: "content" });
        }
        files.push(PackedFile { path, content });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::LocalDisk;

    fn item(directory: &Path) {
        fs::create_dir_all(directory.join("print")).unwrap();
        fs::write(directory.join("item.toml"), "format = 1\n").unwrap();
        fs::write(directory.join("print/slip.typ"), "#let a = 1\n").unwrap();
        fs::write(directory.join("print.md"), "").unwrap();
    }

    /// A package with one entry that is made by hand.
    fn crafted(change: impl Fn(&mut Header), content: &[u8]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_path("item.toml").unwrap();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        change(&mut header);
        header.set_cksum();
        builder.append(&header, content).unwrap();
        zstd::bulk::compress(&builder.into_inner().unwrap(), 1).unwrap()
    }

    fn named(path: &[u8]) -> Vec<u8> {
        crafted(
            |header| {
                let name = &mut header.as_old_mut().name;
                name.fill(0);
                name[..path.len()].copy_from_slice(path);
            },
            b"x",
        )
    }

    #[test]
    fn a_package_is_the_same_bytes_whoever_packs_it_and_comes_out_as_it_went_in() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        item(one.path());
        item(other.path());
        let old = File::open(other.path().join("item.toml")).unwrap();
        old.set_modified(std::time::UNIX_EPOCH).unwrap();
        let packed = pack(one.path()).unwrap();
        assert_eq!(packed, pack(other.path()).unwrap());
        let out = one.path().join("out");
        unpack(&packed, &out, &LocalDisk).unwrap();
        assert_eq!(packed, pack(&out).unwrap());
        assert_eq!(
            fs::read(out.join("print/slip.typ")).unwrap(),
            b"#let a = 1\n"
        );
    }

    #[test]
    fn nothing_but_plain_files_goes_in() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(
            pack(directory.path()),
            Err(PackageError::Size { what: "files" })
        ));
        item(directory.path());
        let link = directory.path().join("print/link");
        std::os::unix::fs::symlink("/etc/hostname", &link).unwrap();
        let outcome = pack(directory.path());
        assert!(matches!(outcome, Err(PackageError::Kind { .. })));
        fs::remove_file(link).unwrap();
        fs::write(directory.path().join("a b"), "").unwrap();
        let outcome = pack(directory.path());
        assert!(matches!(outcome, Err(PackageError::Path { .. })));
    }

    #[test]
    fn nothing_leads_out_of_the_directory() {
        assert!(read_package(&named(b"item.toml")).is_ok());
        for path in [
            &b"../item.toml"[..],
            b"/etc/passwd",
            b"a/../../b",
            b"./item.toml",
            b"a//b",
            b"a/",
            b"",
            b"a\\b",
            b"\xff",
        ] {
            let outcome = read_package(&named(path));
            assert!(
                matches!(outcome, Err(PackageError::Path { .. })),
                "{path:?}"
            );
        }
    }

    #[test]
    fn links_devices_and_extensions_are_refused() {
        for kind in [
            EntryType::Symlink,
            EntryType::Link,
            EntryType::Char,
            EntryType::Block,
            EntryType::Fifo,
            EntryType::Directory,
            EntryType::GNULongName,
            EntryType::GNUSparse,
            EntryType::XHeader,
            EntryType::XGlobalHeader,
        ] {
            let packed = crafted(|header| header.set_entry_type(kind), b"");
            let outcome = read_package(&packed);
            assert!(
                matches!(outcome, Err(PackageError::Kind { .. })),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_small_package_that_unpacks_to_a_large_one_is_refused() {
        let content = vec![0; usize::try_from(PACKAGE_UNPACKED_BYTES_MAX).unwrap() + 1];
        let packed = crafted(|_| {}, &content);
        assert!(packed.len() < 100_000);
        let outcome = read_package(&packed);
        assert!(matches!(
            outcome,
            Err(PackageError::Size { what: "content" })
        ));
        let lying = crafted(|header| header.set_size(u64::MAX >> 1), b"x");
        assert!(read_package(&lying).is_err());
    }

    #[test]
    fn a_torn_or_changed_package_never_panics() {
        let directory = tempfile::tempdir().unwrap();
        item(directory.path());
        let packed = pack(directory.path()).unwrap();
        for end in 0..packed.len() {
            assert!(read_package(&packed[..end]).is_err(), "{end}");
            let mut changed = packed.clone();
            changed[end] ^= 0x41;
            drop(read_package(&changed));
        }
        assert!(matches!(
            read_package(&vec![0; usize::try_from(PACKAGE_BYTES_MAX).unwrap() + 1]),
            Err(PackageError::TooLong)
        ));
    }
}
