//! Everything that can happen to a visit, and everything a visit can ask for.
//!
//! Requests carry a [`Ticket`]; the answer brings it back. A visit that has ended, or moved on,
//! knows a late answer by its ticket and drops it: nothing of one citizen can reach the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kiosk_device::{DeviceClass, Sensitive, Status};
use kiosk_sealing::RecipientKey;
use kiosk_ui::{Picture, Touch};
/// How a visit ends, in the words in which it is counted.
pub use offline_cache::{Cause, VisitEnd};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::calibration::Calibrations;
use crate::person::Person;
use crate::selftest::{Finding, Probe};
use crate::workbench::{Found, Work};

/// Names one request; never reused while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// Which camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lens {
    /// The camera that looks at the visitor.
    Face,
    /// The camera that looks at the document tray: the tray alone, where its crop was set.
    Document,
    /// The same camera with all that it sees, for setting the crop.
    WholeTray,
}

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A finger.
    Touch(Touch),
    /// Time has passed; sent at least once a second.
    Tick,
    /// A device is in another state than before.
    Status {
        /// Its class.
        class: DeviceClass,
        /// Its id in the configuration.
        device: String,
        /// How it is now.
        status: Status,
    },
    /// The card reader sees a card and is reading it.
    CardFound(Ticket),
    /// A card was read.
    Card(Ticket, Box<Person>),
    /// Reading failed; the card must be lifted and put down again.
    CardAgain(Ticket, &'static str),
    /// The reader ended without a card.
    CardEnded(Ticket, Ending),
    /// A code was read.
    Code(Ticket, Sensitive<String>),
    /// The scanner ended without a code.
    CodeEnded(Ticket, Ending),
    /// A picture from a camera.
    Frame(Ticket, Frame),
    /// The face in a picture was looked at: what keeps it from being compared, by problem code.
    FaceJudged(Ticket, Option<&'static str>),
    /// The page in a photograph, alone and upright.
    Straightened(Ticket, Frame),
    /// The camera ended.
    CameraEnded(Ticket, Ending),
    /// News from a printer.
    Print(Ticket, PrintNews),
    /// The transaction is durable.
    Committed(Ticket, Commitment),
    /// The transaction could not be made durable; nothing was accepted.
    CommitFailed(Ticket, &'static str),
    /// Answer of the platform to a question.
    Answer(Ticket, Answer),
    /// A receipt has come back for a transaction.
    Settled {
        /// The transaction.
        id: Uuid,
        /// The platform's answer.
        receipt: Receipt,
    },
    /// The pages of a document are ready to be shown.
    Pages(Ticket, Result<PageSet, &'static str>),
    /// The line to the platform came or went.
    Link(bool),
    /// How many transactions wait.
    Pending(u32),
    /// A slip was not printed when the power went; its case is durable.
    SlipMissed(Commitment),
    /// The platform orders something; answered by `Effect::Performed`, perhaps only when the visit is
    /// over.
    Ordered {
        /// The order; its answer carries it back.
        id: Uuid,
        /// What to do.
        order: Order,
    },
    /// The items that the platform's desired state withdraws: the whole list, in place of the last.
    Suspended(Vec<String>),
    /// From now on new work is sealed to this key; what is queued keeps its own.
    SealingKey(RecipientKey),
    /// An upstream behind the platform came or went.
    Upstream {
        /// Its name, as item packages write it.
        name: String,
        /// Whether it takes transactions now.
        is_up: bool,
    },
    /// The store has room for new work, or has none.
    Room(bool),
    /// What the workbench found.
    Staff(Ticket, Box<Found>),
    /// What a probe of a test found.
    Probed(Ticket, Finding),
    /// Calibrations that are in force from now on: all of them, in place of the last.
    Calibrated(Box<Calibrations>),
    /// A guided test was run without the glass: a device that failed serves no visitors until it
    /// passes.
    Tested {
        /// The test.
        test: String,
        /// The device; empty for the machine.
        device: String,
        /// It passed.
        has_passed: bool,
    },
}

/// What the platform can order of a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Offer an item no longer.
    SuspendItem(String),
    /// Offer it again.
    ResumeItem(String),
    /// End the program between two visits; whoever watches it starts it anew.
    Restart,
    /// Serve nobody, and say so on the glass.
    Lock,
    /// Serve again.
    Unlock,
    /// Write the last lines of the log into a file.
    CollectLogs,
}

impl Order {
    /// The word in commands and in the audit log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SuspendItem(_) => "suspend-item",
            Self::ResumeItem(_) => "resume-item",
            Self::Restart => "restart",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::CollectLogs => "collect-logs",
        }
    }
}

/// What orders have made of this terminal; outlives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// Nobody is served.
    pub is_locked: bool,
    /// Items that an order has withdrawn.
    pub suspended: BTreeSet<String>,
    /// Village staff have closed the day: nobody is served until they open it.
    pub is_day_closed: bool,
    /// Guided tests that failed last, by device: it serves no visitors until they pass.
    pub failed_tests: BTreeMap<String, BTreeSet<String>>,
}

/// How a device command ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its deadline passed.
    TimeOut,
    /// It was canceled by us.
    Canceled,
    /// The device failed, by problem code.
    Failed(&'static str),
}

/// One picture of a camera.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Scaled for the screen.
    pub preview: Picture,
    /// As the camera sent it.
    pub jpeg: Arc<Sensitive<Vec<u8>>>,
}

/// News from a printer about one print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrintNews {
    /// So many pages are out.
    Progress(u32),
    /// It has stopped and resumes when somebody has acted (paper, cover, jam).
    Stopped(&'static str),
    /// It goes on after a stop.
    Resumed,
    /// The paper is out.
    Presented,
    /// Somebody took it; only printers with a sensor in the outlet tell.
    Taken,
    /// It failed for good.
    Failed(&'static str),
}

/// A durable transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commitment {
    /// Its id, the idempotency key of every retry.
    pub id: Uuid,
    /// The case number on the slip.
    pub number: String,
    /// The item it belongs to.
    pub item: String,
    /// When it became durable, local time for people.
    pub time: String,
    /// First twelve hexadecimal digits of the SHA-256 of the payload.
    pub digest: String,
    /// What the QR code on the slip says.
    pub code: String,
}

/// The platform's answer to a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The platform's own number.
    pub reference: String,
    /// `accepted`, `completed` or `rejected`.
    pub outcome: String,
    /// A sentence for the citizen; may be empty.
    pub message: String,
    /// Until when the result is valid; empty where that has no meaning.
    pub valid_until: String,
}

/// A question the platform could answer, with its answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Whether the person is known and may use the item.
    Identity(Result<IdentityAnswer, Unanswered>),
    /// Whether the face belongs to the person.
    Face(Result<FaceAnswer, Unanswered>),
    /// Whether the person may witness.
    Witness(Result<WitnessAnswer, Unanswered>),
    /// A sealed document, its seal verified.
    Credential(Result<Credential, Unanswered>),
    /// The state of a case.
    Case(Result<Option<CaseState>, Unanswered>),
}

/// Why the platform gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// Problem code (`platform.unreachable`, `platform.slow`, `platform.bad-reply`, …).
    pub code: &'static str,
    /// The platform's own words for the citizen; may be empty.
    pub words: String,
}

/// What the platform knows of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityAnswer {
    /// The person is on record.
    pub is_known: bool,
    /// Why the item is not for this person; empty when it is.
    pub refusal: String,
}

/// Result of a face comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaceAnswer {
    /// What was found.
    pub verdict: FaceVerdict,
    /// The platform's number of this comparison.
    pub reference: String,
}

/// What a face comparison found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaceVerdict {
    /// The same person.
    Match,
    /// Another person.
    Mismatch,
    /// No face in the picture.
    NoFace,
    /// More than one face.
    SeveralFaces,
}

/// Whether somebody may witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessAnswer {
    /// True when the person may.
    pub is_authorized: bool,
    /// The platform's number of this answer.
    pub reference: String,
}

/// A sealed document from the platform; only made after its seal was verified.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Title of the document.
    pub title: String,
    /// Number of the document.
    pub number: String,
    /// The document.
    pub pdf: Arc<Sensitive<Vec<u8>>>,
    /// Who sealed it.
    pub issuer: String,
}

/// State of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseState {
    /// `accepted`, `processing`, `completed`, `rejected`, `correction`.
    pub state: String,
    /// The platform's words.
    pub text: String,
    /// Time of the last change, for people.
    pub updated: String,
}

/// Pages of a document as pictures.
#[derive(Clone, Debug)]
pub struct PageSet {
    /// Scaled for the screen.
    pub pages: Vec<Picture>,
}

/// Something to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Wait for a card.
    ReadCard(Ticket),
    /// Wait for a social security card beside it; whichever card comes first counts.
    ReadSocialCard(Ticket),
    /// Look whether the face in a picture can be compared.
    Judge(Ticket, Picture),
    /// Look for a code in a picture; an answer is `Event::Code`.
    Decode(Ticket, Arc<Sensitive<Vec<u8>>>),
    /// Find the page in a photograph and make it upright.
    Straighten(Ticket, Arc<Sensitive<Vec<u8>>>),
    /// Wait for a code.
    Scan(Ticket),
    /// Stream pictures.
    Stream(Ticket, Lens),
    /// End a device command.
    Cancel(Ticket),
    /// Ask the platform.
    Ask(Ticket, Question),
    /// Make a case durable, then answer `Committed`.
    Commit(Ticket, Box<Submission>),
    /// Make a rating durable.
    Rate(Rating),
    /// Print a slip for a durable transaction.
    PrintSlip(Ticket, Box<Slip>),
    /// Make pictures of a document.
    Paint(Ticket, Arc<Sensitive<Vec<u8>>>),
    /// Print a document.
    PrintPages {
        /// Names the print.
        ticket: Ticket,
        /// The item it belongs to.
        item: String,
        /// The document.
        credential: Box<Credential>,
        /// Pages to print.
        pages: u32,
    },
    /// The visit is over and its data is gone: record what was erased.
    Erased(Erasure),
    /// Put this into the audit log.
    Note(Note),
    /// An order was performed, or could not be, by problem code.
    Performed(Uuid, Order, Result<(), &'static str>),
    /// Orders have changed how the terminal stands: keep it.
    Keep(Standing),
    /// Nobody is here and a restart was ordered: end the program.
    Restart(Uuid),
    /// Write the last lines of the log into a file, then report the order as performed.
    CollectLogs(Uuid),
    /// Somebody, or the platform, wants everything to be tried again: out of safe mode, and start anew.
    TryNormally(String),
    /// Ask the workbench; answered by `Event::Staff`.
    Staff(Ticket, Box<Work>),
    /// Ask a device or the machine for a test; answered by `Event::Probed`, or by `Event::Print`.
    Probe(Ticket, Probe),
}

/// What a visit adds to the audit log. Numbers become keyed digests before anything is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Somebody began an item.
    VisitBegun {
        /// The item.
        item: String,
    },
    /// The visit of an item is over.
    VisitEnded {
        /// The item.
        item: String,
        /// How it ended; counted, and not in the audit log.
        end: VisitEnd,
        /// True when nobody touched the glass any more.
        is_timed_out: bool,
    },
    /// Somebody said that the data of a card or a typed number is right.
    Identified {
        /// `principal`, `helper` or `witness`.
        role: &'static str,
        /// Kind of document: `id-card`, `social-card` or `typed-number`.
        document: &'static str,
        /// The identity number.
        number: Sensitive<String>,
    },
    /// Somebody acts for another; both are identified.
    HelperActs {
        /// The number of the person concerned.
        principal: Sensitive<String>,
        /// The number of who acts.
        helper: Sensitive<String>,
    },
    /// The person concerned agreed to be represented.
    Consented {
        /// The number of the person concerned.
        principal: Sensitive<String>,
        /// The number of who acts.
        helper: Sensitive<String>,
    },
}

/// A question for the platform.
#[derive(Clone, Debug)]
pub enum Question {
    /// Is the person known, and is the item for this person?
    Identity {
        /// Who.
        person: Box<Person>,
        /// For which item.
        item: String,
    },
    /// Does the face belong to the person?
    Face {
        /// Who.
        person: Box<Person>,
        /// The picture.
        jpeg: Arc<Sensitive<Vec<u8>>>,
    },
    /// May this person witness?
    Witness {
        /// Who.
        person: Box<Person>,
        /// For which item.
        item: String,
    },
    /// Fetch a sealed document.
    Credential {
        /// Whose.
        person: Box<Person>,
        /// Which item.
        item: String,
        /// The visitor's answers.
        answers: Vec<(String, String)>,
    },
    /// What is the state of this case?
    Case {
        /// Its number.
        number: String,
    },
}

/// What a citizen hands in.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Item id.
    pub item: String,
    /// Item version.
    pub item_version: u32,
    /// For whom.
    pub principal: Person,
    /// Who acts, when somebody else does.
    pub helper: Option<Person>,
    /// When the principal agreed to be represented, local time; empty when nobody acts for another.
    pub consent_time: String,
    /// Answers by field id.
    pub answers: Vec<(String, Sensitive<String>)>,
    /// How the person was verified: `face`, `witness`, `evidence` or `none`.
    pub verified_by: &'static str,
    /// The platform's number of the verification; may be empty.
    pub verification: String,
    /// Pictures.
    pub pictures: Vec<TakenPicture>,
    /// True while there was no line.
    pub is_offline: bool,
}

/// A picture taken during the visit.
#[derive(Clone, Debug)]
pub struct TakenPicture {
    /// Which document, by id.
    pub document: String,
    /// As the camera sent it.
    pub jpeg: Arc<Sensitive<Vec<u8>>>,
    /// Scaled for the screen.
    pub preview: Picture,
}

/// A rating of a case, one of five levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rating {
    /// The case; the document number where no case was made.
    pub case_number: String,
    /// The item.
    pub item: String,
    /// 5 very satisfied … 1 very dissatisfied.
    pub level: u8,
}

/// What a slip says.
#[derive(Clone, Debug)]
pub struct Slip {
    /// The durable transaction it belongs to.
    pub commitment: Commitment,
    /// Name of the template in the item package.
    pub template: String,
    /// Everything the template shows.
    pub content: serde_json::Value,
    /// True for a second copy.
    pub is_copy: bool,
}

/// What was erased at the end of a visit; counts, never content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erasure {
    /// Identified persons.
    pub persons: u32,
    /// Answers.
    pub answers: u32,
    /// Pictures.
    pub pictures: u32,
    /// Documents.
    pub documents: u32,
}
