//! What the disk allows: one record, one sync, no order, no index, no erasure. A store that keeps
//! each record for itself cannot be faster than the first; the second shows what the file system
//! adds for a file that grows.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Size of the file that is written over in place; as large as the log of our own store may get.
const RING_BYTES: u64 = 16 * 1024 * 1024;
/// What remembers that a record was dealt with: its number and its state, with room.
const MARK: [u8; 16] = [0x5A; 16];

/// One `fdatasync` for each record.
#[derive(Debug)]
pub struct Limit {
    records: File,
    marks: File,
    way: Way,
}

/// How a record gets into the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// At the end of a file that grows: its size is journaled by the file system each time.
    Append,
    /// Over what is there, in a file of fixed size.
    Overwrite {
        /// Where the next record goes.
        offset: u64,
    },
}

impl Limit {
    /// Makes the files in a directory.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(directory: &Path, way: Way) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let open = |name| {
            OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(directory.join(name))
        };
        let (records, marks) = (open("records")?, open("marks")?);
        if way != Way::Append {
            for file in [&records, &marks] {
                let zeros = vec![0; 1024 * 1024];
                for offset in (0..RING_BYTES).step_by(zeros.len()) {
                    file.write_all_at(&zeros, offset)?;
                }
                file.sync_all()?;
            }
        }
        Ok(Self {
            records,
            marks,
            way,
        })
    }

    /// Makes a record durable.
    ///
    /// # Errors
    /// What the file system says.
    pub fn put(&mut self, record: &[u8]) -> io::Result<()> {
        write(&mut self.records, &mut self.way, record)?;
        self.records.sync_data()
    }

    /// Remembers durably that one was dealt with; that it was begun need not survive anything.
    ///
    /// # Errors
    /// What the file system says.
    pub fn take(&mut self) -> io::Result<()> {
        write(&mut self.marks, &mut self.way, &MARK)?;
        self.marks.sync_data()
    }

    /// Puts records without making each durable.
    ///
    /// # Errors
    /// What the file system says.
    pub fn fill(&mut self, record: &[u8]) -> io::Result<()> {
        write(&mut self.records, &mut self.way, record)
    }
}

fn write(file: &mut File, way: &mut Way, bytes: &[u8]) -> io::Result<()> {
    match way {
        Way::Append => file.write_all(bytes),
        Way::Overwrite { offset } => {
            file.write_all_at(bytes, *offset)?;
            let next = *offset + bytes.len() as u64;
            *offset = if next + bytes.len() as u64 > RING_BYTES {
                0
            } else {
                next
            };
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_over_never_grows() {
        let directory = tempfile::tempdir().unwrap();
        let way = Way::Overwrite {
            offset: RING_BYTES - 1500,
        };
        let mut limit = Limit::open(directory.path(), way).unwrap();
        for _ in 0..3 {
            limit.put(&[1; 1024]).unwrap();
        }
        let size = fs::metadata(directory.path().join("records"))
            .unwrap()
            .len();
        assert_eq!(size, RING_BYTES);
        assert_eq!(limit.way, Way::Overwrite { offset: 2048 });
    }

    #[test]
    fn an_appended_record_is_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let mut limit = Limit::open(directory.path(), Way::Append).unwrap();
        limit.put(b"first").unwrap();
        limit.fill(b"second").unwrap();
        limit.take().unwrap();
        let records = fs::read(directory.path().join("records")).unwrap();
        assert_eq!(records, b"firstsecond");
    }
}
