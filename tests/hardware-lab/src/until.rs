//! Waiting for what the kernel does in its own time (a node appears, a port is free), always with a
//! deadline and never longer than needed.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::bail;
use kiosk_device::clock;

/// Between two looks. Chosen: short against what is measured, long against the cost of a look.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Longest wait for the kernel and udev to show a device. Chosen: emulation on a busy machine.
pub(crate) const KERNEL_LIMIT: Duration = Duration::from_secs(20);

/// Looks until there is something, `limit` at most.
///
/// # Errors
/// There was nothing; the message says what was awaited.
pub(crate) fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let deadline = clock::now() + limit;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if clock::now() >= deadline {
            bail!("{what}: not within {} s", limit.as_secs_f32());
        }
        thread::park_timeout(LOOK_INTERVAL);
    }
}

/// Waits until `directory` has an entry whose name passes, and gives its path.
///
/// # Errors
/// There was none in time.
pub(crate) fn entry(
    directory: impl AsRef<Path>,
    passes: impl Fn(&str) -> bool,
) -> anyhow::Result<PathBuf> {
    let directory = directory.as_ref();
    until(
        &format!("an entry of {}", directory.display()),
        KERNEL_LIMIT,
        || {
            let entries = std::fs::read_dir(directory).ok()?;
            entries
                .filter_map(Result::ok)
                .find(|entry| entry.file_name().to_str().is_some_and(&passes))
                .map(|entry| entry.path())
        },
    )
}

/// Waits until a path is there.
///
/// # Errors
/// It was not in time.
pub(crate) fn there(path: impl AsRef<Path>) -> anyhow::Result<()> {
    let path = path.as_ref();
    until(&path.display().to_string(), KERNEL_LIMIT, || {
        path.exists().then_some(())
    })
}

/// Waits until a path is gone.
///
/// # Errors
/// It was not in time.
pub(crate) fn gone(path: impl AsRef<Path>) -> anyhow::Result<()> {
    let path = path.as_ref();
    until(&format!("{} goes", path.display()), KERNEL_LIMIT, || {
        (!path.exists()).then_some(())
    })
}
