//! What all code scanners have in common, whatever they speak.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How the scanner decides when to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// While a trigger is on.
    #[default]
    Level,
    /// Whenever something is held before it.
    Presentation,
    /// Always.
    Continuous,
}

/// What follows a code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Suffix {
    /// What the make sends from the factory.
    #[default]
    Factory,
    /// Nothing.
    None,
    /// Carriage return.
    Cr,
    /// Carriage return and line feed.
    #[serde(rename = "crlf")]
    CrLf,
}

impl Suffix {
    /// The bytes, for a make whose factory setting is given.
    pub(crate) fn bytes(self, factory: &'static [u8]) -> &'static [u8] {
        match self {
            Self::Factory => factory,
            Self::None => b"",
            Self::Cr => b"\r",
            Self::CrLf => b"\r\n",
        }
    }
}

/// What a scanner is like at power-on, whatever it speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Build {
    pub(crate) mode: Mode,
    pub(crate) trigger_ms: u32,
    pub(crate) suffix: Suffix,
}

impl Build {
    pub(crate) fn trigger_time(&self) -> Duration {
        Duration::from_millis(self.trigger_ms.into())
    }
}

/// What a command asks for beyond a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Nothing,
    Trigger,
    Release,
    Baud(u32),
}

/// What follows from one input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) reply: Vec<u8>,
    pub(crate) acts: Vec<Asked>,
    /// Pieces of it that were refused.
    pub(crate) refused: usize,
    pub(crate) is_command: bool,
}

impl Turn {
    /// A command that was obeyed.
    pub(crate) fn done(reply: Vec<u8>, act: Asked) -> Self {
        Self {
            reply,
            acts: vec![act],
            refused: 0,
            is_command: true,
        }
    }

    /// Something done that is not answered.
    pub(crate) fn act(act: Asked) -> Self {
        Self::done(Vec::new(), act)
    }

    /// A command that was not obeyed.
    pub(crate) fn refused(reply: Vec<u8>) -> Self {
        Self {
            reply,
            acts: Vec::new(),
            refused: 1,
            is_command: true,
        }
    }
}

/// One way of speaking.
pub(crate) trait Dialect: Debug + Send {
    /// Power has been away.
    fn reset(&mut self);

    /// Takes the first complete input out of `received`; rubbish before it is dropped. With
    /// `is_refused` a command is refused whatever it says.
    fn hear(&mut self, received: &mut Vec<u8>, is_refused: bool) -> Option<Turn>;

    fn mode(&self) -> Mode;

    /// How long one trigger lasts.
    fn trigger_time(&self) -> Duration;

    /// What is sent first for a code, in pieces.
    fn code(&mut self, code: &[u8], now: Instant) -> Vec<Vec<u8>>;

    /// True while the host still owes an answer to what was sent.
    fn is_busy(&self) -> bool {
        false
    }

    /// What is sent again because the host did not answer in time.
    fn late(&mut self, _now: Instant) -> Option<Vec<u8>> {
        None
    }

    /// True for a piece whose last byte is part of a checksum.
    fn is_checked(&self, _piece: &[u8]) -> bool {
        false
    }
}
