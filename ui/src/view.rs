//! Everything the glass shows, as one plain value.
//!
//! A screen is a function of one [`View`]; nothing else reaches the glass, so nothing can get out of step.
//! Texts that belong to an item, a person or a problem arrive already in the visitor's language;
//! texts that belong to the screens themselves live in the Slint files and are translated there.
//! `Debug` of anything here names the screen and never its content: content may be personal.

use std::fmt;
use std::sync::Arc;

use crate::correction::Correction;

/// What the screen shows now: the surrounding frame and the page inside it.
#[derive(Clone, PartialEq)]
pub struct View {
    /// What surrounds every page.
    pub frame: Frame,
    /// The page.
    pub screen: Screen,
}

/// The language of every text on the glass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// Simplified Chinese, the default.
    #[default]
    ZhHans,
    /// Traditional Chinese as written in Hong Kong.
    ZhHant,
    /// English.
    En,
}

/// Size of all texts and of most targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextSize {
    /// Reading distance of a standing adult.
    #[default]
    Normal,
    /// 120 % of normal.
    Large,
    /// 140 % of normal; elder mode starts here.
    Larger,
    /// 160 % of normal.
    Largest,
}

/// Colors of all screens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Contrast {
    /// Dark text on a light ground with the accent color.
    #[default]
    Normal,
    /// Black on white, no tints.
    BlackOnWhite,
    /// White on black.
    WhiteOnBlack,
    /// Yellow on black.
    YellowOnBlack,
}

/// What surrounds every page: header, footer, notices and the time-out warning.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    /// Language of all texts.
    pub language: Language,
    /// Size of all texts.
    pub text_size: TextSize,
    /// Colors.
    pub contrast: Contrast,
    /// Name of the place where the terminal stands.
    pub site: String,
    /// Local time of day, `HH:MM`.
    pub clock: String,
    /// Local date in the visitor's language.
    pub date: String,
    /// Telephone number of the help line, shown on every page.
    pub help_phone: String,
    /// True while the central platform answers.
    pub is_online: bool,
    /// Transactions that wait to be sent.
    pub pending_count: u32,
    /// Plain sentences about devices, for instance "printer out of paper"; at most three.
    pub notices: Vec<String>,
    /// Where the visitor is in the item, if inside one.
    pub progress: Option<Progress>,
    /// True where the footer shows "back".
    pub can_go_back: bool,
    /// True where the footer shows "leave".
    pub can_leave: bool,
    /// Seconds until the visit ends by itself; shown over the page with a button to stay.
    pub seconds_left: Option<u32>,
    /// How touches are put right before a page hears of them.
    pub correction: Correction,
}

/// Position inside an item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Name of the item.
    pub title: String,
    /// Current step, from 1.
    pub step: u32,
    /// Number of steps the visitor sees.
    pub of: u32,
}

/// One thing that can be chosen; `id` comes back in `Touch::Choose`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Comes back unchanged when touched.
    pub id: String,
    /// What the visitor reads.
    pub label: String,
    /// Smaller second line; may be empty.
    pub detail: String,
    /// Name of a drawn symbol; an unknown name shows none.
    pub icon: String,
    /// Why this cannot be chosen now; empty when it can.
    pub unavailable: String,
    /// Never the large button: what is asked for is done elsewhere than on the glass.
    pub is_quiet: bool,
}

/// A line of two columns.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Line {
    /// What it is.
    pub label: String,
    /// The value, masked where it is personal.
    pub value: String,
    /// The value shown while the line is held; empty where nothing is masked.
    pub held: String,
    /// Comes back in `Touch::Choose` when the visitor wants to change it; empty where it is fixed.
    pub edit: String,
}

/// Pixels, RGB, three bytes each, rows from the top.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `width * height * 3` bytes.
    pub rgb: Arc<Vec<u8>>,
}

/// What a reading device is doing, as the visitor needs to know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    /// Nothing has been offered yet.
    #[default]
    Waiting,
    /// Something is being read: do not move it.
    Busy,
    /// The last try failed; the message says what to do.
    Failed,
}

/// How strongly a finished case is settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// The platform has answered: done.
    #[default]
    Completed,
    /// The platform has accepted it; a later decision follows.
    Accepted,
    /// Safely kept on this terminal, to be sent when there is a line.
    AcceptedPending,
    /// The platform has refused it; the text says why and what next.
    Refused,
}

/// State of the paper that belongs to a finished case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Paper {
    /// No paper belongs to it.
    #[default]
    None,
    /// Being printed.
    Printing,
    /// Out of the machine: take it.
    Ready,
    /// It could not be printed; the page says what to do instead.
    Failed,
}

/// Keys under a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keypad {
    /// None: the answer is one of the options.
    #[default]
    None,
    /// Digits.
    Digits,
    /// Digits and X, for identity numbers.
    DigitsX,
}

/// How a row of a staff page stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// A plain row.
    #[default]
    None,
    /// It is as it should be.
    Good,
    /// It works and wants attention.
    Caution,
    /// It does not work.
    Bad,
    /// Nobody has looked yet, or it cannot be told.
    Unknown,
}

/// A row of a staff page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaffRow {
    /// Comes back in `Touch::Choose`; empty where the row cannot be touched.
    pub id: String,
    /// What it is.
    pub label: String,
    /// How it is, at the right.
    pub value: String,
    /// Smaller second line; may be empty.
    pub detail: String,
    /// Its mark at the left.
    pub mark: Mark,
}

/// Rows under one heading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaffSection {
    /// The heading; may be empty.
    pub title: String,
    /// The rows.
    pub rows: Vec<StaffRow>,
}

/// What a page of a test puts over the whole glass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pattern {
    /// Nothing: a page as every other.
    #[default]
    None,
    /// One color, red, green, blue; a touch anywhere is `Touch::Next`.
    Color([u8; 3]),
    /// Fields to be touched one by one; a touch is `Touch::Choose("cell-N")`, N from 0, row by row.
    Grid {
        /// Fields in a row.
        columns: u32,
        /// Whether each field has been touched; its length is a multiple of `columns`.
        touched: Vec<bool>,
    },
    /// A cross whose middle is to be touched; a touch anywhere is `Touch::Felt`, where the panel felt it.
    Cross {
        /// Its middle from the left, in thousandths of the glass's width.
        x_permille: u32,
        /// Its middle from the top, in thousandths of the glass's height.
        y_permille: u32,
    },
}

/// A page for staff and technicians. Nothing of a citizen is ever on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StaffPage {
    /// Stable name of the page, as journeys write it (`menu`, `device`, `test`, ...).
    ///
    /// `safe` is the page for everybody while the terminal is being repaired: it looks like a visitor's page, has the
    /// way in for staff below it, and words and a drawing of its own where none are given.
    pub name: String,
    /// Heading. Lists start at their first page again when it or the name changes.
    pub title: String,
    /// Who is here and as what; empty before the unlocking.
    pub person: String,
    /// Minutes and seconds left of the permission, in seconds.
    pub seconds_left: Option<u32>,
    /// What to do, in one to three sentences; may be empty. Over a pattern: how to go on.
    pub intro: String,
    /// What is wrong; may be empty.
    pub warning: String,
    /// Text to be drawn as a QR code, at most 1.5 KiB.
    pub code: Option<String>,
    /// A picture, for instance of a camera or of a printed page.
    pub picture: Option<Picture>,
    /// Name of a drawn picture; empty for none. A problem's picture, or one for those who mend the terminal:
    /// `paper-roll`, `tray`, `jam`, `cable`, `reader`, `card-on-reader`, `code-to-scanner`, `phone-code`, `slip`,
    /// `document`, `lens`, `touch`, `usb-stick`, `ups`, `door`, `power`, `router`, `repair`, and the symbols `sound`,
    /// `display`, `network`, `clock`, `disk`, `memory`, `list`, `shield`, `lock`, `person`, `wrench`, `check`,
    /// `warning`.
    pub drawing: String,
    /// Rows in groups; more than fit are paged.
    pub sections: Vec<StaffSection>,
    /// What has been typed, masked where it is secret; shown only with a keypad.
    pub value: String,
    /// Keys to type with.
    pub keypad: Keypad,
    /// Buttons below; the first is the primary one. Behind the fifth they become rows of the list.
    pub actions: Vec<Choice>,
    /// True while the machine works on something.
    pub is_busy: bool,
    /// What covers the glass.
    pub pattern: Pattern,
}

/// The page.
#[derive(Clone, PartialEq)]
pub enum Screen {
    /// Nothing can be done yet: devices and queue are being opened.
    Starting,
    /// Nobody is here; nothing personal is shown.
    Attract {
        /// Village notices, one sentence each.
        board: Vec<String>,
    },
    /// Choose an item.
    Home {
        /// Groups of items (hot, social security, elders ...).
        groups: Vec<Choice>,
        /// The id of the shown group.
        group: String,
        /// Items of the shown group or found by the search.
        items: Vec<Choice>,
        /// What has been typed into the search (initials of pinyin or digits); empty when not searching.
        query: String,
        /// True while the search keypad is open.
        is_searching: bool,
        /// The id of the choice "ask about a slip".
        track: Choice,
    },
    /// What the item needs, before it starts.
    Introduction {
        /// Name of the item.
        title: String,
        /// One or two plain sentences.
        summary: String,
        /// What to have at hand; `icon` and `label` are used.
        needs: Vec<Choice>,
        /// How long it takes and what is promised.
        lines: Vec<Line>,
        /// How it works without a line, in words.
        offline: String,
        /// Ways to start (for myself, for another); one or two.
        starts: Vec<Choice>,
        /// Why it cannot start now; empty when it can.
        unavailable: String,
        /// What else can be done when it cannot start.
        advice: String,
    },
    /// Put the card on the reader.
    Identify {
        /// Whose card.
        title: String,
        /// What to do, or what went wrong and what to do.
        message: String,
        /// What the reader is doing.
        reading: Reading,
        /// Other ways, for instance typing the number.
        ways: Vec<Choice>,
    },
    /// Show a code to the scanner.
    Scan {
        /// What to show.
        title: String,
        /// What to do, or what went wrong.
        message: String,
        /// What the scanner is doing.
        reading: Reading,
    },
    /// Is this you?
    ConfirmPerson {
        /// Whose data.
        title: String,
        /// What was read.
        lines: Vec<Line>,
        /// A caution, for instance that the card expires soon; may be empty.
        caution: String,
    },
    /// Read this and agree, before anything is taken.
    Consent {
        /// What is asked.
        title: String,
        /// Plain sentences.
        paragraphs: Vec<String>,
        /// Label of the agreeing button.
        agree: String,
    },
    /// One question.
    Question {
        /// What is asked.
        title: String,
        /// Why, or in which form.
        hint: String,
        /// The answer so far, grouped for reading.
        value: String,
        /// What is wrong with it; empty while nothing is.
        error: String,
        /// Keys to type with.
        keypad: Keypad,
        /// Answers to choose from; used when there is no keypad.
        options: Vec<Choice>,
        /// The id of the chosen answer.
        selected: String,
        /// True when "next" can be touched.
        can_continue: bool,
    },
    /// Look into the camera.
    Face {
        /// What to do, or what went wrong.
        message: String,
        /// Mirror image.
        live: Option<Picture>,
        /// What is going on.
        reading: Reading,
        /// The way without a face; `id` empty when there is none.
        other_way: Choice,
        /// True when the picture can be taken.
        can_shoot: bool,
    },
    /// Photograph a document.
    Capture {
        /// Which document.
        title: String,
        /// How to lay it.
        hint: String,
        /// What the camera sees.
        live: Option<Picture>,
        /// What was taken; the visitor keeps or repeats it.
        taken: Option<Picture>,
        /// What is wrong; empty while nothing is.
        error: String,
        /// Which of how many, from 1.
        index: u32,
        /// How many documents.
        of: u32,
    },
    /// Everything once more, before the commitment.
    Review {
        /// What will be handed in.
        title: String,
        /// All data.
        lines: Vec<Line>,
        /// Photographs, small.
        pictures: Vec<(String, Picture)>,
        /// What happens after the touch, in words.
        notice: String,
        /// Label of the committing button.
        confirm: String,
    },
    /// The pages as they will be printed.
    Preview {
        /// Name of the document.
        title: String,
        /// Pages in order.
        pages: Vec<Picture>,
        /// Shown page, from 0.
        page: u32,
        /// Who sealed it and that the seal was checked.
        seal: String,
        /// Pages and copies in words.
        notice: String,
        /// Label of the printing button.
        print: String,
        /// Why it cannot be printed now; empty when it can.
        unavailable: String,
    },
    /// The machine works; nothing to do.
    Working {
        /// What it does.
        title: String,
        /// One more sentence.
        detail: String,
    },
    /// How it ended.
    Done {
        /// One sentence.
        title: String,
        /// How it is settled.
        outcome: Outcome,
        /// Case number, spoken in groups; may be empty.
        number: String,
        /// Facts: time, place, promised date.
        lines: Vec<Line>,
        /// What to do next.
        advice: String,
        /// The paper.
        paper: Paper,
        /// What the paper needs, for instance "take your slip below".
        paper_text: String,
        /// Extra choices, for instance "print again".
        more: Vec<Choice>,
    },
    /// Five levels, skippable. Ids `5` (very satisfied) to `1` come back in `Touch::Choose`.
    Rating {
        /// The five levels from best to worst.
        levels: Vec<Choice>,
        /// The id of the touched one; empty before.
        chosen: String,
    },
    /// Something is in the way.
    Problem {
        /// One plain sentence.
        title: String,
        /// What to do.
        advice: String,
        /// Name of a drawn picture.
        picture: String,
        /// Stable code for the technician, small.
        code: String,
        /// Ways on; at least one.
        ways: Vec<Choice>,
    },
    /// The visit is over: what to take along, and that everything was erased.
    Leave {
        /// Things to take (card, slip, document).
        take: Vec<Choice>,
        /// One sentence on what was erased.
        erased: String,
    },
    /// A page for staff and technicians.
    Staff(Box<StaffPage>),
}

impl Screen {
    /// The stable name of the page, as written in journeys and results.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Attract { .. } => "attract",
            Self::Home { .. } => "home",
            Self::Introduction { .. } => "introduction",
            Self::Identify { .. } => "identify",
            Self::Scan { .. } => "scan",
            Self::ConfirmPerson { .. } => "confirm-person",
            Self::Consent { .. } => "consent",
            Self::Question { .. } => "question",
            Self::Face { .. } => "face",
            Self::Capture { .. } => "capture",
            Self::Review { .. } => "review",
            Self::Preview { .. } => "preview",
            Self::Working { .. } => "working",
            Self::Done { .. } => "done",
            Self::Rating { .. } => "rating",
            Self::Problem { .. } => "problem",
            Self::Leave { .. } => "leave",
            Self::Staff(_) => "staff",
        }
    }

    /// The page as journeys and results tell it from others: its name, and behind that of a staff page its own
    /// (`home`, `staff/menu`).
    pub fn place(&self) -> String {
        if let Self::Staff(page) = self {
            format!("{}/{}", self.name(), page.name)
        } else {
            self.name().to_owned()
        }
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("View").field(&self.screen.name()).finish()
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Line({})", self.label)
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({}x{})", self.width, self.height)
    }
}
