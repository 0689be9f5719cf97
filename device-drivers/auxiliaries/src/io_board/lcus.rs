//! The frames of LCUS relay boards: `A0`, the relay's number from 1 on, on or off, and the sum of the
//! three (`device-protocols.md` §9.4). The board never answers.

/// First byte of each frame.
const START: u8 = 0xA0;
/// Relays on the largest board of the family.
pub const RELAYS_MAX: u8 = 8;

/// Switches relay `index`, counted from 0.
pub fn frame(index: u8, is_on: bool) -> [u8; 4] {
    let number = index.min(RELAYS_MAX - 1) + 1;
    let value = u8::from(is_on);
    let sum = START.wrapping_add(number).wrapping_add(value);
    [START, number, value, sum]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_the_fact_sheet() {
        assert_eq!(frame(0, true), [0xA0, 0x01, 0x01, 0xA2]);
        assert_eq!(frame(0, false), [0xA0, 0x01, 0x00, 0xA1]);
        assert_eq!(frame(3, true), [0xA0, 0x04, 0x01, 0xA5]);
    }
}
