//! Commands about keys, staff and certificates, one file each.

pub(crate) mod certificate;
pub(crate) mod key;
pub(crate) mod person;
pub(crate) mod revoke;
pub(crate) mod unlock;
