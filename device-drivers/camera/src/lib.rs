//! Cameras as sources of JPEG pictures: a network camera that serves `multipart/x-mixed-replace` over
//! HTTP. Pictures show people and their papers: they live in memory only, and nothing here logs them.

mod camera;
pub mod multipart;
pub mod picture;

pub use camera::{Camera, Command, DRIVERS, Event, Role};
pub use picture::{Frame, PictureError};
