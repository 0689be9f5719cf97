//! Somebody whom the platform sends something of its own accord: what came, and in which order.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// A request that came.
pub(crate) struct Told {
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// Hears requests, and answers them with the statuses given first, then with 204.
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    pub(crate) heard: Receiver<Told>,
}

impl Listener {
    pub(crate) fn new(first: &[&'static str]) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), first)
    }

    pub(crate) fn on(listener: TcpListener, first: &[&'static str]) -> Self {
        let address = listener.local_addr().unwrap();
        let (tell, heard) = sync_channel(64);
        let mut statuses = first.to_vec();
        statuses.reverse();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let status = statuses.pop().unwrap_or("204 No Content");
                if answer(stream, status, &tell).is_none() {
                    return;
                }
            }
        });
        Self { address, heard }
    }
}

/// Reads one request and answers it; none when nobody listens to what was heard.
fn answer(mut stream: TcpStream, status: &str, tell: &SyncSender<Told>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ") {
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
    }
    let length: usize = headers
        .get("content-length")
        .map_or(0, |value| value.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    tell.send(Told {
        path,
        headers,
        body,
    })
    .ok()?;
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    drop(stream.write_all(head.as_bytes()));
    Some(())
}
