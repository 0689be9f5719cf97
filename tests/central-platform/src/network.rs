//! The line to the platform: listening sockets whose connections can be cut one by one (an
//! answer that never arrives, or half of one) or all at once (the network is down). While it is
//! down the port stays reserved by a socket that does not listen, so that a connection is refused
//! at once. With certificates, every connection begins with a handshake that has a deadline.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::authority::Shown;

/// Connections waiting to be accepted; a few terminals at most.
const BACKLOG: u32 = 64;
/// Longest wait for work that runs while the network goes down.
const SHUTDOWN_MAX: Duration = Duration::from_secs(2);
/// Pause after a failed accept, which means that the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Longest handshake; a village's line takes a second.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Threads for the handlers, which block on the database.
const WORKERS_MAX: usize = 4;

/// A port, kept from others as long as this lives.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    _reservation: TcpSocket,
}

impl Port {
    /// Reserves an address; port 0 takes a free one.
    pub(crate) fn reserve(address: SocketAddr) -> io::Result<Self> {
        let reservation = socket(address)?;
        Ok(Self {
            address: reservation.local_addr()?,
            _reservation: reservation,
        })
    }
}

/// A network that is up; dropping it cuts every connection and frees the threads.
pub(crate) struct Serving {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Listens on the ports and serves in a thread of its own.
    pub(crate) fn start(
        ports: &[Port],
        tls: Option<&Arc<ServerConfig>>,
        router: &Router,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(WORKERS_MAX)
            .build()?;
        let mut serving = JoinSet::new();
        {
            let _entered = runtime.enter();
            for port in ports {
                let lines = Lines {
                    listener: socket(port.address)?.listen(BACKLOG)?,
                    tls: tls.map(|tls| TlsAcceptor::from(Arc::clone(tls))),
                };
                let service = router.clone().into_make_service_with_connect_info::<Cut>();
                serving.spawn(axum::serve(lines, service).into_future());
            }
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("platform".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        Some(ended) = serving.join_next() => {
                            tracing::error!(?ended, "serving ended");
                        }
                        // An error means that the sender was dropped, which is a stop too.
                        _ = stopped => {}
                    }
                });
                // Drops every connection, whatever it was doing.
                drop(serving);
                runtime.shutdown_timeout(SHUTDOWN_MAX);
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the platform's thread panicked");
        }
    }
}

fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // The reservation and the listening socket hold the same port.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Accepts connections that can be cut.
struct Lines {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Listener for Lines {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Line, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // A short answer must not wait for the acknowledgement of the one before.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "cannot send at once");
                    }
                    let stream = match &self.tls {
                        None => Stream::Plain(stream),
                        Some(tls) => Stream::Handshake(Box::new(Handshake {
                            accept: tls.accept(stream),
                            deadline: Box::pin(sleep(HANDSHAKE_MAX)),
                        })),
                    };
                    let cut = Cut {
                        is_local: address.ip().to_canonical().is_loopback(),
                        ..Cut::default()
                    };
                    return (Line { stream, cut }, address);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Nothing more is read or written. A connection begins with 0: everything goes through.
const SEVERED: u8 = 1;
/// Half of what is written next goes through, then the sending side is closed.
const HALF: u8 = 2;
/// The sending side is closed; what is written vanishes.
const MUTE: u8 = 3;

/// Cuts one connection, and knows who is at its other end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cut {
    mode: Arc<AtomicU8>,
    shown: Arc<OnceLock<Shown>>,
    is_local: bool,
}

impl Cut {
    /// Whether the other end is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.is_local
    }

    /// Nothing more is read from it or written to it.
    pub(crate) fn now(&self) {
        self.mode.store(SEVERED, Ordering::SeqCst);
    }

    /// Half of the next answer is sent, and the sending side closed; the receiving side stays
    /// open until the other one ends it.
    pub(crate) fn half(&self) {
        self.mode.store(HALF, Ordering::SeqCst);
    }

    /// The certificate that the other end showed; none where it showed none. Set before the first
    /// request can be read.
    pub(crate) fn shown(&self) -> Option<&Shown> {
        self.shown.get()
    }

    fn state(&self) -> io::Result<u8> {
        match self.mode.load(Ordering::SeqCst) {
            SEVERED => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
            state => Ok(state),
        }
    }
}

impl Connected<IncomingStream<'_, Lines>> for Cut {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.io().cut.clone()
    }
}

/// A connection that can be cut.
struct Line {
    stream: Stream,
    cut: Cut,
}

enum Stream {
    Plain(TcpStream),
    Handshake(Box<Handshake>),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A handshake that goes on while the connection waits for its first request.
struct Handshake {
    accept: tokio_rustls::Accept<TcpStream>,
    deadline: Pin<Box<Sleep>>,
}

/// What both kinds of connection can do.
trait Bytes: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Bytes for T {}

impl Line {
    /// The stream to read and write, once the handshake is over.
    fn poll_stream(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Pin<&mut dyn Bytes>>> {
        if let Stream::Handshake(handshake) = &mut self.stream {
            if handshake.deadline.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)));
            }
            let stream = ready!(Pin::new(&mut handshake.accept).poll(context))?;
            let (_, session) = stream.get_ref();
            if let Some(own) = session.peer_certificates().and_then(|chain| chain.first()) {
                // The handshake has verified it; one that cannot be read all the same names nobody.
                let shown = Shown::read(own).unwrap_or_default();
                // Set once: a connection has one handshake.
                drop(self.cut.shown.set(shown));
            }
            self.stream = Stream::Tls(Box::new(stream));
        }
        Poll::Ready(match &mut self.stream {
            Stream::Plain(stream) => Ok(Pin::new(stream)),
            Stream::Tls(stream) => Ok(Pin::new(stream.as_mut())),
            Stream::Handshake(_) => Err(io::Error::from(io::ErrorKind::NotConnected)),
        })
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.cut.state()?;
        ready!(self.poll_stream(context))?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let state = self.cut.state()?;
        if state == MUTE {
            let mut stream = ready!(self.poll_stream(context))?;
            // Harmless when it is closed already.
            ready!(stream.as_mut().poll_shutdown(context))?;
            return Poll::Ready(Ok(bytes.len()));
        }
        let stream = ready!(self.poll_stream(context))?;
        if state == HALF {
            let sent = ready!(stream.poll_write(context, &bytes[..bytes.len().div_ceil(2)]))?;
            self.cut.mode.store(MUTE, Ordering::SeqCst);
            return Poll::Ready(Ok(sent));
        }
        stream.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.cut.state()?;
        ready!(self.poll_stream(context))?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(context))?.poll_shutdown(context)
    }
}
