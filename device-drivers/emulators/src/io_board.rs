//! A board of inputs and outputs: a Modbus-RTU slave, or an LCUS-1 relay (`device-protocols`,
//! section 9.4).

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::line_device::{Firmware, Heard, LineDevice, LineTransport, open};
use crate::mischief::Misbehavior;
use crate::usb::UsbBus;

const PORT_NAME: &str = "io-board";
/// Most inputs or outputs of one board. Chosen.
const CHANNELS_MAX: u16 = 256;
/// Most inputs or outputs in one request (Modbus application protocol 1.1b3, 6.1).
const QUANTITY_MAX: u16 = 2000;
/// Switchings kept for the report. Chosen.
const HISTORY_MAX: usize = 200;

/// What the board speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IoDialect {
    /// Modbus-RTU.
    #[default]
    ModbusRtu,
    /// LCUS-1: switches relays and never answers.
    #[serde(rename = "lcus-1")]
    Lcus1,
}

/// How the board is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct IoBoardConfig {
    /// What it speaks.
    pub dialect: IoDialect,
    /// How a driver reaches it.
    pub transport: LineTransport,
    /// Speed of the line, bits per second; 0 sends without pacing.
    pub baud: u32,
    /// Address on the Modbus line.
    pub address: u8,
    /// Number of inputs.
    pub inputs: u16,
    /// Number of outputs.
    pub outputs: u16,
    /// Names of the first inputs, for people; from input 0 on.
    pub input_names: Vec<String>,
}

impl Default for IoBoardConfig {
    fn default() -> Self {
        Self {
            dialect: IoDialect::ModbusRtu,
            transport: LineTransport::Serial,
            baud: 9600,
            address: 1,
            inputs: 8,
            outputs: 8,
            input_names: ["cabinet-door", "tamper", "presence"]
                .map(str::to_owned)
                .to_vec(),
        }
    }
}

/// An input by its number, from 0 as on the line, or by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum InputChoice {
    /// Its number.
    Number(u16),
    /// Its name.
    Name(String),
}

/// A way in which the board misbehaves at its next reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IoFault {
    /// Answers with this Modbus exception.
    Exception {
        /// 4 failure, 5 acknowledge, 6 busy, ...
        code: u8,
    },
    /// The check of the reply is wrong.
    BadCrc,
    /// The reply comes from another address.
    WrongAddress,
    /// The reply ends after so many bytes.
    Truncated {
        /// Bytes that still come.
        bytes: usize,
    },
}

#[derive(Debug)]
struct World {
    inputs: Vec<bool>,
    outputs: Vec<bool>,
    /// Output and what it became, oldest first.
    history: Vec<(u16, bool)>,
    once: Option<IoFault>,
}

/// The running board; dropping it removes its port.
#[derive(Debug)]
pub struct IoBoard {
    device: LineDevice<World>,
    input_names: Vec<String>,
}

impl IoBoard {
    /// Starts a board; its driver side is `<dir>/io-board`, or on a USB bus of its own.
    ///
    /// # Errors
    /// No pseudo terminal or port, or the directory cannot be written.
    pub fn start(dir: &Path, config: IoBoardConfig) -> io::Result<Self> {
        Self::start_at(None, dir, config)
    }

    /// Starts a board that is plugged into `bus`, if its transport is USB.
    ///
    /// # Errors
    /// As [`IoBoard::start`].
    pub fn start_on(bus: &UsbBus, dir: &Path, config: IoBoardConfig) -> io::Result<Self> {
        Self::start_at(Some(bus), dir, config)
    }

    pub(crate) fn start_at(
        bus: Option<&UsbBus>,
        dir: &Path,
        config: IoBoardConfig,
    ) -> io::Result<Self> {
        let path = dir.join(PORT_NAME);
        let line = open(config.transport, bus, &path, config.baud, "I-O board")?;
        let world = World {
            inputs: vec![false; usize::from(config.inputs.min(CHANNELS_MAX))],
            outputs: vec![false; usize::from(config.outputs.min(CHANNELS_MAX))],
            history: Vec::new(),
            once: None,
        };
        let name = "emulated-io-board";
        let device = match config.dialect {
            IoDialect::ModbusRtu => LineDevice::start(
                name,
                line,
                world,
                Modbus {
                    address: config.address,
                },
            )?,
            IoDialect::Lcus1 => LineDevice::start(name, line, world, Lcus1)?,
        };
        Ok(Self {
            device,
            input_names: config.input_names,
        })
    }

    /// Where a driver reaches the board: a path, or `usbip:HOST:PORT/BUSID`.
    pub fn port(&self) -> &Path {
        self.device.port()
    }

    /// Sets one input; false when the board does not have it.
    pub fn set_input(&self, input: &InputChoice, is_on: bool) -> bool {
        let number = match input {
            InputChoice::Number(number) => Some(usize::from(*number)),
            InputChoice::Name(name) => self.input_names.iter().position(|known| known == name),
        };
        let Some(number) = number else {
            return false;
        };
        self.device.change(|world| {
            let Some(input) = world.inputs.get_mut(number) else {
                return false;
            };
            *input = is_on;
            true
        })
    }

    /// What each output is.
    pub fn outputs(&self) -> Vec<bool> {
        self.device.look(|world| world.outputs.clone())
    }

    /// Every switching of an output so far, oldest first.
    pub fn history(&self) -> Vec<(u16, bool)> {
        self.device.look(|world| world.history.clone())
    }

    /// Spoils the next reply.
    pub fn fault(&self, fault: IoFault) {
        self.device.change(|world| world.once = Some(fault));
    }

    /// From now on misbehaves.
    pub fn misbehave(&self, how: Misbehavior) {
        self.device.misbehave(Some(how));
    }

    /// Ends all misbehavior.
    pub fn mend(&self) {
        self.device.misbehave(None);
        self.device.change(|world| world.once = None);
    }

    /// Cuts the cable; the port is gone when this returns true.
    pub fn cut_cable(&self) -> bool {
        self.device.set_cable(false)
    }

    /// Plugs the cable; the port is back when this returns true, and all outputs are off.
    pub fn plug_cable(&self) -> bool {
        self.device.set_cable(true)
    }

    /// Frames that were wrong or meant for nobody here.
    pub fn errors(&self) -> Vec<String> {
        self.device.errors()
    }

    /// The state, for people.
    pub fn report(&self) -> Value {
        let own = self.device.look(|world| {
            json!({
                "inputs": world.inputs,
                "input-names": self.input_names,
                "outputs": world.outputs,
                "switchings": world.history.len(),
            })
        });
        self.device.report(own)
    }
}

impl World {
    fn switch(&mut self, output: usize, is_on: bool) {
        if let Some(known) = self.outputs.get_mut(output) {
            *known = is_on;
            if self.history.len() < HISTORY_MAX
                && let Ok(output) = u16::try_from(output)
            {
                self.history.push((output, is_on));
            }
        }
    }
}

/// A Modbus-RTU slave.
struct Modbus {
    address: u8,
}

impl Firmware<World> for Modbus {
    /// Three and a half characters are 4 ms at 9600 baud; hosts with a kernel are not that punctual.
    const SILENCE: Duration = Duration::from_millis(40);

    fn reset(&mut self, world: &mut World) {
        world.outputs.fill(false);
    }

    fn hear(&mut self, received: &mut Vec<u8>, world: &mut World) -> Option<Heard> {
        let length = frame_bytes(received)?;
        if received.len() < length {
            return None;
        }
        let frame: Vec<u8> = received.drain(..length).collect();
        let (body, check) = frame.split_at(length - 2);
        if crc(body) != check {
            // Nobody can tell where the next one begins: silence will.
            received.clear();
            return Some(Heard::error("a frame with a wrong check".to_owned()));
        }
        let (address, function, data) = (body[0], body[1], &body[2..]);
        if address != self.address && address != 0 {
            return Some(Heard::error(format!("a frame for address {address}")));
        }
        let result = obey(function, data, world);
        let error = match &result {
            Ok(_) => None,
            Err(code) => Some(format!("exception {code} to function {function:02X}")),
        };
        if address == 0 {
            // A broadcast is obeyed and not answered.
            return Some(Heard {
                reply: Vec::new(),
                error,
            });
        }
        let reply = self.reply(function, result, world.once.take());
        Some(Heard { reply, error })
    }
}

impl Modbus {
    fn reply(&self, function: u8, result: Result<Vec<u8>, u8>, once: Option<IoFault>) -> Vec<u8> {
        let address = match once {
            Some(IoFault::WrongAddress) => self.address.wrapping_add(1),
            Some(_) | None => self.address,
        };
        let result = match once {
            Some(IoFault::Exception { code }) => Err(code),
            Some(_) | None => result,
        };
        let mut reply = match result {
            Ok(data) => [&[address, function][..], &data].concat(),
            Err(code) => vec![address, function | 0x80, code],
        };
        reply.extend(crc(&reply));
        match once {
            Some(IoFault::BadCrc) => {
                if let Some(last) = reply.last_mut() {
                    *last ^= 1;
                }
            }
            Some(IoFault::Truncated { bytes }) => reply.truncate(bytes),
            Some(IoFault::Exception { .. } | IoFault::WrongAddress) | None => {}
        }
        reply
    }
}

/// Length of the request that `bytes` begin with; `None` when it cannot be told yet.
fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    match *bytes.get(1)? {
        1..=6 => Some(8),
        0x0F | 0x10 => Some(9 + usize::from(*bytes.get(6)?)),
        // A function nobody here knows ends where its check is right.
        _ => (4..=bytes.len()).find(|end| crc(&bytes[..end - 2]) == bytes[end - 2..*end]),
    }
}

/// Does what a request says; the data of the reply, or the exception.
fn obey(function: u8, data: &[u8], board: &mut World) -> Result<Vec<u8>, u8> {
    const ILLEGAL_FUNCTION: u8 = 1;
    const ILLEGAL_ADDRESS: u8 = 2;
    const ILLEGAL_VALUE: u8 = 3;
    let word = |at: usize| match data.get(at..at + 2) {
        Some(&[high, low]) => Ok(u16::from_be_bytes([high, low])),
        _ => Err(ILLEGAL_VALUE),
    };
    match function {
        1 | 2 => {
            let channels = if function == 1 {
                &board.outputs
            } else {
                &board.inputs
            };
            let (first, quantity) = (usize::from(word(0)?), word(2)?);
            if !(1..=QUANTITY_MAX).contains(&quantity) {
                return Err(ILLEGAL_VALUE);
            }
            let wanted = channels
                .get(first..first + usize::from(quantity))
                .ok_or(ILLEGAL_ADDRESS)?;
            let packed = pack(wanted);
            let mut reply = vec![u8::try_from(packed.len()).unwrap_or(u8::MAX)];
            reply.extend(packed);
            Ok(reply)
        }
        5 => {
            let output = usize::from(word(0)?);
            let is_on = match word(2)? {
                0xFF00 => true,
                0x0000 => false,
                _ => return Err(ILLEGAL_VALUE),
            };
            if output >= board.outputs.len() {
                return Err(ILLEGAL_ADDRESS);
            }
            board.switch(output, is_on);
            Ok(data.to_vec())
        }
        0x0F => {
            let (first, quantity) = (usize::from(word(0)?), usize::from(word(2)?));
            let bits = data.get(5..).unwrap_or_default();
            if quantity == 0 || bits.len() != quantity.div_ceil(8) {
                return Err(ILLEGAL_VALUE);
            }
            if first + quantity > board.outputs.len() {
                return Err(ILLEGAL_ADDRESS);
            }
            for place in 0..quantity {
                board.switch(first + place, bits[place / 8] >> (place % 8) & 1 == 1);
            }
            Ok(data[..4].to_vec())
        }
        _ => Err(ILLEGAL_FUNCTION),
    }
}

/// Eight channels a byte, the first in the lowest bit.
fn pack(channels: &[bool]) -> Vec<u8> {
    channels
        .chunks(8)
        .map(|eight| {
            eight
                .iter()
                .rev()
                .fold(0, |byte, is_on| byte << 1 | u8::from(*is_on))
        })
        .collect()
}

/// The check of Modbus-RTU, low byte first.
fn crc(bytes: &[u8]) -> [u8; 2] {
    bytes
        .iter()
        .fold(0xFFFF_u16, |crc, byte| {
            (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
                crc >> 1 ^ if crc & 1 == 1 { 0xA001 } else { 0 }
            })
        })
        .to_le_bytes()
}

/// A relay board that never answers.
struct Lcus1;

impl Firmware<World> for Lcus1 {
    const SILENCE: Duration = Duration::from_millis(500);

    fn reset(&mut self, world: &mut World) {
        world.outputs.fill(false);
    }

    fn hear(&mut self, received: &mut Vec<u8>, world: &mut World) -> Option<Heard> {
        if *received.first()? != 0xA0 {
            let byte = received.remove(0);
            return Some(Heard::error(format!("{byte:02X} is no command")));
        }
        if received.len() < 4 {
            return None;
        }
        let frame: Vec<u8> = received.drain(..4).collect();
        let sum = frame[..3].iter().fold(0_u8, |sum, b| sum.wrapping_add(*b));
        let output = usize::from(frame[1]).checked_sub(1);
        Some(match (frame[2], output) {
            _ if sum != frame[3] => Heard::error("a command with a wrong sum".to_owned()),
            (is_on @ (0 | 1), Some(output)) if output < world.outputs.len() => {
                world.switch(output, is_on == 1);
                Heard::default()
            }
            _ => Heard::error(format!("{:02X?} is no command", &frame[1..3])),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        World {
            inputs: vec![false; 8],
            outputs: vec![false; 8],
            history: Vec::new(),
            once: None,
        }
    }

    fn ask(world: &mut World, request: &[u8]) -> Heard {
        let mut board = Modbus { address: 1 };
        board.hear(&mut request.to_vec(), world).unwrap()
    }

    #[test]
    fn frames_equal_the_fact_sheet() {
        let mut world = world();
        let on = [0x01, 0x05, 0x00, 0x00, 0xFF, 0x00, 0x8C, 0x3A];
        let off = [0x01, 0x05, 0x00, 0x00, 0x00, 0x00, 0xCD, 0xCA];
        let coils = [0x01, 0x01, 0x00, 0x00, 0x00, 0x08, 0x3D, 0xCC];
        let inputs = [0x01, 0x02, 0x00, 0x00, 0x00, 0x08, 0x79, 0xCC];
        assert_eq!(ask(&mut world, &on).reply, on);
        assert_eq!(ask(&mut world, &coils).reply[..4], [1, 1, 1, 0x01]);
        assert_eq!(ask(&mut world, &off).reply, off);
        world.inputs[2] = true;
        assert_eq!(ask(&mut world, &inputs).reply[..4], [1, 2, 1, 0x04]);
        assert_eq!(world.history, [(0, true), (0, false)]);
    }

    #[test]
    fn what_the_board_cannot_do_is_an_exception() {
        let mut world = world();
        let mut check = |body: &[u8], code| {
            let mut request = body.to_vec();
            request.extend(crc(body));
            let reply = ask(&mut world, &request).reply;
            assert_eq!(reply[..3], [1, body[1] | 0x80, code], "{body:02X?}");
        };
        check(&[1, 1, 0, 4, 0, 8], 2);
        check(&[1, 2, 0, 0, 0, 0], 3);
        check(&[1, 5, 0, 9, 0xFF, 0], 2);
        check(&[1, 5, 0, 0, 0x12, 0], 3);
        check(&[1, 3, 0, 0, 0, 1], 1);
        check(&[1, 0x2B, 0x0E, 1, 0], 1);
        check(&[1, 0x0F, 0, 0, 0, 8, 2, 0xFF, 0xFF], 3);
    }

    #[test]
    fn frames_for_others_and_wrong_ones_are_not_answered() {
        let mut world = world();
        let mut other = vec![2, 1, 0, 0, 0, 8];
        other.extend(crc(&other));
        assert!(ask(&mut world, &other).reply.is_empty());
        let wrong = [0x01, 0x05, 0x00, 0x00, 0xFF, 0x00, 0x8C, 0x3B];
        assert!(ask(&mut world, &wrong).error.is_some());
        assert_eq!(world.history, []);
        let mut all = vec![0, 5, 0, 1, 0xFF, 0];
        all.extend(crc(&all));
        assert!(ask(&mut world, &all).reply.is_empty());
        assert_eq!(world.history, [(1, true)]);
    }

    #[test]
    fn a_relay_is_switched_by_four_bytes() {
        let mut world = world();
        let mut hear = |bytes: &[u8]| Lcus1.hear(&mut bytes.to_vec(), &mut world).unwrap();
        assert_eq!(hear(&[0xA0, 0x01, 0x01, 0xA2]), Heard::default());
        assert_eq!(hear(&[0xA0, 0x01, 0x00, 0xA1]), Heard::default());
        assert!(hear(&[0xA0, 0x01, 0x01, 0xA3]).error.is_some());
        assert!(hear(&[0xA0, 0x00, 0x01, 0xA1]).error.is_some());
        assert_eq!(world.history, [(0, true), (0, false)]);
    }
}
