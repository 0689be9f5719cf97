//! A card reader's slot with a social security card in it, played to `pcscd` through the virtual
//! reader `vpcd` (vsmartcard): the slot connects when a card is put in and leaves when it is drawn.
//!
//! Messages are a length of two bytes and as many bytes: one byte is a control (00 off, 01 on,
//! 02 reset, 04 answer to reset), more are a command for the chip.

mod chip;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::card::{CardError, CardSpec};
use crate::steering::{Running, Steered, TICK};
use crate::tcp::{read_all, write_all};
use chip::{Chip, ChipBuild};
pub use chip::{ChipVersion, SelectBy};

/// Pause between two attempts to reach the virtual reader, and after a card was drawn: `pcscd` looks
/// every 400 ms, and must see the empty slot.
const RETRY: Duration = Duration::from_millis(600);
/// Longest wait for the virtual reader to take a reply.
const WRITE_WITHIN: Duration = Duration::from_secs(1);

/// How the slot is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SmartCardConfig {
    /// Where the virtual reader listens.
    pub vpcd: SocketAddr,
}

impl Default for SmartCardConfig {
    fn default() -> Self {
        Self {
            vpcd: SocketAddr::from(([127, 0, 0, 1], 35_963)),
        }
    }
}

/// A card with a chip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChipCard {
    /// Whose.
    pub card: CardSpec,
    /// Numbering of its records.
    pub version: ChipVersion,
    /// Some other kind of card.
    pub is_foreign: bool,
    /// Which P1 it takes when a file is selected.
    pub select_by: SelectBy,
}

/// A way in which the card misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChipFault {
    /// It is drawn after so many more records were read.
    PullAfter {
        /// Records that are still read, from 1.
        records: u32,
    },
    /// It does not answer; lasts.
    Mute,
    /// The next command with this instruction gets this status word.
    Status {
        /// `A4` select, `B2` read record, `C0` get response, ...
        instruction: u8,
        /// For instance `6982`.
        word: u16,
    },
}

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent switch of the slot or its cable"
)]
struct State {
    chip: Option<Chip>,
    /// Counts cards put in and drawn.
    moves: u64,
    is_mute: bool,
    pull_after: Option<u32>,
    status: Option<(u8, u16)>,
    is_connected: bool,
    is_powered: bool,
    commands: u64,
    wants_cable: bool,
    has_cable: bool,
}

impl State {
    fn draw(&mut self) {
        self.chip = None;
        self.moves += 1;
        self.pull_after = None;
        self.status = None;
    }
}

/// The running slot; dropping it draws the card.
#[derive(Debug)]
pub struct SmartCardSlot {
    running: Running<State>,
    vpcd: SocketAddr,
}

impl SmartCardSlot {
    /// Starts an empty slot.
    ///
    /// # Errors
    /// No thread is left.
    pub fn start(config: &SmartCardConfig) -> io::Result<Self> {
        let vpcd = config.vpcd;
        let mut running = Running::new(Steered::new(State {
            chip: None,
            moves: 0,
            is_mute: false,
            pull_after: None,
            status: None,
            is_connected: false,
            is_powered: false,
            commands: 0,
            wants_cable: true,
            has_cable: true,
        }));
        running.spawn("emulated-smart-card", move |steered| run(vpcd, steered))?;
        Ok(Self { running, vpcd })
    }

    /// Where the virtual reader is expected.
    pub fn vpcd(&self) -> SocketAddr {
        self.vpcd
    }

    /// Puts a card in; one that is in there is drawn first.
    ///
    /// # Errors
    /// [`CardError::NoChip`]: the card is no resident's.
    pub fn insert(&self, card: &ChipCard) -> Result<(), CardError> {
        let build = ChipBuild {
            version: card.version,
            is_foreign: card.is_foreign,
            select_by: card.select_by,
        };
        let chip = Chip::new(&card.card, build)?;
        self.running.steered.change(|state| {
            state.draw();
            state.chip = Some(chip);
        });
        Ok(())
    }

    /// Draws the card.
    pub fn remove(&self) {
        self.running.steered.change(State::draw);
    }

    /// Makes the card misbehave.
    pub fn fault(&self, fault: ChipFault) {
        self.running.steered.change(|state| match fault {
            ChipFault::PullAfter { records } => state.pull_after = Some(records),
            ChipFault::Mute => state.is_mute = true,
            ChipFault::Status { instruction, word } => state.status = Some((instruction, word)),
        });
    }

    /// Ends all misbehavior.
    pub fn mend(&self) {
        self.running.steered.change(|state| {
            state.is_mute = false;
            state.pull_after = None;
            state.status = None;
        });
    }

    /// Takes the slot away from its reader; it is gone when this returns true.
    pub fn cut_cable(&self) -> bool {
        self.set_cable(false)
    }

    /// Gives it back.
    pub fn plug_cable(&self) -> bool {
        self.set_cable(true)
    }

    fn set_cable(&self, is_plugged: bool) -> bool {
        let steered = &self.running.steered;
        steered.change(|state| state.wants_cable = is_plugged);
        steered.follow(|state| state.has_cable == is_plugged)
    }

    /// The state, for people: no field of a card is in it.
    pub fn report(&self) -> Value {
        self.running.steered.look(|state| {
            json!({
                "vpcd": self.vpcd,
                "card": state.chip.is_some(),
                "connected": state.is_connected,
                "powered": state.is_powered,
                "cable": state.has_cable,
                "commands": state.commands,
            })
        })
    }
}

fn run(vpcd: SocketAddr, steered: &Steered<State>) {
    while !steered.is_stopping() {
        let (is_in, moves) = steered.change(|state| {
            state.has_cable = state.wants_cable;
            (state.chip.is_some() && state.wants_cable, state.moves)
        });
        if !is_in {
            steered.pause(TICK);
            continue;
        }
        if let Ok(stream) = connect(vpcd) {
            steered.change(|state| state.is_connected = true);
            attend(stream, moves, steered);
            steered.change(|state| {
                state.is_connected = false;
                state.is_powered = false;
                state.has_cable = state.wants_cable;
                if let Some(chip) = &mut state.chip {
                    chip.reset();
                }
            });
        }
        steered.pause_while(RETRY, |state| state.has_cable == state.wants_cable);
    }
}

fn connect(vpcd: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&vpcd, RETRY)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(WRITE_WITHIN))?;
    Ok(stream)
}

/// Serves the virtual reader while the card stays where it is.
fn attend(mut stream: TcpStream, moves: u64, steered: &Steered<State>) {
    let is_wanted = || {
        let is_in = |state: &State| state.moves == moves && state.wants_cable;
        !steered.is_stopping() && steered.look(is_in)
    };
    let mut head = [0; 2];
    while read_all(&mut stream, &mut head, is_wanted) {
        let mut message = vec![0; usize::from(u16::from_be_bytes(head))];
        if !read_all(&mut stream, &mut message, is_wanted) {
            return;
        }
        let reply = steered.change(|state| answer(state, &message));
        if let Some(reply) = reply {
            let length = u16::try_from(reply.len()).unwrap_or(u16::MAX);
            let framed = [&length.to_be_bytes()[..], &reply].concat();
            if write_all(&mut stream, &framed, WRITE_WITHIN, is_wanted).is_err() {
                return;
            }
        }
        // Drawn only when the last record is on its way.
        steered.change(|state| {
            if state.pull_after == Some(0) {
                state.draw();
            }
        });
    }
}

/// Answers one message; `None` where nothing is sent back.
fn answer(state: &mut State, message: &[u8]) -> Option<Vec<u8>> {
    let chip = state.chip.as_mut()?;
    match *message {
        [] => None,
        [control] => {
            match control {
                0x00 => state.is_powered = false,
                0x01 | 0x02 => {
                    state.is_powered = true;
                    chip.reset();
                }
                _ => {}
            }
            (control == 0x04).then(Chip::atr)
        }
        [_, instruction, ..] => {
            state.commands += 1;
            if state.is_mute {
                return None;
            }
            let forced = state.status.take_if(|(on, _)| *on == instruction);
            let reply = match forced {
                Some((_, word)) => word.to_be_bytes().to_vec(),
                None => chip.answer(message),
            };
            if instruction == 0xB2 && reply.len() > 2 {
                state.pull_after = state.pull_after.map(|left| left.saturating_sub(1));
            }
            Some(reply)
        }
    }
}
