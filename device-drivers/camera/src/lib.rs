//! Cameras as sources of pictures: cameras of the kernel ([`v4l2`]) and network cameras that serve
//! `multipart/x-mixed-replace` over HTTP. Beside them, what is done with a picture: straightening a
//! document ([`document`]) and judging whether a face can be seen well ([`face`]).
//!
//! Pictures show people and their papers: they live in memory only, and nothing here logs them.

mod camera;
pub mod document;
pub mod face;
mod mjpeg;
pub mod multipart;
pub mod picture;
pub mod v4l2;
pub mod video;

pub use camera::{Camera, Command, DRIVERS, Event, Role};
pub use picture::{CROP_REST_MIN, Crop, Frame, Infrared, PictureError};
