//! Looks at pictures on a thread of its own: whether a face can be compared at all, and where the
//! page in a photograph lies. Gives advice; decides nothing, keeps nothing, stores no template.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use kiosk_camera::{document, face, picture};
use kiosk_device::Sensitive;
use kiosk_qr_scanner::frame::{Frame as CodeFrame, FrameReader};
use kiosk_ui::Picture;

use crate::event::{Event, Frame, Ticket};
use crate::hub::{PREVIEW_WIDTH, shown};
use crate::runtime::Input;

/// Pictures that may wait. One: by the time of a second one the first is old.
const INBOX_LIMIT: usize = 1;
/// Time for one picture. Chosen: about the pause between two pictures of a camera; what was not tried
/// on this one is tried on the next.
const DECODE_LIMIT: Duration = Duration::from_millis(120);

enum Work {
    Judge(Ticket, Picture),
    Decode(Ticket, Arc<Sensitive<Vec<u8>>>),
    Straighten(Ticket, Arc<Sensitive<Vec<u8>>>),
}

/// The inbox of the thread.
#[derive(Debug)]
pub struct Pictures {
    inbox: SyncSender<Work>,
}

impl Pictures {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the machine cannot start a thread.
    pub fn start(out: SyncSender<Input>) -> std::io::Result<Self> {
        let (inbox, work) = sync_channel(INBOX_LIMIT);
        crate::vital::spawn("pictures", move || run(&work, &out))?;
        Ok(Self { inbox })
    }

    /// Judges the face in a preview; the answer is `Event::FaceJudged`. A busy thread lets this
    /// picture pass: the next one is newer.
    pub(crate) fn judge(&self, ticket: Ticket, preview: Picture) {
        if self.inbox.try_send(Work::Judge(ticket, preview)).is_err() {
            tracing::debug!("a picture was not judged");
        }
    }

    /// Looks for a code in a picture; the answer, where there is one, is `Event::Code`.
    pub(crate) fn decode(&self, ticket: Ticket, jpeg: Arc<Sensitive<Vec<u8>>>) {
        if self.inbox.try_send(Work::Decode(ticket, jpeg)).is_err() {
            tracing::debug!("a picture was not looked at for a code");
        }
    }

    /// Straightens the page in a photograph; the answer, where there is a better picture, is
    /// `Event::Straightened`.
    pub(crate) fn straighten(&self, ticket: Ticket, jpeg: Arc<Sensitive<Vec<u8>>>) {
        if self.inbox.try_send(Work::Straighten(ticket, jpeg)).is_err() {
            tracing::debug!("a picture was not straightened");
        }
    }
}

fn run(work: &Receiver<Work>, out: &SyncSender<Input>) {
    let mut reader = FrameReader::default();
    // Ends when the terminal drops its side.
    for work in work {
        let event = match work {
            Work::Decode(ticket, jpeg) => {
                code_in(&jpeg, &mut reader).map(|text| Event::Code(ticket, text))
            }
            Work::Judge(ticket, preview) => {
                let verdict = face::judge(&preview.rgb, preview.width, preview.height);
                Some(Event::FaceJudged(ticket, verdict.code()))
            }
            Work::Straighten(ticket, jpeg) => {
                straightened(&jpeg).map(|frame| Event::Straightened(ticket, frame))
            }
        };
        if let Some(event) = event
            && out.send(Input::Event(event)).is_err()
        {
            return;
        }
    }
}

/// The text of a code in a picture, looked for in full resolution: on a slip that lies under a
/// document camera it is small.
fn code_in(jpeg: &Sensitive<Vec<u8>>, reader: &mut FrameReader) -> Option<Sensitive<String>> {
    let picture = picture::decode_whole(jpeg.expose()).ok()?.into_luma8();
    let (width, height) = picture.dimensions();
    let frame = CodeFrame::new(picture.as_raw(), width, height).ok()?;
    let deadline = kiosk_device::clock::now() + DECODE_LIMIT;
    Some(reader.read(frame, deadline)?.code.text)
}

/// The page alone, upright; `None` where the photograph is better left as it is.
fn straightened(jpeg: &Sensitive<Vec<u8>>) -> Option<Frame> {
    let page = document::straighten_jpeg(jpeg.expose())?;
    picture::decode(page, PREVIEW_WIDTH).ok().map(shown)
}
