//! What the kernel says of a process: the processor time it took, and, where `strace` counts, how
//! often it asked for durability. Told by the kernel for every contestant alike, none by itself.

use std::path::Path;
use std::time::Duration;

/// Ticks of a second in `/proc/PID/stat` (`USER_HZ`, 100 on every architecture we build for).
const TICKS_PER_SECOND: u64 = 100;
/// Largest trace read: 256 MiB are three million calls.
const TRACE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Processor time of a process so far, user and system, with that of its finished threads.
pub fn processor_time(id: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    parse_stat(&stat)
}

/// The sum of `utime` and `stime` (proc(5), fields 14 and 15) in a line of `/proc/PID/stat`.
pub fn parse_stat(line: &str) -> Option<Duration> {
    // The name in parentheses may hold spaces and parentheses; the last one ends it.
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let ticks = user.checked_add(system)?;
    Some(Duration::from_millis(
        ticks.checked_mul(1000 / TICKS_PER_SECOND)?,
    ))
}

/// Calls for durability in a trace that `strace` is writing.
pub fn syncs_so_far(trace: &Path) -> Option<u64> {
    if std::fs::metadata(trace).ok()?.len() > TRACE_BYTES_MAX {
        return None;
    }
    let text = std::fs::read(trace).ok()?;
    Some(count_syncs(&text))
}

/// Calls of `fsync` and `fdatasync` in the output of `strace -f`. A call that was interrupted by
/// another thread's line stands there twice, the second time as `resumed`, and counts once.
pub fn count_syncs(trace: &[u8]) -> u64 {
    trace
        .split(|byte| *byte == b'\n')
        .filter(|line| {
            let begins = |call: &[u8]| line.windows(call.len()).any(|part| part == call);
            // `fdatasync(` ends in neither of the others.
            begins(b"fsync(") || begins(b"fdatasync(")
        })
        .count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_any_name() {
        let line = "42 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 7";
        assert_eq!(parse_stat(line), Some(Duration::from_secs(2)));
        assert_eq!(parse_stat("42 (a) S 1 2"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn this_process_has_processor_time() {
        assert!(processor_time(std::process::id()).is_some());
        assert_eq!(processor_time(u32::MAX), None);
    }

    #[test]
    fn interrupted_calls_count_once() {
        let trace = b"10 fdatasync(7) = 0\n\
            10 fdatasync(7 <unfinished ...>\n\
            11 fsync(8) = 0\n\
            10 <... fdatasync resumed>) = 0\n\
            10 +++ exited with 0 +++\n";
        assert_eq!(count_syncs(trace), 3);
        assert_eq!(count_syncs(b""), 0);
    }
}
