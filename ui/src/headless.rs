//! A panel made of memory: the same renderer and the same loop as a real one, with nobody in front of it.
//!
//! Draws only when something has changed, into one buffer that is kept, as a panel keeps its picture.
//! Sleeps until an event, a timer or an animation needs it. Exists only with the feature `probe`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use slint::platform::software_renderer::{MinimalSoftwareWindow, RepaintBufferType};
use slint::platform::{
    EventLoopProxy, Platform, WindowAdapter, duration_until_next_timer_update, set_platform,
    update_timers_and_animations,
};
use slint::{EventLoopError, PhysicalSize, PlatformError, Rgb8Pixel};

use crate::UiError;
use crate::view::Picture;

/// Calls that wait for the loop. Chosen: a loop that is this far behind is not running any more.
const QUEUE_MAX: usize = 256;

/// Time between two frames of an animation. Chosen: 60 Hz.
const FRAME: Duration = Duration::from_millis(16);

/// Longest sleep with nothing to do. Chosen: no wait is without an end.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// Frames after which a page has found its shape. Chosen: two are usual.
const DRAWS_MAX: u32 = 6;

thread_local! {
    static PANEL: RefCell<Option<Rc<Panel>>> = const { RefCell::new(None) };
}

/// Makes this thread's panel a buffer of `size`.
pub(crate) fn install(size: PhysicalSize) -> Result<(), UiError> {
    let panel = Rc::new(Panel {
        window: MinimalSoftwareWindow::new(RepaintBufferType::ReusedBuffer),
        size,
        pixels: RefCell::new(vec![
            Rgb8Pixel::default();
            (size.width * size.height) as usize
        ]),
        on_first_frame: Cell::new(None),
    });
    let platform = Headless {
        panel: Rc::clone(&panel),
        queue: Arc::default(),
    };
    set_platform(Box::new(platform)).map_err(|_| UiError::AlreadyOpen)?;
    PANEL.set(Some(panel));
    Ok(())
}

/// Calls `tell` when the next frame has been drawn.
pub(crate) fn on_first_frame(tell: Box<dyn FnOnce() + Send>) {
    PANEL.with_borrow(|panel| {
        if let Some(panel) = panel {
            panel.on_first_frame.set(Some(tell));
        }
    });
}

/// Draws until nothing changes any more; false when the panel is a real one.
///
/// Pages are built while they are drawn: before that, a question about them is answered from the page before.
pub(crate) fn settle() -> bool {
    PANEL.with_borrow(|panel| {
        let Some(panel) = panel else {
            return false;
        };
        for _ in 0..DRAWS_MAX {
            update_timers_and_animations();
            if !panel.draw() {
                break;
            }
        }
        true
    })
}

/// The pixels on this thread's panel; `None` when the panel is a real one.
pub(crate) fn picture() -> Option<Picture> {
    settle();
    PANEL.with_borrow(|panel| {
        let panel = panel.as_ref()?;
        let rgb = panel
            .pixels
            .borrow()
            .iter()
            .flat_map(|pixel| [pixel.r, pixel.g, pixel.b])
            .collect();
        Some(Picture {
            width: panel.size.width,
            height: panel.size.height,
            rgb: Arc::new(rgb),
        })
    })
}

struct Panel {
    window: Rc<MinimalSoftwareWindow>,
    size: PhysicalSize,
    pixels: RefCell<Vec<Rgb8Pixel>>,
    on_first_frame: Cell<Option<Box<dyn FnOnce() + Send>>>,
}

impl Panel {
    /// Draws if anything has changed, and says whether.
    fn draw(&self) -> bool {
        let is_drawn = self.window.draw_if_needed(|renderer| {
            renderer.render(&mut self.pixels.borrow_mut(), self.size.width as usize);
        });
        if is_drawn && let Some(tell) = self.on_first_frame.take() {
            tell();
        }
        is_drawn
    }
}

struct Headless {
    panel: Rc<Panel>,
    queue: Arc<Queue>,
}

impl Platform for Headless {
    fn create_window_adapter(&self) -> Result<Rc<dyn WindowAdapter>, PlatformError> {
        Ok(Rc::clone(&self.panel.window) as Rc<dyn WindowAdapter>)
    }

    fn run_event_loop(&self) -> Result<(), PlatformError> {
        loop {
            update_timers_and_animations();
            for call in self.queue.take_all() {
                match call {
                    Call::Quit => return Ok(()),
                    Call::Run(act) => act(),
                }
            }
            update_timers_and_animations();
            self.panel.draw();
            let wait = if self.panel.window.has_active_animations() {
                FRAME
            } else {
                duration_until_next_timer_update()
                    .unwrap_or(IDLE_MAX)
                    .min(IDLE_MAX)
            };
            self.queue.wait(wait);
        }
    }

    fn new_event_loop_proxy(&self) -> Option<Box<dyn EventLoopProxy>> {
        Some(Box::new(Proxy(Arc::clone(&self.queue))))
    }
}

enum Call {
    Run(Box<dyn FnOnce() + Send>),
    Quit,
}

#[derive(Default)]
struct Queue {
    calls: Mutex<VecDeque<Call>>,
    is_ready: Condvar,
}

impl Queue {
    fn push(&self, call: Call) -> Result<(), EventLoopError> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() >= QUEUE_MAX {
            return Err(EventLoopError::EventLoopTerminated);
        }
        calls.push_back(call);
        self.is_ready.notify_one();
        Ok(())
    }

    fn take_all(&self) -> VecDeque<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wait(&self, at_most: Duration) {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        drop(
            self.is_ready
                .wait_timeout_while(calls, at_most, |calls| calls.is_empty()),
        );
    }
}

struct Proxy(Arc<Queue>);

impl EventLoopProxy for Proxy {
    fn quit_event_loop(&self) -> Result<(), EventLoopError> {
        self.0.push(Call::Quit)
    }

    fn invoke_from_event_loop(
        &self,
        event: Box<dyn FnOnce() + Send>,
    ) -> Result<(), EventLoopError> {
        self.0.push(Call::Run(event))
    }
}
