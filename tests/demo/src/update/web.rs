//! The operator's web server: static files of one directory and parts of them, as any web server or
//! object store gives them. It counts what goes over the line, and knows nothing of updates.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;

/// Longest head of a request in bytes.
const HEAD_BYTES_MAX: u64 = 16 * 1024;
/// A loopback that is silent for so long is gone.
const LIMIT: Duration = Duration::from_secs(20);

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct Web {
    address: SocketAddr,
    sent: Arc<AtomicU64>,
    is_ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    /// Serves `directory` on a free port of the loopback.
    ///
    /// # Errors
    /// No port or no thread can be had.
    pub fn start(directory: &Path) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let sent = Arc::new(AtomicU64::new(0));
        let is_ended = Arc::new(AtomicBool::new(false));
        let directory = directory.to_owned();
        let (count, end) = (Arc::clone(&sent), Arc::clone(&is_ended));
        let thread = thread::Builder::new()
            .name("web".to_owned())
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    if end.load(Ordering::Relaxed) {
                        return;
                    }
                    // Whoever went away asks again.
                    drop(answer(stream, &directory, &count));
                }
            })
            .context("no thread for the web server")?;
        Ok(Self {
            address,
            sent,
            is_ended,
            thread: Some(thread),
        })
    }

    /// Its address, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Bytes of content that it has sent.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.is_ended.store(true, Ordering::Relaxed);
        drop(TcpStream::connect_timeout(&self.address, LIMIT));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn answer(mut stream: TcpStream, directory: &Path, sent: &AtomicU64) -> io::Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let (mut first, mut from) = (String::new(), 0);
    let mut head = BufReader::new(stream.try_clone()?.take(HEAD_BYTES_MAX));
    head.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        from = offset(&line).unwrap_or(from);
    }
    let opened = path(&first, directory).and_then(|path| File::open(path).ok());
    let Some(mut file) = opened.filter(|file| file.metadata().is_ok_and(|data| data.is_file()))
    else {
        return stream.write_all(
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
    };
    let size = file.metadata()?.len();
    let from = from.min(size);
    file.seek(SeekFrom::Start(from))?;
    let status = if from == 0 {
        "200 OK".to_owned()
    } else {
        let last = size.saturating_sub(1);
        format!("206 Partial Content\r\nContent-Range: bytes {from}-{last}/{size}")
    };
    let length = size - from;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    let copied = io::copy(&mut file.take(length), &mut stream)?;
    sent.fetch_add(copied, Ordering::Relaxed);
    Ok(())
}

/// The file that a request line asks for; `None` for whatever leads elsewhere.
fn path(line: &str, directory: &Path) -> Option<PathBuf> {
    let (target, _) = line.strip_prefix("GET /")?.split_once(' ')?;
    let is_plain = target.split('/').all(|part| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    });
    is_plain.then(|| directory.join(target))
}

/// Where a part begins that goes on to the end, the only kind that a download asks for.
fn offset(line: &str) -> Option<u64> {
    let (name, value) = line.split_once(':')?;
    let range = name
        .eq_ignore_ascii_case("range")
        .then(|| value.trim().strip_prefix("bytes="))??;
    range.strip_suffix('-')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(web: &Web, target: &str, range: &str) -> String {
        let mut stream = TcpStream::connect(web.address).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\n{range}\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }

    #[test]
    fn files_and_their_ends_are_served_and_nothing_beside_them() {
        let directory = tempfile::tempdir().unwrap();
        let served = directory.path().join("served");
        std::fs::create_dir(&served).unwrap();
        std::fs::write(served.join("a.json"), "0123456789").unwrap();
        std::fs::write(directory.path().join("secret"), "secret").unwrap();
        let web = Web::start(&served).unwrap();
        assert!(ask(&web, "/a.json", "").ends_with("\r\n\r\n0123456789"));
        let end = ask(&web, "/a.json", "Range: bytes=7-\r\n");
        assert!(end.contains("206") && end.contains("bytes 7-9/10") && end.ends_with("\r\n789"));
        for elsewhere in ["/../secret", "/b.json", "/", "/./a.json", "//a.json"] {
            assert!(ask(&web, elsewhere, "").contains("404"), "{elsewhere}");
        }
        assert_eq!(web.sent_bytes(), 13);
    }
}
