//! The glass: what the kiosk shows and what was touched. It knows nothing else.
//!
//! The whole screen is a function of one [`View`], sent by [`UiHandle::show`]; everything a finger does leaves as a
//! [`Touch`] through a bounded inbox. Slint stays inside this crate: no type of it crosses the border.
//! [`Ui`] lives on the main thread, [`UiHandle`] anywhere.

mod code;
mod correction;
#[cfg(any(feature = "window", feature = "probe"))]
mod finger;
mod glass;
#[cfg(feature = "probe")]
mod headless;
mod measure;
#[cfg(feature = "probe")]
pub mod probe;
mod render;
mod touch;
mod view;
mod wiring;

use std::fmt;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slint::{BackendSelector, ComponentHandle, PhysicalSize, PlatformError, Timer, Weak};

pub use crate::correction::Correction;
use crate::glass::AppWindow;
pub use crate::touch::{Key, Touch};
pub use crate::view::{
    Choice, Contrast, Frame, Keypad, Language, Line, Mark, Outcome, Paper, Pattern, Picture,
    Progress, Reading, Screen, StaffPage, StaffRow, StaffSection, TextSize, View,
};

/// How long a desktop window gets to paint after its first turn of the loop. Chosen: two frames at 60 Hz.
const PAINT_GRACE: Duration = Duration::from_millis(33);

/// Where the screen appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A window of the desktop, or the whole panel.
    Window {
        /// True for the whole panel without a frame.
        fullscreen: bool,
    },
    /// Real pixels in memory, for journeys and tests.
    #[cfg(feature = "probe")]
    Headless,
}

/// How the glass is opened.
pub struct Options {
    /// Width in pixels.
    pub width_px: u32,
    /// Height in pixels; landscape is laid out differently from portrait.
    pub height_px: u32,
    /// Where the screen appears.
    pub backend: Backend,
    /// Called once, on the main thread, when the first frame has been painted.
    pub on_first_frame: Option<Box<dyn FnOnce() + Send>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            width_px: 1080,
            height_px: 1920,
            backend: Backend::Window { fullscreen: false },
            on_first_frame: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("width_px", &self.width_px)
            .field("height_px", &self.height_px)
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

/// Why the glass cannot be opened or kept open.
#[derive(Debug, thiserror::Error)]
pub enum UiError {
    /// There is no display, or it has gone away; nothing can be shown.
    #[error("cannot use the display")]
    Display(#[from] PlatformError),
    /// The glass was opened a second time in one process.
    #[error("the display is already in use by this process")]
    AlreadyOpen,
    /// The built-in texts of a language are missing.
    #[error("the texts of the screens are incomplete")]
    Texts,
}

impl UiError {
    /// Stable problem code. Never reuse or rename one.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Display(_) => "screen.no-display",
            Self::AlreadyOpen => "screen.already-open",
            Self::Texts => "screen.texts-missing",
        }
    }
}

/// The glass itself; stays on the thread that opened it.
pub struct Ui {
    window: AppWindow,
    handle: UiHandle,
    backend: Backend,
    on_first_frame: Option<Box<dyn FnOnce() + Send>>,
}

impl Ui {
    /// Opens the glass and shows the page "starting". Touches leave through `touches`; a full inbox drops the touch.
    ///
    /// # Errors
    /// [`UiError::Display`] without a display, [`UiError::AlreadyOpen`] on a second call in one process.
    pub fn new(options: Options, touches: SyncSender<Touch>) -> Result<Self, UiError> {
        let size = PhysicalSize::new(options.width_px, options.height_px);
        match options.backend {
            Backend::Window { .. } => BackendSelector::new()
                .renderer_name("software".into())
                .select()?,
            #[cfg(feature = "probe")]
            Backend::Headless => headless::install(size)?,
        }
        let window = AppWindow::new()?;
        match options.backend {
            Backend::Window { fullscreen: true } => window.window().set_fullscreen(true),
            Backend::Window { fullscreen: false } => window.window().set_size(size),
            #[cfg(feature = "probe")]
            Backend::Headless => window.window().set_size(size),
        }
        #[cfg(feature = "window")]
        if matches!(options.backend, Backend::Window { .. }) {
            finger::listen(window.window());
        }
        render::prepare(&window)?;
        wiring::connect(&window, touches);
        let handle = UiHandle {
            window: window.as_weak(),
            pending: Arc::default(),
        };
        Ok(Self {
            window,
            handle,
            backend: options.backend,
            on_first_frame: options.on_first_frame,
        })
    }

    /// A handle for the other threads.
    pub fn handle(&self) -> UiHandle {
        self.handle.clone()
    }

    /// Shows the glass until [`UiHandle::quit`] or until the window is closed. Call it on the main thread.
    ///
    /// # Errors
    /// [`UiError::Display`] when the display goes away.
    pub fn run(mut self) -> Result<(), UiError> {
        self.window.show()?;
        if let Some(tell) = self.on_first_frame.take() {
            self.tell_first_frame(tell);
        }
        slint::run_event_loop_until_quit()?;
        self.window.hide()?;
        Ok(())
    }

    fn tell_first_frame(&self, tell: Box<dyn FnOnce() + Send>) {
        match self.backend {
            // The software renderer announces no frames: the first turn of the loop paints, the grace covers it.
            Backend::Window { .. } => Timer::single_shot(Duration::ZERO, move || {
                Timer::single_shot(PAINT_GRACE, tell);
            }),
            #[cfg(feature = "probe")]
            Backend::Headless => headless::on_first_frame(tell),
        }
    }
}

impl fmt::Debug for Ui {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ui")
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

/// Speaks to the glass from any thread.
#[derive(Clone)]
pub struct UiHandle {
    window: Weak<AppWindow>,
    /// The newest view that has not been drawn yet: a slow screen skips views, it never queues them.
    pending: Arc<Mutex<Option<View>>>,
}

impl UiHandle {
    /// Shows `view` as soon as the glass is free. Views that arrive faster than they can be drawn are skipped.
    pub fn show(&self, view: View) {
        if lock(&self.pending).replace(view).is_some() {
            return;
        }
        let pending = Arc::clone(&self.pending);
        let posted = self.window.upgrade_in_event_loop(move |window| {
            let newest = lock(&pending).take();
            if let Some(view) = newest {
                render::show(&window, view);
            }
        });
        if posted.is_err() {
            // The loop has ended: nobody will draw it, and it may be personal.
            lock(&self.pending).take();
        }
    }

    /// Calls `turned` from the loop of the glass when it turns next; never when it hangs or has ended.
    pub fn beat(&self, turned: impl FnOnce() + Send + 'static) {
        // A loop that has ended has no pulse, which is what the caller wants to know.
        slint::invoke_from_event_loop(turned).ok();
    }

    /// Ends [`Ui::run`]. Without effect when it has ended already.
    pub fn quit(&self) {
        lock(&self.pending).take();
        slint::quit_event_loop().ok();
    }

    /// Eyes and a finger for journeys and tests.
    #[cfg(feature = "probe")]
    pub fn probe(&self) -> probe::Probe {
        probe::Probe::new(self.window.clone())
    }
}

impl fmt::Debug for UiHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UiHandle")
    }
}

/// A view is replaced whole, so a panic elsewhere cannot have left half of one.
fn lock(pending: &Mutex<Option<View>>) -> MutexGuard<'_, Option<View>> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}
