//! What the queue costs, beside its peers: one record made durable, claimed and settled, against
//! what the disk allows and against other durable queues, in one run on one disk; what an envelope
//! costs; how much of a thin line the drain uses.
//!
//! `tests/bench/run.sh` runs it all and writes the tables of `tests/bench/README.md`.

pub mod clock;
pub mod contestant;
pub mod figures;
pub mod limit;
pub mod machine;
pub mod ours;
pub mod process;
pub mod race;
pub mod records;
pub mod report;
pub mod sealing;
pub mod thin;
