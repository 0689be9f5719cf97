//! A network camera: its `multipart/x-mixed-replace` stream of JPEG pictures over HTTP.

use std::convert::Infallible;
use std::time::Duration;

use kiosk_device::http::{self, Answer, HttpError, Target};
use kiosk_device::wire::TcpWire;
use kiosk_device::{
    Action, Capabilities, Completion, ConfigError, Context, DeviceConfig, Fault, Status, Wire, tap,
};

use crate::camera::{Event, LOOK_LIMIT, Viewer, stalled};
use crate::multipart::{MultipartError, Parts, boundary};
use crate::picture::{JPEG_BYTES_MAX, decode_wanted};

const SCHEMES: &[(&str, u16)] = &[("tcp:", 80), ("http://", 80)];
/// Wait for the head of the answer. Chosen.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// Where one camera serves its stream.
#[derive(Debug)]
pub(crate) struct NetworkCamera {
    target: Target,
    model: String,
}

impl NetworkCamera {
    pub(crate) fn new(config: &DeviceConfig) -> Result<Self, ConfigError> {
        let target = Target::parse(&config.port, SCHEMES).ok_or_else(|| {
            config.not_accepted("port", &config.port, "tcp:HOST:PORT/PATH or http://…")
        })?;
        Ok(Self {
            target,
            model: config.model.clone().unwrap_or_default(),
        })
    }

    pub(crate) fn open(&self) -> Result<Capabilities, Fault> {
        // The first picture may come with the head of the answer.
        let _personal = tap::personal();
        self.start()?;
        Ok(Capabilities {
            model: self.model.clone(),
            abilities: vec!["jpeg".to_owned()],
            ..Capabilities::default()
        })
    }

    pub(crate) fn status(&self) -> Result<Status, Fault> {
        // Asking for the stream would make many cameras start their sensor.
        TcpWire::connect(&self.target.host, self.target.port)?;
        Ok(Status::online())
    }

    /// Connects and asks for the stream.
    fn start(&self) -> Result<(TcpWire, Answer, Parts), Fault> {
        let mut wire = TcpWire::connect(&self.target.host, self.target.port)?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: multipart/x-mixed-replace\r\nUser-Agent: kiosk\r\nConnection: close\r\n\r\n",
            self.target.path,
            self.target.authority(),
        );
        let answer = http::send(&mut wire, request.as_bytes(), ANSWER_LIMIT).map_err(bad_reply)?;
        if answer.head.status != 200 {
            return Err(malformed(&format!(
                "the camera answers with HTTP status {}",
                answer.head.status
            )));
        }
        let content_type = answer.head.header("content-type").unwrap_or_default();
        let boundary = boundary(content_type).map_err(broken_stream)?;
        Ok((wire, answer, Parts::new(&boundary, JPEG_BYTES_MAX)))
    }

    /// Shows pictures until the caller ends it or the camera fails.
    pub(crate) fn stream(
        &self,
        viewer: &mut Viewer,
        context: &Context<'_, Event>,
    ) -> Result<Infallible, Completion> {
        let failed = |fault: Fault| Completion::Failed(fault);
        let _personal = tap::personal();
        let (mut wire, mut answer, mut parts) = self.start().map_err(failed)?;
        viewer.restart();
        let mut bytes = std::mem::take(&mut answer.leftover);
        let mut buffer = vec![0_u8; READ_BYTES];
        loop {
            context.check()?;
            let mut body = Vec::new();
            let has_ended = answer
                .body
                .feed(&bytes, &mut body)
                .map_err(|error| failed(bad_reply(error)))?;
            parts.push(&body);
            while let Some(part) = parts.next_part().map_err(|e| failed(broken_stream(e)))? {
                if viewer.is_due() {
                    viewer
                        .show(context, |wanted| decode_wanted(part, wanted))
                        .map_err(failed)?;
                }
            }
            if has_ended {
                return Err(failed(stalled("the camera ended the stream")));
            }
            if viewer.has_stalled() {
                return Err(failed(stalled("no picture for two seconds")));
            }
            let limit = context.remaining().min(LOOK_LIMIT);
            let count = wire
                .read(&mut buffer, limit)
                .map_err(|e| failed(e.into()))?;
            bytes.clear();
            bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
    }
}

fn malformed(detail: &str) -> Fault {
    Fault::new("camera.bad-reply", Action::Maintenance, detail)
}

fn broken_stream(error: MultipartError) -> Fault {
    malformed(&error.to_string())
}

fn bad_reply(error: HttpError) -> Fault {
    match error {
        HttpError::Wire(error) => error.into(),
        HttpError::Malformed(what) => malformed(what),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread::{self, JoinHandle};

    use kiosk_device::{Cancel, Driver};

    use super::*;
    use crate::camera::{Camera, Command};
    use crate::picture::tests::jpeg;

    const LONG: Duration = Duration::from_secs(20);

    /// A camera that takes one request, sends `stream` and then does `after` with the connection.
    fn camera(
        stream: Vec<u8>,
        after: impl FnOnce(TcpStream) + Send + 'static,
    ) -> (Camera, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let peer = thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            connection.set_read_timeout(Some(LONG)).unwrap();
            let mut request = Vec::new();
            let mut byte = [0_u8; 1];
            while !request.ends_with(b"\r\n\r\n") {
                connection.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            assert!(request.starts_with(b"GET /video HTTP/1.1\r\n"));
            connection.write_all(&stream).unwrap();
            after(connection);
        });
        let config = format!(
            "id = \"camera-1\"\nclass = \"camera\"\ndriver = \"mjpeg\"\nport = \"tcp:127.0.0.1:{port}/video\""
        );
        (
            Camera::new(&toml::from_str(&config).unwrap()).unwrap(),
            peer,
        )
    }

    fn stream_of(pictures: &[Vec<u8>]) -> Vec<u8> {
        let mut stream =
            b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"
                .to_vec();
        for picture in pictures {
            let length = picture.len();
            stream.extend(
                format!("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n")
                    .bytes(),
            );
            stream.extend(picture);
            stream.extend(b"\r\n");
        }
        stream
    }

    fn stay(mut connection: TcpStream) {
        // Ends when the driver hangs up.
        let mut rest = Vec::new();
        drop(connection.read_to_end(&mut rest));
    }

    const STREAM: Command = Command::Stream {
        preview_width: 32,
        frames_per_second: 60,
    };

    #[test]
    fn pictures_are_reported_until_the_command_is_canceled() {
        let (mut camera, peer) = camera(stream_of(&[jpeg(64, 48, [9, 9, 9])]), stay);
        let cancel = Cancel::default();
        let frames = RefCell::new(Vec::new());
        let emit = |Event::Frame(frame)| {
            frames.borrow_mut().push((frame.width, frame.height));
            cancel.cancel();
        };
        let completion = camera.execute(STREAM, &Context::new(LONG, &cancel, &emit));
        assert_eq!(completion, Completion::Canceled);
        assert_eq!(frames.into_inner(), [(32, 24)]);
        peer.join().unwrap();
    }

    fn check_failure(stream: Vec<u8>, after: fn(TcpStream), code: &str) {
        let (mut camera, peer) = camera(stream, after);
        let completion = camera.execute(STREAM, &Context::new(LONG, &Cancel::default(), &|_| ()));
        assert!(
            matches!(&completion, Completion::Failed(fault) if fault.code == code),
            "{completion:?}"
        );
        peer.join().unwrap();
    }

    #[test]
    fn a_stream_without_pictures_has_stalled() {
        check_failure(stream_of(&[]), stay, "camera.stalled");
    }

    #[test]
    fn a_camera_that_hangs_up_is_gone() {
        check_failure(stream_of(&[jpeg(8, 8, [0; 3])]), drop, "device.gone");
    }

    #[test]
    fn answers_that_are_no_stream_are_bad_replies() {
        check_failure(
            b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec(),
            stay,
            "camera.bad-reply",
        );
        check_failure(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n".to_vec(),
            stay,
            "camera.bad-reply",
        );
        check_failure(b"220 mail ready\r\n\r\n".to_vec(), stay, "camera.bad-reply");
    }

    #[test]
    fn ten_broken_pictures_in_a_row_end_the_stream() {
        check_failure(
            stream_of(&vec![vec![0xFF, 0xD8, 0xFF]; 10]),
            stay,
            "camera.bad-picture",
        );
    }

    #[test]
    fn a_port_that_is_no_address_is_refused() {
        let config = "id = \"c\"\nclass = \"camera\"\ndriver = \"mjpeg\"\nport = \"/dev/video0\"";
        let error = Camera::new(&toml::from_str(config).unwrap()).unwrap_err();
        assert!(error.to_string().contains("tcp:HOST:PORT/PATH"), "{error}");
    }
}
