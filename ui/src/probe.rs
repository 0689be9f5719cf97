//! Eyes and a finger for journeys and tests: find by visible label, touch for real, photograph.
//!
//! Every call runs on the loop of the glass and waits at most five seconds for it. A touch is a press and a release
//! at the middle of the target, with a hold between them, as a finger makes it: what is covered cannot be touched.
//! Exists only with the feature `probe`; release packages do not have it.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use i_slint_backend_testing::{AccessibleRole, ElementHandle, ElementQuery};
use slint::{ComponentHandle, LogicalPosition, Weak};

use crate::finger::{self, Motion};
use crate::glass::{AppWindow, KioskAdapter};
use crate::headless;
use crate::view::Picture;

/// How long the loop of the glass may take to answer. Chosen: a hundred times a full repaint.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How long a finger rests on a target. Chosen: a quick tap of an adult.
const TAP: Duration = Duration::from_millis(60);

/// How long a real panel gets to draw what was shown last. Chosen: three frames at 60 Hz.
const FRAMES: Duration = Duration::from_millis(50);

/// Longest hold. Chosen: a journey that needs more is wrong.
const HOLD_MAX: Duration = Duration::from_secs(30);

/// Why the glass could not be looked at or touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The loop of the glass has ended or is stuck.
    #[error("the glass does not answer")]
    NoAnswer,
    /// No button that can be touched has this label.
    #[error("no button \"{label}\"; buttons: {visible:?}")]
    NotFound {
        /// What was looked for.
        label: String,
        /// Labels of the buttons that can be touched.
        visible: Vec<String>,
    },
    /// Several buttons contain this text and none is equal to it.
    #[error("several buttons contain \"{label}\": {visible:?}")]
    Ambiguous {
        /// What was looked for.
        label: String,
        /// Labels of the buttons that contain it.
        visible: Vec<String>,
    },
    /// The picture could not be taken.
    #[error("cannot photograph the glass")]
    Snapshot,
}

/// Something on the glass that a person can see or touch. Positions and sizes are in pixels of the layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// What it says.
    pub label: String,
    /// `button`, `text` or another role, in lower case.
    pub role: String,
    /// True where a touch does something; texts are always enabled.
    pub enabled: bool,
    /// Left edge.
    pub x: f32,
    /// Upper edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

/// Looks at and touches the glass from any thread but the main one.
#[derive(Clone)]
pub struct Probe {
    window: Weak<AppWindow>,
}

impl Probe {
    pub(crate) fn new(window: Weak<AppWindow>) -> Self {
        Self { window }
    }

    /// The stable name of the shown page.
    ///
    /// # Errors
    /// [`ProbeError::NoAnswer`] when the loop has ended or is stuck.
    pub fn screen(&self) -> Result<String, ProbeError> {
        self.ask(|window| window.global::<KioskAdapter<'_>>().get_screen().into())
    }

    /// The same, and behind the name of a staff page its own: `staff/menu`, as [`crate::Screen::place`].
    ///
    /// # Errors
    /// [`ProbeError::NoAnswer`] when the loop has ended or is stuck.
    pub fn place(&self) -> Result<String, ProbeError> {
        self.ask(|window| window.global::<KioskAdapter<'_>>().get_place().into())
    }

    /// Everything with a label that is visible now, in the order of the layout.
    ///
    /// # Errors
    /// [`ProbeError::NoAnswer`] when the loop has ended or is stuck.
    pub fn elements(&self) -> Result<Vec<Element>, ProbeError> {
        let is_settled = self.ask(|_| headless::settle())?;
        if !is_settled {
            rest(FRAMES);
        }
        self.ask(visible_elements)
    }

    /// Touches the button with exactly this label, else the only one that contains it.
    ///
    /// # Errors
    /// [`ProbeError::NotFound`] and [`ProbeError::Ambiguous`] name the buttons that are there.
    pub fn touch(&self, label: &str) -> Result<(), ProbeError> {
        self.hold(label, TAP)
    }

    /// Like [`Probe::touch`], but the finger stays for `duration`, at most 30 s.
    ///
    /// # Errors
    /// As [`Probe::touch`].
    pub fn hold(&self, label: &str, duration: Duration) -> Result<(), ProbeError> {
        let target = find(&self.elements()?, label)?;
        self.press(
            target.x + target.width / 2.0,
            target.y + target.height / 2.0,
            duration,
        )
    }

    /// Taps on the glass wherever it may be, in pixels of the layout.
    ///
    /// # Errors
    /// [`ProbeError::NoAnswer`] when the loop has ended or is stuck.
    pub fn tap(&self, x: f32, y: f32) -> Result<(), ProbeError> {
        self.press(x, y, TAP)
    }

    /// Wipes over the glass through `points`, in pixels of the layout, without lifting the finger.
    ///
    /// # Errors
    /// [`ProbeError::NoAnswer`] when the loop has ended or is stuck.
    pub fn wipe(&self, points: &[(f32, f32)]) -> Result<(), ProbeError> {
        let points: Vec<LogicalPosition> = points
            .iter()
            .map(|(x, y)| LogicalPosition::new(*x, *y))
            .collect();
        let (Some(first), Some(last)) = (points.first().copied(), points.last().copied()) else {
            return Ok(());
        };
        self.ask(move |window| {
            feel(window, Motion::Down, first);
            for position in points {
                feel(window, Motion::Moved, position);
            }
            feel(window, Motion::Up, last);
        })
    }

    fn press(&self, x: f32, y: f32, duration: Duration) -> Result<(), ProbeError> {
        let position = LogicalPosition::new(x, y);
        self.ask(move |window| feel(window, Motion::Down, position))?;
        rest(duration.min(HOLD_MAX));
        self.ask(move |window| feel(window, Motion::Up, position))
    }

    /// The pixels on the glass.
    ///
    /// # Errors
    /// [`ProbeError::Snapshot`] when the renderer refuses.
    pub fn snapshot(&self) -> Result<Picture, ProbeError> {
        self.ask(|window| headless::picture().or_else(|| window_picture(window)))?
            .ok_or(ProbeError::Snapshot)
    }

    /// Runs `look` on the loop of the glass and waits for what it says.
    fn ask<T: Send + 'static>(
        &self,
        look: impl FnOnce(&AppWindow) -> T + Send + 'static,
    ) -> Result<T, ProbeError> {
        let (answer, answers) = sync_channel(1);
        self.window
            .upgrade_in_event_loop(move |window| drop(answer.try_send(look(&window))))
            .map_err(|_| ProbeError::NoAnswer)?;
        answers
            .recv_timeout(ANSWER_MAX)
            .map_err(|_| ProbeError::NoAnswer)
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

/// The panel feels a finger: as with a real one, what it tells is put right first.
fn feel(window: &AppWindow, motion: Motion, position: LogicalPosition) {
    let window = window.window();
    if !finger::felt(window, 0, motion, position) {
        finger::tell(window, motion, position);
    }
}

/// Waits as a resting finger does. Nothing ever arrives on this channel.
fn rest(duration: Duration) {
    let (finger, touched): (_, Receiver<()>) = sync_channel(1);
    if touched.recv_timeout(duration) == Err(RecvTimeoutError::Timeout) {
        drop(finger);
    }
}

fn visible_elements(window: &AppWindow) -> Vec<Element> {
    ElementQuery::from_root(window)
        .match_predicate(|element| role_name(element).is_some())
        .find_all()
        .iter()
        .filter_map(read)
        .collect()
}

fn read(element: &ElementHandle) -> Option<Element> {
    let label = element.accessible_label()?;
    let size = element.size();
    if label.is_empty()
        || size.width < 1.0
        || size.height < 1.0
        || element.computed_opacity() <= 0.0
    {
        return None;
    }
    let position = element.absolute_position();
    Some(Element {
        label: label.into(),
        role: role_name(element)?,
        enabled: element.accessible_enabled().unwrap_or(true),
        x: position.x,
        y: position.y,
        width: size.width,
        height: size.height,
    })
}

fn role_name(element: &ElementHandle) -> Option<String> {
    element
        .accessible_role()
        .filter(|role| *role != AccessibleRole::None)
        .map(|role| format!("{role:?}").to_lowercase())
}

fn find(elements: &[Element], label: &str) -> Result<Element, ProbeError> {
    let buttons = || {
        elements
            .iter()
            .filter(|element| element.role == "button" && element.enabled)
    };
    let names = |found: Vec<&Element>| found.iter().map(|element| element.label.clone()).collect();
    if let Some(exact) = buttons().find(|element| element.label == label) {
        return Ok(exact.clone());
    }
    let similar: Vec<&Element> = buttons()
        .filter(|element| element.label.contains(label))
        .collect();
    match similar.as_slice() {
        [] => Err(ProbeError::NotFound {
            label: label.to_owned(),
            visible: names(buttons().collect()),
        }),
        [only] => Ok((*only).clone()),
        _ => Err(ProbeError::Ambiguous {
            label: label.to_owned(),
            visible: names(similar),
        }),
    }
}

fn window_picture(window: &AppWindow) -> Option<Picture> {
    let pixels = window.window().take_snapshot().ok()?;
    let rgb = pixels
        .as_slice()
        .iter()
        .flat_map(|pixel| [pixel.r, pixel.g, pixel.b])
        .collect();
    Some(Picture {
        width: pixels.width(),
        height: pixels.height(),
        rgb: Arc::new(rgb),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(label: &str, role: &str, enabled: bool) -> Element {
        Element {
            label: label.to_owned(),
            role: role.to_owned(),
            enabled,
            x: 0.0,
            y: 0.0,
            width: 10.0,
            height: 10.0,
        }
    }

    #[test]
    fn an_exact_label_wins_over_one_that_contains_it() {
        let elements = [
            element("确认并提交", "button", true),
            element("确认", "button", true),
        ];
        assert_eq!(find(&elements, "确认").unwrap().label, "确认");
        assert_eq!(find(&elements, "提交").unwrap().label, "确认并提交");
    }

    #[test]
    fn texts_and_greyed_buttons_cannot_be_touched() {
        let elements = [
            element("打印", "text", true),
            element("打印证明", "button", false),
            element("返回", "button", true),
        ];
        let error = find(&elements, "打印").unwrap_err();
        assert_eq!(
            error,
            ProbeError::NotFound {
                label: "打印".into(),
                visible: vec!["返回".into()]
            }
        );
    }

    #[test]
    fn a_part_of_two_labels_is_ambiguous() {
        let elements = [
            element("修改 姓名", "button", true),
            element("修改 住址", "button", true),
        ];
        assert!(
            matches!(find(&elements, "修改"), Err(ProbeError::Ambiguous { visible, .. }) if visible.len() == 2)
        );
    }
}
