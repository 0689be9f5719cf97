//! A Unix socket through which anybody steers the bench: one [`Act`] as JSON per line in, one JSON
//! line out, in the same order.
//!
//! Answers are `{"ok":true,"state":...}` or `{"ok":false,"error":"..."}`. Lines and the number of
//! connections are bounded; a line that is too long ends its connection.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::act::Act;
use crate::bench::Bench;
use crate::steering::{Running, Steered, TICK};
use crate::tcp::is_patience;

/// Longest line accepted, bytes. Chosen: a card spelled out needs less than 2 KiB.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Connections served at once. Chosen: a panel, a journey and a curious person.
const CONNECTIONS_MAX: usize = 8;

/// The running control socket; dropping it removes the socket.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    _running: Running<()>,
}

impl Control {
    /// Serves `bench` at `path`; a stale socket there is replaced.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start(bench: Arc<Bench>, path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        let mut running = Running::new(Steered::new(()));
        running.spawn("bench-control", move |steered| {
            accept(&listener, &bench, steered);
        })?;
        Ok(Self {
            path: path.to_owned(),
            _running: running,
        })
    }

    /// The path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "the control socket was gone already");
        }
    }
}

fn accept(listener: &UnixListener, bench: &Arc<Bench>, steered: &Arc<Steered<()>>) {
    let mut connections: Vec<JoinHandle<()>> = Vec::new();
    while !steered.is_stopping() {
        connections.retain(|connection| !connection.is_finished());
        if connections.len() >= CONNECTIONS_MAX {
            steered.pause(TICK);
            continue;
        }
        match listener.accept() {
            Ok((stream, _)) => {
                let bench = Arc::clone(bench);
                let steered = Arc::clone(steered);
                connections.push(std::thread::spawn(move || {
                    if let Err(error) = serve(stream, &bench, &steered) {
                        tracing::debug!(%error, "a control connection ended");
                    }
                }));
            }
            Err(error) => {
                if !is_patience(&error) {
                    tracing::warn!(%error, "the control socket cannot accept");
                }
                steered.pause(TICK);
            }
        }
    }
    for connection in connections {
        if connection.join().is_err() {
            tracing::error!("a control connection ended with a panic");
        }
    }
}

fn serve(mut stream: UnixStream, bench: &Bench, steered: &Steered<()>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    while !steered.is_stopping() {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => received.extend(&buffer[..count]),
            Err(error) if is_patience(&error) => continue,
            Err(error) => return Err(error),
        }
        while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = received.drain(..=end).collect();
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            send(&mut stream, &obey(&line, bench))?;
        }
        if received.len() > LINE_BYTES_MAX {
            return send(&mut stream, &refused("the line is too long"));
        }
    }
    Ok(())
}

fn send(stream: &mut UnixStream, answer: &Value) -> io::Result<()> {
    let mut line = answer.to_string().into_bytes();
    line.push(b'\n');
    stream.write_all(&line)
}

fn obey(line: &[u8], bench: &Bench) -> Value {
    let act = match serde_json::from_slice::<Act>(line) {
        Ok(act) => act,
        Err(error) => return refused(&error.to_string()),
    };
    match bench.apply(act) {
        Ok(state) => json!({ "ok": true, "state": state }),
        Err(error) => refused(&error.to_string()),
    }
}

fn refused(error: &str) -> Value {
    json!({ "ok": false, "error": error })
}
