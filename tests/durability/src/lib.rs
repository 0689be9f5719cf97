//! Durability, proved from outside: what the store acknowledged survives `kill -9` and the loss of
//! power, whenever they come.
//!
//! Two proofs, each with an oracle that the store cannot talk to: [`kill_loop`] kills the whole
//! program again and again while it enqueues and syncs, and counts at the platform;
//! [`power_loss`] puts the store on a disk that forgets what was not synced. Both follow from a
//! seed, and both show that they can fail.

mod disk;
pub mod kill_loop;
mod mount;
pub mod power_loss;
mod vfs;

pub use kiosk_tests::random::Random;
pub use mount::{can_mount, serve};
