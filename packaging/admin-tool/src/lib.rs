//! What an administrator does away from the terminals: makes keys, hands carried bundles to a
//! platform, signs orders and permissions of staff, and verifies audit logs and certificates of
//! terminals. Secrets go into files that only their owner can read, and never to the screen.

pub mod audit_file;
pub mod clock;
pub mod code;
pub mod files;
pub mod import;
pub mod order;
pub mod people;
pub mod permission;
pub mod pin;
pub mod readiness;
pub mod terminal_keys;
pub mod verify_page;
