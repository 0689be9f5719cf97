//! What an administrator does away from the terminals: makes keys, hands carried bundles to a
//! platform, signs orders, and verifies audit logs. Secrets go into files that only their owner can
//! read, and never to the screen.

pub mod audit_file;
pub mod clock;
pub mod files;
pub mod import;
pub mod order;
