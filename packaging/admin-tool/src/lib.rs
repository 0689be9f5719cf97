//! What an administrator does away from the terminals: makes keys, hands carried bundles to a
//! platform, signs orders and permissions of staff, calls them back, and verifies audit logs and certificates of
//! terminals. Secrets go into files that only their owner can read, and never to the
//! screen; only a code that works once, to enroll a terminal, is shown.

pub mod audit_file;
pub mod clock;
pub mod code;
pub mod files;
pub mod fleet;
mod hidden;
pub mod import;
pub mod items;
pub mod key_file;
pub mod order;
pub mod passphrase;
pub mod people;
pub mod permission;
pub mod pin;
pub mod readiness;
pub mod release;
pub mod repository;
pub mod revocation;
pub mod table;
pub mod terminal_keys;
pub mod tuf;
pub mod verify_page;
