//! An uninterruptible power supply that speaks Megatec's Q1 (`device-protocols`, sections 9.1
//! and 10.5).

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::line_device::{Firmware, Heard, LineDevice, LineTransport, open};
use crate::mischief::Misbehavior;
use crate::steering::now;
use crate::usb::UsbBus;

const PORT_NAME: &str = "ups";
/// Longest request accepted. Chosen: the longest of the protocol has 11 bytes.
const REQUEST_BYTES_MAX: usize = 64;
/// How long a test of the battery takes.
const TEST_TIME: Duration = Duration::from_secs(10);

/// How the UPS is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct UpsConfig {
    /// How a driver reaches it.
    pub transport: LineTransport,
    /// Speed of the line, bits per second; 0 sends without pacing.
    pub baud: u32,
    /// Load at the start, percent.
    pub load_percent: u16,
}

impl Default for UpsConfig {
    fn default() -> Self {
        Self {
            transport: LineTransport::Serial,
            baud: 2400,
            load_percent: 20,
        }
    }
}

#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one flag of the protocol"
)]
struct World {
    is_on_battery: bool,
    is_battery_low: bool,
    is_bypassed: bool,
    has_failed: bool,
    test_until: Option<Instant>,
    is_shutting_down: bool,
    load_percent: u16,
}

/// The running UPS; dropping it removes its port.
#[derive(Debug)]
pub struct Ups(LineDevice<World>);

impl Ups {
    /// Starts a UPS; its driver side is `<dir>/ups`, or on a USB bus of its own.
    ///
    /// # Errors
    /// No pseudo terminal or port, or the directory cannot be written.
    pub fn start(dir: &Path, config: &UpsConfig) -> io::Result<Self> {
        Self::start_at(None, dir, config)
    }

    /// Starts a UPS that is plugged into `bus`, if its transport is USB.
    ///
    /// # Errors
    /// As [`Ups::start`].
    pub fn start_on(bus: &UsbBus, dir: &Path, config: &UpsConfig) -> io::Result<Self> {
        Self::start_at(Some(bus), dir, config)
    }

    pub(crate) fn start_at(
        bus: Option<&UsbBus>,
        dir: &Path,
        config: &UpsConfig,
    ) -> io::Result<Self> {
        let path = dir.join(PORT_NAME);
        let line = open(config.transport, bus, &path, config.baud, "UPS")?;
        let world = World {
            load_percent: config.load_percent,
            ..World::default()
        };
        LineDevice::start("emulated-ups", line, world, Megatec).map(Self)
    }

    /// Where a driver reaches the UPS: a path, or `usbip:HOST:PORT/BUSID`.
    pub fn port(&self) -> &Path {
        self.0.port()
    }

    /// The mains fails, or comes back; with it the battery is charged again.
    pub fn set_mains(&self, is_on: bool) {
        self.0.change(|world| {
            world.is_on_battery = !is_on;
            if is_on {
                world.is_battery_low = false;
                world.is_shutting_down = false;
            }
        });
    }

    /// The battery is nearly empty, or not.
    pub fn set_battery_low(&self, is_low: bool) {
        self.0.change(|world| world.is_battery_low = is_low);
    }

    /// The UPS itself fails, or is mended.
    pub fn set_failed(&self, has_failed: bool) {
        self.0.change(|world| world.has_failed = has_failed);
    }

    /// Its bypass or booster is active.
    pub fn set_bypassed(&self, is_bypassed: bool) {
        self.0.change(|world| world.is_bypassed = is_bypassed);
    }

    /// What hangs on it, percent.
    pub fn set_load(&self, percent: u16) {
        self.0.change(|world| world.load_percent = percent);
    }

    /// From now on misbehaves.
    pub fn misbehave(&self, how: Misbehavior) {
        self.0.misbehave(Some(how));
    }

    /// Ends all misbehavior, its own failure too.
    pub fn mend(&self) {
        self.0.misbehave(None);
        self.set_failed(false);
    }

    /// Cuts the cable; the port is gone when this returns true.
    pub fn cut_cable(&self) -> bool {
        self.0.set_cable(false)
    }

    /// Plugs the cable; the port is back when this returns true.
    pub fn plug_cable(&self) -> bool {
        self.0.set_cable(true)
    }

    /// Requests that are not of the protocol.
    pub fn errors(&self) -> Vec<String> {
        self.0.errors()
    }

    /// The state, for people.
    pub fn report(&self) -> Value {
        let own = self.0.look(|world| {
            json!({
                "mains": !world.is_on_battery,
                "battery-low": world.is_battery_low,
                "failed": world.has_failed,
                "bypassed": world.is_bypassed,
                "testing": world.is_testing(),
                "shutting-down": world.is_shutting_down,
                "load-percent": world.load_percent,
            })
        });
        self.0.report(own)
    }
}

impl World {
    fn is_testing(&self) -> bool {
        self.test_until.is_some_and(|until| now() < until)
    }

    /// The eight flags, from b7 on.
    fn flags(&self) -> String {
        let is_well = !self.is_on_battery && !self.has_failed;
        [
            self.is_on_battery,
            self.is_battery_low,
            self.is_bypassed,
            self.has_failed,
            // Not of the stand-by type.
            false,
            self.is_testing(),
            self.is_shutting_down,
            is_well,
        ]
        .map(|is_set| if is_set { '1' } else { '0' })
        .iter()
        .collect()
    }
}

/// The protocol.
struct Megatec;

impl Firmware<World> for Megatec {
    const SILENCE: Duration = Duration::from_secs(1);

    fn reset(&mut self, world: &mut World) {
        // The cable carries no power: only what the host asked for is over.
        world.test_until = None;
    }

    fn hear(&mut self, received: &mut Vec<u8>, world: &mut World) -> Option<Heard> {
        let Some(end) = received.iter().position(|byte| *byte == b'\r') else {
            if received.len() > REQUEST_BYTES_MAX {
                received.clear();
                return Some(Heard::error("a request without end".to_owned()));
            }
            return None;
        };
        let request: Vec<u8> = received.drain(..=end).collect();
        Some(match &request[..end] {
            b"Q1" => Heard::reply(
                format!(
                    "(209.7 209.7 219.7 {:03} 50.0 41.8 23.3 {}\r",
                    world.load_percent,
                    world.flags()
                )
                .into_bytes(),
            ),
            b"F" => Heard::reply(b"#220.0 004 41.80 50.0\r".to_vec()),
            b"I" => Heard::reply(b"#TEST            EMU-UPS    1.00      \r".to_vec()),
            b"T" => {
                world.test_until = Some(now() + TEST_TIME);
                Heard::default()
            }
            [b'S', time @ ..] if is_time(time) => {
                world.is_shutting_down = true;
                Heard::default()
            }
            b"C" => {
                world.is_shutting_down = false;
                world.test_until = None;
                Heard::default()
            }
            // What it does not know it sends back.
            other => {
                let text = String::from_utf8_lossy(other).into_owned();
                Heard {
                    reply: request.clone(),
                    error: Some(format!("not a request of the protocol: {text:?}")),
                }
            }
        })
    }
}

/// Minutes until it shuts down, `.2` or `03`, and minutes until it comes back, `R0003`.
fn is_time(text: &[u8]) -> bool {
    let (off, back) = match text.iter().position(|byte| *byte == b'R') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let is_off = match off {
        [b'.', tenths] => tenths.is_ascii_digit(),
        [tens, ones] => tens.is_ascii_digit() && ones.is_ascii_digit(),
        _ => false,
    };
    is_off && back.is_none_or(|back| back.len() == 4 && back.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(world: &mut World, request: &[u8]) -> Heard {
        Megatec.hear(&mut request.to_vec(), world).unwrap()
    }

    #[test]
    fn replies_equal_the_fact_sheet() {
        let mut world = World {
            load_percent: 20,
            ..World::default()
        };
        let q1 = |world: &mut World| String::from_utf8(ask(world, b"Q1\r").reply).unwrap();
        assert_eq!(
            q1(&mut world),
            "(209.7 209.7 219.7 020 50.0 41.8 23.3 00000001\r"
        );
        world.is_on_battery = true;
        assert!(q1(&mut world).ends_with(" 10000000\r"));
        world.is_battery_low = true;
        assert!(q1(&mut world).ends_with(" 11000000\r"));
    }

    #[test]
    fn strangers_are_sent_back_and_kept() {
        let mut world = World::default();
        let heard = ask(&mut world, b"XYZ\r");
        assert_eq!(heard.reply, b"XYZ\r");
        assert!(heard.error.is_some());
        assert_eq!(Megatec.hear(&mut b"Q".to_vec(), &mut world), None);
    }

    #[test]
    fn shutting_down_takes_a_time() {
        let mut world = World::default();
        for (request, is_known) in [
            (&b"S.2\r"[..], true),
            (b"S03R0003\r", true),
            (b"S\r", false),
            (b"S3\r", false),
            (b"S03R3\r", false),
        ] {
            let heard = ask(&mut world, request);
            assert_eq!(heard.error.is_none(), is_known, "{request:?}");
        }
        assert!(world.is_shutting_down);
        ask(&mut world, b"C\r");
        assert!(!world.is_shutting_down);
    }
}
