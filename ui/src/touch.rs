//! What a finger can say to the terminal. Nothing else leaves the glass.

use crate::view::{Contrast, Language, TextSize};

/// One act of the visitor. Personal content never travels here except single keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touch {
    /// The attract screen was touched anywhere.
    Start,
    /// The one primary button of the page (next, confirm, take picture, print, finish).
    Next,
    /// The secondary button beside it (repeat the picture, not me, skip).
    Other,
    /// One page back.
    Back,
    /// Leave the visit; everything is erased.
    Leave,
    /// Somebody wants to come in as staff.
    Staff,
    /// A choice of the page, by its id.
    Choose(String),
    /// The glass under a cross was touched: where the panel felt the finger, in ten-thousandths of the glass's width
    /// and height from its upper left corner. Nothing has been put right by a [`crate::Correction`].
    Felt {
        /// To the right.
        x: i32,
        /// Downwards.
        y: i32,
    },
    /// A key of the keypad.
    Key(Key),
    /// Turn pages of a preview: `true` forward.
    Page {
        /// True for the next page, false for the one before.
        is_forward: bool,
    },
    /// Open or close the search on the home page.
    Search,
    /// "I need more time."
    Stay,
    /// Change the language.
    Language(Language),
    /// Change the size of texts.
    TextSize(TextSize),
    /// Change the colors.
    Contrast(Contrast),
    /// A finger is on the glass but has decided nothing; keeps the visit alive.
    Activity,
}

/// A key of the on-screen keypad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A digit, a letter of the search keypad or `X`.
    Char(char),
    /// Take back the last one.
    Delete,
    /// Take back all.
    Clear,
}
