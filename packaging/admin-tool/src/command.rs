//! Commands about staff and certificates, one file each.

pub(crate) mod certificate;
pub(crate) mod person;
pub(crate) mod unlock;
