//! A network camera: motion JPEG over HTTP (`multipart/x-mixed-replace`), fed by pictures.
//!
//! Stands in for a video device where the kernel has none: same pictures, same stalls, same cuts.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::{Connection, NoRequest};
use crate::steering::{Rubbish, Running, Steered, TICK};
use crate::tcp::TcpPort;

/// Viewers at once. Chosen: the terminal and a curious person.
const VIEWERS_MAX: usize = 4;
/// The resource of the stream.
const PATH: &str = "/stream";
/// Between parts of the stream.
const BOUNDARY: &str = "kiosk-frame";

/// How the camera is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CameraConfig {
    /// Pictures a second, 1 to 60.
    pub frames_per_s: u32,
}

impl Default for CameraConfig {
    fn default() -> Self {
        Self { frames_per_s: 8 }
    }
}

/// A way in which the camera misbehaves; lasts until mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CameraFault {
    /// Connected, but no picture comes.
    Stall,
    /// Pictures that are no pictures.
    Garbage,
    /// Pictures that end in the middle.
    Truncated,
    /// One picture in two seconds.
    Slow,
}

#[derive(Debug)]
struct State {
    picture: Arc<Vec<u8>>,
    fault: Option<CameraFault>,
    frame: Duration,
    frames_sent: u64,
    viewers: usize,
    wants_cable: bool,
    has_cable: bool,
}

/// The running camera; dropping it closes its port.
#[derive(Debug)]
pub struct Camera {
    running: Running<State>,
    address: SocketAddr,
}

impl Camera {
    /// Starts a camera that shows nothing yet; `name` names its thread.
    ///
    /// # Errors
    /// No port is left.
    pub fn start(name: &str, config: &CameraConfig) -> io::Result<Self> {
        let mut port = TcpPort::open()?;
        let address = port.address();
        let mut running = Running::new(Steered::new(State {
            picture: Arc::default(),
            fault: None,
            frame: Duration::from_secs(1) / config.frames_per_s.clamp(1, 60),
            frames_sent: 0,
            viewers: 0,
            wants_cable: true,
            has_cable: true,
        }));
        running.spawn(&format!("emulated-{name}"), move |steered| {
            listen(&mut port, steered);
        })?;
        Ok(Self { running, address })
    }

    /// Where a driver reaches the camera: `tcp:127.0.0.1:N/stream`.
    pub fn port(&self) -> String {
        format!("tcp:{}{PATH}", self.address)
    }

    /// Shows this JPEG from the next frame on; an empty one stalls the stream.
    pub fn show(&self, picture: Vec<u8>) {
        self.running
            .steered
            .change(|state| state.picture = Arc::new(picture));
    }

    /// Makes the camera misbehave.
    pub fn fault(&self, fault: CameraFault) {
        self.running
            .steered
            .change(|state| state.fault = Some(fault));
    }

    /// Ends all misbehavior.
    pub fn mend(&self) {
        self.running.steered.change(|state| state.fault = None);
    }

    /// Cuts the cable; connections are refused when this returns true.
    pub fn cut_cable(&self) -> bool {
        self.set_cable(false)
    }

    /// Plugs the cable; the port answers when this returns true.
    pub fn plug_cable(&self) -> bool {
        self.set_cable(true)
    }

    fn set_cable(&self, is_plugged: bool) -> bool {
        let steered = &self.running.steered;
        steered.change(|state| state.wants_cable = is_plugged);
        steered.follow(|state| state.has_cable == is_plugged)
    }

    /// The state, for people.
    pub fn report(&self) -> Value {
        self.running.steered.look(|state| {
            json!({
                "port": self.port(),
                "picture-bytes": state.picture.len(),
                "frames-sent": state.frames_sent,
                "viewers": state.viewers,
                "fault": state.fault,
                "cable": state.has_cable,
            })
        })
    }
}

fn listen(port: &mut TcpPort, steered: &Arc<Steered<State>>) {
    let mut viewers: Vec<JoinHandle<()>> = Vec::new();
    while !steered.is_stopping() {
        viewers.retain(|viewer| !viewer.is_finished());
        let wanted = steered.look(|state| state.wants_cable);
        if wanted != port.is_plugged() {
            if !wanted {
                port.cut();
            } else if let Err(error) = port.plug() {
                tracing::warn!(%error, "cannot listen again");
            }
        }
        if port.is_plugged() == wanted && (wanted || viewers.is_empty()) {
            steered.change(|state| state.has_cable = wanted);
        }
        steered.change(|state| state.viewers = viewers.len());
        let accepted = if viewers.len() < VIEWERS_MAX {
            port.accept().unwrap_or(None)
        } else {
            None
        };
        match accepted {
            Some(stream) => {
                let steered = Arc::clone(steered);
                viewers.push(std::thread::spawn(move || serve(stream, &steered)));
            }
            None => {
                steered.pause(TICK);
            }
        }
    }
    for viewer in viewers {
        if viewer.join().is_err() {
            tracing::error!("an emulated camera's connection ended with a panic");
        }
    }
}

fn serve(stream: TcpStream, steered: &Steered<State>) {
    let keep = || !steered.is_stopping() && steered.look(|state| state.wants_cable);
    let mut connection = Connection::new(stream, &keep);
    let request = match connection.request() {
        Ok(request) => request,
        Err(NoRequest::Closed) => return,
        Err(NoRequest::Bad(status, reason)) => {
            if let Err(error) = connection.reply(status, reason, "text/plain", b"") {
                tracing::debug!(%error, "a bad request left without its answer");
            }
            return;
        }
    };
    let (status, reason) = match (request.path.as_str(), request.method.as_str()) {
        (PATH, "GET") => (200, "OK"),
        (PATH, _) => (405, "Method Not Allowed"),
        _ => (404, "Not Found"),
    };
    if status != 200 {
        if let Err(error) = connection.reply(status, reason, "text/plain", b"") {
            tracing::debug!(%error, "a bad request left without its answer");
        }
        return;
    }
    if let Err(error) = stream_frames(&mut connection, steered) {
        tracing::debug!(%error, "a viewer left");
    }
}

fn stream_frames(connection: &mut Connection<'_>, steered: &Steered<State>) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nConnection: close\r\n\
         Content-Type: multipart/x-mixed-replace; boundary={BOUNDARY}\r\n\r\n"
    );
    connection.send(head.as_bytes())?;
    let mut rubbish = Rubbish::new(0xCA3);
    loop {
        let (picture, fault, frame) =
            steered.look(|state| (Arc::clone(&state.picture), state.fault, state.frame));
        if fault != Some(CameraFault::Stall) && !picture.is_empty() {
            let bytes = match fault {
                // The header of a JPEG and then nothing of one.
                Some(CameraFault::Garbage) => {
                    [vec![0xFF, 0xD8, 0xFF, 0xE0], rubbish.bytes(4000)].concat()
                }
                Some(CameraFault::Truncated) => picture[..picture.len() / 2].to_vec(),
                Some(CameraFault::Stall | CameraFault::Slow) | None => picture.to_vec(),
            };
            let head = format!(
                "--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
                bytes.len()
            );
            connection.send(&[head.as_bytes(), &bytes, b"\r\n"].concat())?;
            steered.change(|state| state.frames_sent += 1);
        }
        let pause = if fault == Some(CameraFault::Slow) {
            Duration::from_secs(2)
        } else {
            frame
        };
        if !steered.pause_while(pause, |state| state.wants_cable && state.fault == fault) {
            // A new fault starts at once; a cut cable or a stop ends the stream.
            let is_over = steered.is_stopping() || steered.look(|state| !state.wants_cable);
            if is_over {
                return Ok(());
            }
        }
    }
}
