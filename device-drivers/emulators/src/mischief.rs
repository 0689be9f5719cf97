//! Ways in which any device on a line can misbehave, once for all of them.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::serial::SerialLine;
use crate::steering::{Rubbish, Steered};

/// Time between two bytes of a device that trickles.
pub(crate) const TRICKLE: Duration = Duration::from_secs(1);
/// Bytes of rubbish sent in one turn by a device that never stops. Chosen.
pub(crate) const ENDLESS_BYTES: usize = 64;

/// A way in which a device misbehaves; lasts until mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Misbehavior {
    /// What it sends is rubbish.
    Garbage,
    /// Rubbish without end, asked or not.
    EndlessGarbage,
    /// It sends nothing.
    Silence,
    /// It sends at a tenth of the speed.
    Slow,
    /// It sends one byte a second.
    Trickle,
    /// It is gone between the next request and its reply, as if its cable had been cut.
    Vanish,
    /// Instead of the next reply its endpoint halts; once, and only where there are endpoints (USB).
    Stall,
}

/// What became of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// On its way, or lost on purpose.
    Over,
    /// The device is gone: the caller cuts the cable.
    Vanished,
    /// The endpoint halted: the caller ends the misbehavior.
    Stalled,
}

/// Sends a reply as a misbehaving device does.
pub(crate) fn send<S>(
    line: &mut SerialLine,
    bytes: &[u8],
    misbehavior: Option<Misbehavior>,
    rubbish: &mut Rubbish,
    steered: &Steered<S>,
    keep: impl Fn(&S) -> bool,
) -> io::Result<Fate> {
    match misbehavior {
        Some(Misbehavior::Stall) if line.stall() => return Ok(Fate::Stalled),
        None | Some(Misbehavior::Stall) => line.send(bytes, steered, keep)?,
        Some(Misbehavior::Silence) => true,
        Some(Misbehavior::Garbage | Misbehavior::EndlessGarbage) => {
            line.send(&rubbish.bytes(bytes.len()), steered, keep)?
        }
        Some(Misbehavior::Slow) => {
            let baud = line.baud;
            line.baud = slow(baud);
            let result = line.send(bytes, steered, keep);
            line.baud = baud;
            result?
        }
        Some(Misbehavior::Trickle) => {
            for byte in bytes {
                if !line.send(&[*byte], steered, &keep)? || !steered.pause_while(TRICKLE, &keep) {
                    break;
                }
            }
            true
        }
        Some(Misbehavior::Vanish) => return Ok(Fate::Vanished),
    };
    Ok(Fate::Over)
}

/// A tenth of a line's speed; of the usual speed where the line has none.
pub(crate) fn slow(baud: u32) -> u32 {
    if baud == 0 { 11_520 } else { baud.div_ceil(10) }
}
