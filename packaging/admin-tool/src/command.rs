//! Commands about keys, staff and certificates, one file each.

pub(crate) mod certificate;
pub(crate) mod fleet;
pub(crate) mod items;
pub(crate) mod key;
pub(crate) mod person;
pub(crate) mod release;
pub(crate) mod repository;
pub(crate) mod revoke;
pub(crate) mod unlock;
