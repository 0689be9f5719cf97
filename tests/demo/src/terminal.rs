//! The terminal as a process of its own, put together as the product puts it together, with eyes
//! and a finger added: so it can be killed and restarted like the real one.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use kiosk_app::Terminal;
use kiosk_app::safe::Start;
use kiosk_ui::{Backend, Options, Ui};

use crate::control;

/// Runs the terminal of `config` until its window is closed or the control socket says quit.
///
/// # Errors
/// The store, the display or the socket cannot be opened.
pub fn run(config: &Path, socket: &Path, is_window: bool) -> anyhow::Result<()> {
    kiosk_app::clock::now();
    kiosk_app::logging::open();
    kiosk_app::vital::silence_panic_messages();
    let start = Start::find(config, kiosk_app::clock::now().at);
    let screen = start.screen();
    let first_frame = Arc::new(OnceLock::new());
    let painted = Arc::clone(&first_frame);
    let backend = if is_window {
        Backend::Window {
            fullscreen: screen.is_fullscreen,
        }
    } else {
        Backend::Headless
    };
    let (touches, received) = Terminal::touches();
    let ui = Ui::new(
        Options {
            width_px: screen.width_px,
            height_px: screen.height_px,
            backend,
            on_first_frame: Some(Box::new(move || {
                let milliseconds = process_age_ms().unwrap_or_default();
                tracing::info!(milliseconds, "first frame");
                painted.get_or_init(|| milliseconds);
            })),
        },
        touches,
    )?;
    control::serve(socket, ui.handle(), first_frame)
        .with_context(|| format!("cannot serve {}", socket.display()))?;
    start.run(ui, received)?;
    Ok(())
}

/// Time since the kernel started this process, in milliseconds, as exact as the kernel tells
/// (10 ms): loading the program counts, as it does for a citizen.
fn process_age_ms() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    age_ms(&stat, &uptime)
}

/// Field 22 of `/proc/PID/stat` is the start in ticks since boot; all Linux user space sees 100 a
/// second. The second field may hold spaces, so fields are counted from its closing bracket.
fn age_ms(stat: &str, uptime: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let started_ms = after_name
        .split_ascii_whitespace()
        .nth(19)?
        .parse::<u64>()
        .ok()?
        .checked_mul(10)?;
    let (seconds, hundredths) = uptime.split_ascii_whitespace().next()?.split_once('.')?;
    let now_ms = seconds.parse::<u64>().ok()?.checked_mul(1000)?
        + hundredths.parse::<u64>().ok()?.checked_mul(10)?;
    now_ms.checked_sub(started_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_process_is_read_from_the_kernel() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 1 0 0 0 1 0 0 0 20 0 1 0 12300 1 1";
        assert_eq!(age_ms(stat, "123.45 99.00"), Some(450));
        assert_eq!(age_ms(stat, "122.00 99.00"), None);
        assert_eq!(age_ms("", ""), None);
        assert!(process_age_ms().is_some());
    }
}
