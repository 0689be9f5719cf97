//! The machine a figure was taken on. A figure without its machine is worth nothing.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// What a reader needs to compare.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Model of the processor, as it names itself.
    pub processor: String,
    /// Cores this program may use.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Version of the kernel.
    pub kernel: String,
    /// File system and device of the directory that was written to.
    pub disk: String,
    /// Whether a hypervisor shares the machine with others.
    pub is_virtual: bool,
    /// UTC time of the measurement.
    pub measured_at: String,
}

impl Machine {
    /// This machine, with the disk under a directory.
    pub fn this(directory: &Path, measured_at: String) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processors = read("/proc/cpuinfo");
        let directory = directory.canonicalize().unwrap_or_default();
        Self {
            processor: field(&processors, "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: field(&read("/proc/meminfo"), "MemTotal")
                .trim_end_matches(" kB")
                .parse::<u64>()
                .unwrap_or(0)
                / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            disk: disk(
                &read("/proc/self/mountinfo"),
                &directory,
                Path::new("/proc/fs/jbd2"),
            ),
            is_virtual: field(&processors, "flags")
                .split(' ')
                .any(|flag| flag == "hypervisor"),
            measured_at,
        }
    }
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> String {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default()
}

/// File system and device of the mount that a path lies on (proc(5), `mountinfo`), and whether an
/// ext4 has a journal: without one, a file that grows is as cheap to sync as one that does not.
fn disk(mounts: &str, path: &Path, journals: &Path) -> String {
    mounts
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let place = before.split(' ').nth(4)?;
            let mut after = after.split(' ');
            let (kind, device) = (after.next()?, after.next()?);
            let journal = if kind == "ext4" && !has_journal(journals, device) {
                " without a journal"
            } else {
                ""
            };
            path.starts_with(place)
                .then(|| (place.len(), format!("{kind} on {device}{journal}")))
        })
        // A later mount of the same place hides the earlier one.
        .max_by_key(|(length, _)| *length)
        .map(|(_, words)| words)
        .unwrap_or_default()
}

/// The kernel keeps a directory `NAME-INODE` for each journal of a device.
fn has_journal(journals: &Path, device: &str) -> bool {
    let name = device.rsplit('/').next().unwrap_or(device);
    std::fs::read_dir(journals).is_ok_and(|found| {
        found.flatten().any(|entry| {
            let entry = entry.file_name();
            let journal = entry.to_str().and_then(|entry| entry.rsplit_once('-'));
            journal.is_some_and(|(device, _)| device == name)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_that_of_the_nearest_mount() {
        let mounts = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
            30 22 0:26 / /dev/shm rw - tmpfs tmpfs rw\n";
        let journals = tempfile::tempdir().unwrap();
        let on = |path: &str| disk(mounts, Path::new(path), journals.path());
        assert_eq!(on("/srv/x"), "ext4 on /dev/vda without a journal");
        assert_eq!(on("/dev/shm/x"), "tmpfs on tmpfs");
        std::fs::create_dir(journals.path().join("vda-8")).unwrap();
        assert_eq!(on("/srv/x"), "ext4 on /dev/vda");
        assert_eq!(disk("rubbish\n", Path::new("/"), journals.path()), "");
    }

    #[test]
    fn this_machine_has_a_kernel_and_a_core() {
        let machine = Machine::this(Path::new("/"), String::new());
        assert!(machine.cores >= 1);
        assert!(!machine.kernel.is_empty());
    }
}
