//! Item packages and what a region sets: they come apart from the program, from a repository with a
//! root of its own, and any time of the day. Keeps true that a terminal has a whole set of them that
//! was signed, that fits together and that its own program has accepted, or keeps the one before.
//! What is in an item is the terminal's business.

mod archive;
mod catalogue;
mod pass;
mod set;
mod status;

pub use archive::{
    PACKAGE_BYTES_MAX, PACKAGE_UNPACKED_BYTES_MAX, PackageError, PackedFile, pack, read_package,
    unpack,
};
pub use catalogue::{
    CATALOGUE_BYTES_MAX, Catalogue, CatalogueError, Package, PackageEntry, Setting, Wanted,
    catalogue_target, combine, levels, package_target,
};
pub use pass::{Check, ItemsOutcome, ItemsPass, Refusal};
pub use set::{
    HeldSet, ITEMS_DIRECTORY, RefusedSet, SET_FILE, SETTINGS_FILE, SetDescription, SetError, Sets,
    SetsState,
};
pub use status::{ITEMS_STATUS_BYTES_MAX, ItemsStatus};
