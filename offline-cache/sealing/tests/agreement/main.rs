//! Others agree with us: OpenSSL with our digests, keys and signatures and we with its, a TPM
//! with our way of using it. And what was written once still opens.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot set its stage has failed"
)]

mod format;
mod openssl;
mod support;
mod tpm;
mod words;
