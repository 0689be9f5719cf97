//! The whole world of the terminal in one program: emulated devices and the reference platform in
//! one process, the terminal in another, and journeys that walk through both.
//!
//! [`world`] is the world, [`journey`] what happens in it, [`player`] who makes it happen,
//! [`control`] how the terminal is looked at and touched, [`panel`] the same by hand.

pub mod album;
pub mod clock;
pub mod control;
mod glass;
pub mod journey;
pub mod office;
pub mod panel;
pub mod player;
pub mod privacy;
pub mod remote;
pub mod report;
pub mod supervisor;
pub mod terminal;
pub mod update;
pub mod world;
