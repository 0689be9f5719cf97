//! What the machine under the terminal tells of itself, read from the files of the kernel. Every
//! reader is bounded and leaves out what it does not understand: kernels differ, and a fact that
//! cannot be told is no fault.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::statvfs;

use super::sticks::read_bounded;

/// Longest kernel file that is read. Chosen: a thousand sockets are 150 KiB.
const FILE_BYTES_MAX: usize = 256 * 1024;
/// State of a socket that waits for connections (Linux `include/net/tcp_states.h`).
const LISTEN: &str = "0A";
/// Most sockets and sensors that are looked at.
const ROWS_MAX: usize = 1000;

/// The machine, below a root: `/` but in tests.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
}

/// Somebody waits for connections here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
}

/// Free and whole size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Free bytes.
    pub free: u64,
    /// All bytes.
    pub total: u64,
}

impl Default for Host {
    fn default() -> Self {
        Self::new(Path::new("/"))
    }
}

impl Host {
    /// The machine below `root`.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
        }
    }

    /// A file of the kernel or of the system as text; `None` when it is not there.
    pub fn read(&self, path: &str) -> Option<String> {
        let path = self.root.join(path.trim_start_matches('/'));
        let bytes = read_bounded(&path, FILE_BYTES_MAX)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// True when such a file exists.
    pub fn has(&self, path: &str) -> bool {
        self.root.join(path.trim_start_matches('/')).exists()
    }

    /// When a file was changed last, in seconds since 1970.
    pub fn changed_s(&self, path: &str) -> Option<i64> {
        use std::os::unix::fs::MetadataExt;
        let found = std::fs::metadata(self.root.join(path.trim_start_matches('/')));
        found.ok().map(|found| found.mtime())
    }

    /// Names in a directory, sorted.
    pub fn names(&self, path: &str) -> Vec<String> {
        let directory = self.root.join(path.trim_start_matches('/'));
        let mut names: Vec<String> = std::fs::read_dir(directory)
            .into_iter()
            .flatten()
            .take(ROWS_MAX)
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// A field of this process (`proc_pid_status(5)`).
    pub fn status(&self, name: &str) -> Option<String> {
        field(&self.read("/proc/self/status")?, name)
    }

    /// Everybody who waits for connections over TCP.
    pub fn listeners(&self) -> Option<Vec<Listener>> {
        let four = self.read("/proc/net/tcp")?;
        let six = self.read("/proc/net/tcp6").unwrap_or_default();
        let mut found = listeners(&four);
        found.extend(listeners(&six));
        found.sort();
        found.dedup();
        Some(found)
    }

    /// Working memory: what can still be used, and all of it.
    pub fn memory(&self) -> Option<Room> {
        let text = self.read("/proc/meminfo")?;
        let bytes = |name| {
            let value = field(&text, name)?;
            let count = value.split_whitespace().next()?.parse::<u64>().ok()?;
            count.checked_mul(1024)
        };
        Some(Room {
            free: bytes("MemAvailable")?,
            total: bytes("MemTotal")?,
        })
    }

    /// How long the machine runs.
    pub fn uptime(&self) -> Option<Duration> {
        let text = self.read("/proc/uptime")?;
        let seconds = text.split('.').next()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
    }

    /// Temperatures that the kernel shows, by name, in whole degrees Celsius.
    pub fn temperatures(&self) -> Vec<(String, i64)> {
        let zones = self.names("/sys/class/thermal");
        zones
            .into_iter()
            .filter(|name| name.starts_with("thermal_zone"))
            .filter_map(|name| {
                let base = format!("/sys/class/thermal/{name}");
                let kind = self.read(&format!("{base}/type"))?;
                let value: i64 = self.read(&format!("{base}/temp"))?.trim().parse().ok()?;
                Some((kind.trim().to_owned(), value / 1000))
            })
            .collect()
    }

    /// Whether the directory lies on an encrypted device, as far as the device mapper tells; `None`
    /// where it cannot be told.
    pub fn is_encrypted(&self, directory: &Path) -> Option<bool> {
        use std::os::unix::fs::MetadataExt;
        let device = std::fs::metadata(directory).ok()?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let base = format!("/sys/dev/block/{major}:{minor}");
        if !self.has(&base) {
            return None;
        }
        let kind = self.read(&format!("{base}/dm/uuid")).unwrap_or_default();
        Some(kind.starts_with("CRYPT-"))
    }
}

/// Room on the disk of a directory.
pub fn disk(directory: &Path) -> Option<Room> {
    let found = statvfs(directory).ok()?;
    Some(Room {
        free: found.f_bavail.saturating_mul(found.f_frsize),
        total: found.f_blocks.saturating_mul(found.f_frsize),
    })
}

/// The value of a line `Name:   value`.
pub fn field(text: &str, name: &str) -> Option<String> {
    text.lines().take(ROWS_MAX).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found == name).then(|| value.trim().to_owned())
    })
}

/// Who listens, out of a table of sockets (`proc_pid_net(5)`, `/proc/net/tcp` and `tcp6`).
pub fn listeners(text: &str) -> Vec<Listener> {
    text.lines()
        .skip(1)
        .take(ROWS_MAX)
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (local, state) = (words.nth(1)?, words.nth(1)?);
            if state != LISTEN {
                return None;
            }
            let (address, port) = local.split_once(':')?;
            Some(Listener {
                address: address_of(address)?,
                port: u16::from_str_radix(port, 16).ok()?,
            })
        })
        .collect()
}

/// Words of 32 bits in the byte order of the machine.
fn address_of(text: &str) -> Option<IpAddr> {
    if !text.is_ascii() {
        return None;
    }
    let word = |at: usize| {
        let digits = text.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            let address = Ipv6Addr::from(bytes);
            Some(
                address
                    .to_ipv4_mapped()
                    .map_or(IpAddr::V6(address), IpAddr::V4),
            )
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_and_rubbish_is_left_out() {
        let text = "  sl  local_address rem_address   st tx_queue\n\
             0: 0100007F:0277 00000000:0000 0A 00000000:00000000\n\
             1: 00000000:0016 00000000:0000 0A 00000000:00000000\n\
             2: 0100007F:1F90 0100007F:A1B2 01 00000000:00000000\n\
             3: ZZ00007F:0277 x 0A\n 4:\n 5: 测试测试测试:0016 0:0 0A\n";
        let found = listeners(text);
        let shown: Vec<String> = found
            .iter()
            .map(|each| format!("{}:{}", each.address, each.port))
            .collect();
        assert_eq!(shown, ["127.0.0.1:631", "0.0.0.0:22"]);
        let six = "head\n 0: 00000000000000000000000001000000:0016 0:0 0A x\n\
             1: 0000000000000000FFFF00000100007F:0050 0:0 0A x\n";
        let found = listeners(six);
        assert!(
            found.iter().all(|each| each.address.is_loopback()),
            "{found:?}"
        );
    }

    #[test]
    fn what_the_kernel_shows_is_read_and_what_is_missing_is_not_told() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        assert!(host.memory().is_none() && host.uptime().is_none());
        assert!(host.temperatures().is_empty() && host.listeners().is_none());
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            "proc/meminfo",
            "MemTotal:  2048 kB\nMemAvailable: 1024 kB\n",
        );
        write("proc/uptime", "3600.25 100.00\n");
        write("sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n");
        write("sys/class/thermal/thermal_zone0/temp", "51000\n");
        write("sys/class/thermal/thermal_zone1/temp", "rubbish\n");
        write("proc/self/status", "Name:\tkiosk\nUmask:\t0027\n");
        let memory = host.memory().unwrap();
        assert_eq!((memory.free, memory.total), (1024 * 1024, 2048 * 1024));
        assert_eq!(host.uptime(), Some(Duration::from_hours(1)));
        assert_eq!(host.temperatures(), [("x86_pkg_temp".to_owned(), 51)]);
        assert_eq!(host.status("Umask").as_deref(), Some("0027"));
    }
}
