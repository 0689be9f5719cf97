//! One glass in memory for all tests of a process: Slint allows one, so the tests take turns.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use kiosk_ui::probe::{Element, Probe};
use kiosk_ui::{Backend, Options, Touch, Ui, UiHandle, View};

/// Small, so that a test can fill it.
pub(crate) const TOUCHES_MAX: usize = 4;

/// How long a touch may take from the glass to the inbox.
const TOUCH_WITHIN: Duration = Duration::from_secs(5);

/// The glass, its probe and what was touched.
pub(crate) struct Stage {
    pub(crate) handle: UiHandle,
    pub(crate) probe: Probe,
    touches: Receiver<Touch>,
}

impl Stage {
    /// Takes the glass, `width_px` × `height_px`; every test of one process asks for the same size.
    pub(crate) fn take(width_px: u32, height_px: u32) -> MutexGuard<'static, Self> {
        static STAGE: OnceLock<Mutex<Stage>> = OnceLock::new();
        let stage = STAGE.get_or_init(|| Mutex::new(open(width_px, height_px)));
        // A test that failed leaves the glass usable: the next one shows its own view.
        let stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
        while stage.touches.try_recv().is_ok() {}
        stage
    }

    /// Shows `view` and returns what is visible then.
    pub(crate) fn show(&self, view: View) -> Vec<Element> {
        self.handle.show(view);
        self.probe.elements().expect("the glass answers")
    }

    /// Touches `label` and returns the next touch that is more than activity.
    pub(crate) fn touch(&self, label: &str) -> Touch {
        self.probe.touch(label).expect("the button is there");
        self.next_touch()
            .unwrap_or_else(|error| panic!("nothing came of touching {label}: {error}"))
    }

    /// The next touch that is more than activity.
    pub(crate) fn next_touch(&self) -> Result<Touch, RecvTimeoutError> {
        loop {
            let touch = self.touches.recv_timeout(TOUCH_WITHIN)?;
            if touch != Touch::Activity {
                return Ok(touch);
            }
        }
    }

    /// Everything that has been touched until now.
    pub(crate) fn touched(&self) -> Vec<Touch> {
        self.touches.try_iter().collect()
    }
}

fn open(width_px: u32, height_px: u32) -> Stage {
    let (touch, touches) = sync_channel(TOUCHES_MAX);
    let (opened, handles) = sync_channel(1);
    let (painted, first_frame) = sync_channel(1);
    std::thread::spawn(move || {
        let options = Options {
            width_px,
            height_px,
            backend: Backend::Headless,
            on_first_frame: Some(Box::new(move || {
                painted
                    .send(())
                    .expect("somebody waits for the first frame");
            })),
        };
        let ui = Ui::new(options, touch).expect("the glass opens");
        opened
            .send(ui.handle())
            .expect("somebody waits for the handle");
        ui.run().expect("the glass stays open");
    });
    let handle = handles
        .recv_timeout(TOUCH_WITHIN)
        .expect("the glass opens in time");
    first_frame
        .recv_timeout(TOUCH_WITHIN)
        .expect("the first frame is announced");
    let probe = handle.probe();
    Stage {
        handle,
        probe,
        touches,
    }
}
