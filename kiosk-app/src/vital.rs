//! Threads without which the terminal is not itself. A bug in one of them ends the process; whoever
//! watches it starts it anew, into a safe attract screen and with everything durable intact.
//! A bug is never caught to go on with half a terminal.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};

use crate::boot;

thread_local! {
    /// Where the last panic of this thread was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Name of the thread that the glass runs on.
const MAIN: &str = "main";

/// Starts a vital thread: when it panics, the process aborts.
///
/// # Errors
/// When the machine cannot start a thread.
pub fn spawn<T: Send + 'static>(
    name: &'static str,
    run: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
            tracing::error!(
                thread = name,
                "vital thread failed; the terminal ends and starts anew"
            );
            PLACE.with_borrow(|place| boot::last_words(&format!("{name} at {place}")));
            std::process::abort()
        })
    })
}

/// Makes panics say where and not what: a panic message may quote a name or a number.
pub fn silence_panic_messages() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |place| {
            format!("{}:{}", place.file(), place.line())
        });
        let name = thread::current().name().unwrap_or("unnamed").to_owned();
        tracing::error!(place, thread = name, "panic");
        if name == MAIN {
            // Nothing catches a panic of the glass: the process ends by it.
            boot::last_words(&format!("{name} at {place}"));
        }
        PLACE.with_borrow_mut(|last| *last = place);
    }));
}
