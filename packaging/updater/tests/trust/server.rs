//! A web server on the loopback that can be told to fail: endless, slow, cut, or with a status.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How a file is served.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// With this status, and nothing.
    Status(u16),
    /// With bytes that never end, and no length.
    Endless,
    /// One byte at a time, with a long while between.
    Slow,
    /// With its whole length promised, and half of it given.
    Cut,
    /// Another content.
    Content(Vec<u8>),
    /// Without looking at the range that was asked for.
    NoRanges,
    /// Elsewhere.
    Redirect(String),
}

#[derive(Default)]
struct Shared {
    faults: HashMap<String, Fault>,
    requests: Vec<String>,
}

/// Serves a directory until it is dropped.
pub(crate) struct Server {
    scheme: &'static str,
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    stop: Option<SyncSender<()>>,
}

impl Server {
    pub(crate) fn start(root: &Path) -> Self {
        Self::start_with(root, None)
    }

    /// One that begins each connection with TLS.
    pub(crate) fn start_tls(root: &Path, tls: Arc<ServerConfig>) -> Self {
        Self::start_with(root, Some(tls))
    }

    fn start_with(root: &Path, tls: Option<Arc<ServerConfig>>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (stop, stopped) = sync_channel(1);
        let stopped = Arc::new(Mutex::new(stopped));
        let root = root.to_path_buf();
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (root, shared) = (root.clone(), Arc::clone(&for_thread));
                let (stopped, tls) = (Arc::clone(&stopped), tls.clone());
                thread::spawn(move || {
                    drop(match tls {
                        None => serve(stream, &root, &shared, &stopped),
                        Some(tls) => {
                            let connection = ServerConnection::new(tls).unwrap();
                            let stream = StreamOwned::new(connection, stream);
                            serve(stream, &root, &shared, &stopped)
                        }
                    });
                });
            }
        });
        Self {
            scheme,
            address,
            shared,
            stop: Some(stop),
        }
    }

    pub(crate) fn url(&self, part: &str) -> String {
        format!("{}://{}/{part}/", self.scheme, self.address)
    }

    /// Serves `path` as `fault` says from now on.
    pub(crate) fn fail(&self, path: &str, fault: Fault) {
        self.shared
            .lock()
            .unwrap()
            .faults
            .insert(path.to_owned(), fault);
    }

    pub(crate) fn heal(&self) {
        self.shared.lock().unwrap().faults.clear();
    }

    /// What was asked for since the last time.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().unwrap().requests)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Slow answers end when nobody can say stop any more.
        drop(self.stop.take());
    }
}

fn serve(
    mut stream: impl Read + Write,
    root: &Path,
    shared: &Mutex<Shared>,
    stopped: &Mutex<Receiver<()>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(&mut stream).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    let path = request.split(' ').nth(1).unwrap_or_default();
    let path = path.trim_start_matches('/').to_owned();
    let mut offset = 0;
    for line in &mut lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            offset = range.trim_end_matches('-').parse().unwrap_or(0);
        }
    }
    drop(lines);
    let fault = {
        let mut shared = shared.lock().unwrap();
        shared.requests.push(path.clone());
        shared.faults.get(&path).cloned()
    };
    let file: PathBuf = root.join(&path);
    let content = std::fs::read(file).ok();
    match (fault, content) {
        (Some(Fault::Status(status)), _) => head(&mut stream, status, Some(0)),
        (Some(Fault::Redirect(to)), _) => write!(
            stream,
            "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ),
        (Some(Fault::Endless), _) => {
            head(&mut stream, 200, None)?;
            loop {
                // Ends when the client has had enough.
                stream.write_all(&[b' '; 4096])?;
            }
        }
        (Some(Fault::Slow), _) => {
            head(&mut stream, 200, None)?;
            let stopped = stopped.lock().unwrap();
            while stopped.recv_timeout(Duration::from_millis(20))
                == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                stream.write_all(b" ")?;
            }
            Ok(())
        }
        (Some(Fault::Cut), Some(content)) => {
            head(&mut stream, 200, Some(content.len()))?;
            stream.write_all(&content[..content.len() / 2])
        }
        (None, Some(content)) if offset > 0 => {
            let rest = content.get(offset..).unwrap_or_default();
            head(&mut stream, 206, Some(rest.len()))?;
            stream.write_all(rest)
        }
        (Some(Fault::Content(content)), _) | (Some(Fault::NoRanges) | None, Some(content)) => {
            whole(&mut stream, &content)
        }
        (Some(Fault::Cut | Fault::NoRanges) | None, None) => head(&mut stream, 404, Some(0)),
    }
}

fn whole(stream: &mut impl Write, content: &[u8]) -> std::io::Result<()> {
    head(stream, 200, Some(content.len()))?;
    stream.write_all(content)
}

fn head(stream: &mut impl Write, status: u16, length: Option<usize>) -> std::io::Result<()> {
    let length = length.map_or(String::new(), |length| {
        format!("content-length: {length}\r\n")
    });
    write!(
        stream,
        "HTTP/1.1 {status} Said\r\n{length}connection: close\r\n\r\n"
    )
}
