//! The one question this program itself asks the platform: which keys seal documents. An installer
//! copies them into `kiosk.toml`; so does this file.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;

/// Longest reply. Chosen: a handful of keys has less than 4 kB.
const REPLY_BYTES_MAX: u64 = 64 * 1024;
/// Loopback answers at once.
const LIMIT: Duration = Duration::from_secs(10);

/// Keys by id, base64, as `kiosk.toml` wants them.
///
/// # Errors
/// The platform does not answer or answers something else.
pub fn seal_keys(url: &str) -> anyhow::Result<serde_json::Map<String, serde_json::Value>> {
    let reply: serde_json::Value = serde_json::from_str(&get(url, "/v1/seal-keys")?)?;
    keys_of(&reply).context("the platform's seal keys cannot be understood")
}

fn keys_of(reply: &serde_json::Value) -> Option<serde_json::Map<String, serde_json::Value>> {
    let keys = reply.get("keys").unwrap_or(reply).as_array()?;
    keys.iter()
        .map(|key| {
            Some((
                key.get("key_id")?.as_str()?.to_owned(),
                key.get("public_key")?.clone(),
            ))
        })
        .collect()
}

fn get(url: &str, path: &str) -> anyhow::Result<String> {
    let host = url
        .strip_prefix("http://")
        .context("the platform's address is not http://")?;
    let address: SocketAddr = host.trim_end_matches('/').parse()?;
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    // HTTP/1.0: the body is plain and ends with the connection.
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {host}\r\nKiosk-Terminal: demo\r\n\r\n"
    )?;
    let mut reply = String::new();
    stream.take(REPLY_BYTES_MAX).read_to_string(&mut reply)?;
    let (head, body) = reply
        .split_once("\r\n\r\n")
        .context("the platform's reply has no body")?;
    let status = head.split_ascii_whitespace().nth(1).unwrap_or_default();
    anyhow::ensure!(
        status == "200",
        "the platform answers {status} to GET {path}"
    );
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_by_their_id() {
        let reply = serde_json::json!({ "keys": [{ "key_id": "a", "public_key": "AAA=" }] });
        assert_eq!(keys_of(&reply).unwrap()["a"], "AAA=");
        assert!(keys_of(&serde_json::json!({ "keys": [{}] })).is_none());
        assert!(keys_of(&serde_json::json!("no")).is_none());
    }
}
