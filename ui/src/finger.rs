//! Where a finger really is: what a panel tells is put right by the correction that was measured on it,
//! before a page hears of it.
//!
//! The view that is shown says how. Only touches are put right; a mouse says by itself where it is, and so
//! stays a way out of a correction that is wrong. Under the cross of a measurement a touch is left as the
//! panel tells it. A touch that has begun one way ends that way, whatever is shown meanwhile.

use std::cell::Cell;

use slint::platform::{PointerEventButton, WindowEvent};
use slint::{LogicalPosition, Window};

use crate::correction::Correction;

thread_local! {
    static PANEL: Cell<Panel> = const {
        Cell::new(Panel {
            correction: Correction::NONE,
            is_measured: false,
            finger: None,
        })
    };
}

#[derive(Clone, Copy)]
struct Panel {
    correction: Correction,
    /// A page asks where the panel feels the finger.
    is_measured: bool,
    /// The finger on the glass, and whether its place is put right.
    finger: Option<(u64, bool)>,
}

/// What a finger does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Motion {
    Down,
    Moved,
    Up,
    /// The panel takes the touch back.
    #[cfg(feature = "window")]
    Lost,
}

/// Puts every later touch right by `correction`.
pub(crate) fn correct(correction: Correction) {
    PANEL.set(Panel {
        correction,
        ..PANEL.get()
    });
}

/// Leaves touches as the panel tells them, or puts them right again.
pub(crate) fn measure(is_measured: bool) {
    PANEL.set(Panel {
        is_measured,
        ..PANEL.get()
    });
}

/// A panel tells of a finger at `position`, in pixels of the layout. True when the window has been told,
/// and must not be told again: the place was put right, or it is a second finger beside such a one.
pub(crate) fn felt(window: &Window, id: u64, motion: Motion, position: LogicalPosition) -> bool {
    let panel = PANEL.get();
    if let Some((first, is_right)) = panel.finger
        && first != id
    {
        return is_right;
    }
    let is_right = match panel.finger {
        Some((_, is_right)) if motion != Motion::Down => is_right,
        Some(_) | None => !panel.is_measured && panel.correction != Correction::NONE,
    };
    let is_on_glass = matches!(motion, Motion::Down | Motion::Moved);
    PANEL.set(Panel {
        finger: is_on_glass.then_some((id, is_right)),
        ..panel
    });
    if is_right {
        tell(window, motion, right(window, panel.correction, position));
    }
    is_right
}

/// Tells the window of a finger. One that has left the glass hovers over nothing.
pub(crate) fn tell(window: &Window, motion: Motion, position: LogicalPosition) {
    let button = PointerEventButton::Left;
    match motion {
        Motion::Down => window.dispatch_event(WindowEvent::PointerPressed { position, button }),
        Motion::Moved => window.dispatch_event(WindowEvent::PointerMoved { position }),
        Motion::Up => {
            window.dispatch_event(WindowEvent::PointerReleased { position, button });
            window.dispatch_event(WindowEvent::PointerExited);
        }
        #[cfg(feature = "window")]
        Motion::Lost => window.dispatch_event(WindowEvent::PointerExited),
    }
}

/// The place where the finger is, never beyond the edge: what lies there can be touched.
fn right(window: &Window, correction: Correction, position: LogicalPosition) -> LogicalPosition {
    let size = window.size().to_logical(window.scale_factor());
    if size.width < 1.0 || size.height < 1.0 {
        return position;
    }
    let (x, y) = correction.apply(
        f64::from(position.x / size.width),
        f64::from(position.y / size.height),
    );
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a place on the glass needs no more digits"
    )]
    let place = |share: f64, side: f32| (share as f32 * side).clamp(0.0, side - 1.0);
    LogicalPosition::new(place(x, size.width), place(y, size.height))
}

/// Lets every touch of a desktop's window come by here.
#[cfg(feature = "window")]
pub(crate) fn listen(window: &Window) {
    use slint::PhysicalPosition;
    use slint::winit_030::winit::event::{TouchPhase, WindowEvent as NativeEvent};
    use slint::winit_030::{EventResult, WinitWindowAccessor};

    window.on_winit_window_event(|window, event| {
        let NativeEvent::Touch(touch) = event else {
            return EventResult::Propagate;
        };
        let motion = match touch.phase {
            TouchPhase::Started => Motion::Down,
            TouchPhase::Moved => Motion::Moved,
            TouchPhase::Ended => Motion::Up,
            TouchPhase::Cancelled => Motion::Lost,
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "pixels of a panel are far below any limit"
        )]
        let pixels = PhysicalPosition::new(touch.location.x as i32, touch.location.y as i32);
        let position = pixels.to_logical(window.scale_factor());
        if felt(window, touch.id, motion, position) {
            EventResult::PreventDefault
        } else {
            EventResult::Propagate
        }
    });
}
