//! Safe updates for an unattended terminal. Keeps true that nothing is installed which the
//! operator did not sign, that nothing older or mixed comes back, and that there is always a way
//! back to what worked. Knows nothing of citizens, items or screens.

pub mod codes;
pub mod config;
pub mod engine;
pub mod fetch;
pub mod items;
pub mod manifest;
pub mod slots;
pub mod stick;
pub mod trust;
pub mod waves;
