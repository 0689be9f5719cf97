//! The short run of the fuzz targets: seeded mutations of well-formed inputs, the same every time.
//! `make fuzz` runs the real fuzzer on the same functions.
#![expect(clippy::unwrap_used, reason = "a broken premise fails the test")]

use kiosk_tests::fuzz::targets;

/// Inputs a target; chosen so that the whole file takes a few seconds.
const ROUNDS: u64 = 3000;

/// xorshift64*: the same inputs on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }
}

fn mutate(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, u8::try_from(random.below(256)).unwrap()),
            2 if at < bytes.len() => {
                bytes.remove(at);
            }
            3 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            4 => {
                let copy = bytes[at..].to_vec();
                bytes.extend(copy);
            }
            _ => {
                let interesting = [0x00, 0xFF, 0x7F, 0x80, b'\r', b'\n', b'-', 0xAA];
                if at < bytes.len() {
                    bytes[at] = interesting[random.below(interesting.len())];
                }
            }
        }
        bytes.truncate(16 * 1024);
    }
    bytes
}

#[test]
fn no_parser_of_outside_bytes_panics() {
    for target in targets() {
        let mut random = Random(0x5EED);
        // A package and a store are read through the file system and cost more.
        let rounds = match target.name {
            "item-package" | "damaged-store" => ROUNDS / 20,
            _ => ROUNDS,
        };
        for seed in target.seeds {
            (target.run)(seed);
        }
        for round in 0..rounds {
            let seed = target.seeds[random.below(target.seeds.len())];
            let input = mutate(seed, &mut random);
            let result = std::panic::catch_unwind(|| (target.run)(&input));
            assert!(
                result.is_ok(),
                "{} panics in round {round} on {input:02X?}",
                target.name
            );
        }
    }
}
