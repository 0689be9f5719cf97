//! A line as thin as a village's, on the loopback: every byte waits for its turn at the line's rate
//! and then for the way, in both directions; buffers are bounded, so that a sender feels the line.
//!
//! It stands for the rate and the delay of a line, not for its losses nor for the slow start of
//! TCP: both sides of it are loopback connections.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::clock::Watch;

/// Most connections at once; a terminal holds a handful.
const CONNECTIONS_MAX: usize = 64;
/// Bytes read at once; some packets, which the line's rate passes in 3 ms.
const CHUNK_BYTES: usize = 4096;
/// Pieces on their way in one direction of a connection; with whole pieces, some 800 ms of the line.
const ON_THE_WAY_MAX: usize = 256;
/// What a router keeps before it makes the sender wait; a usual queue, and longer than the timer
/// is coarse, so that no capacity is lost to waking up late.
const QUEUE: Duration = Duration::from_millis(20);

/// A proxy that is a thin line to one address. Dropping it ends it.
#[derive(Debug)]
pub struct ThinLine {
    address: SocketAddr,
    up: Arc<Lane>,
    down: Arc<Lane>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// One direction, shared by all connections.
#[derive(Debug)]
struct Lane {
    bits_per_second: u64,
    delay: Duration,
    watch: Watch,
    free_at: Mutex<Duration>,
    bytes: AtomicU64,
}

impl ThinLine {
    /// Listens on a free port of the loopback and passes everything on to an address.
    ///
    /// # Errors
    /// When no port or no thread is to be had.
    pub fn start(
        target: SocketAddr,
        bits_per_second: u64,
        round_trip: Duration,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let lane = || Arc::new(Lane::new(bits_per_second, round_trip / 2));
        let (up, down) = (lane(), lane());
        let (stop, stopped) = oneshot::channel();
        let lanes = [Arc::clone(&up), Arc::clone(&down)];
        let thread = std::thread::Builder::new()
            .name("thin-line".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        // An error means that the line was dropped, which stops it too.
                        _ = stopped => {}
                        () = accept(&listener, target, lanes) => {}
                    }
                });
            })?;
        Ok(Self {
            address,
            up,
            down,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that have passed to the target so far.
    pub fn bytes_up(&self) -> u64 {
        self.up.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that have passed back so far.
    pub fn bytes_down(&self) -> u64 {
        self.down.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for ThinLine {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends at its next turn; a panic of it was printed where it happened.
            drop(thread.join());
        }
    }
}

impl Lane {
    fn new(bits_per_second: u64, delay: Duration) -> Self {
        Self {
            bits_per_second: bits_per_second.max(1),
            delay,
            watch: Watch::start(),
            free_at: Mutex::new(Duration::ZERO),
            bytes: AtomicU64::new(0),
        }
    }

    /// When the last bit of these bytes has left, if they join the queue now.
    fn reserve(&self, now: Duration, bytes: usize) -> Duration {
        let bits = bytes as u64 * 8;
        let needed =
            Duration::from_nanos(bits.saturating_mul(1_000_000_000) / self.bits_per_second);
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(now) + needed;
        *free_at
    }
}

async fn accept(listener: &TcpListener, target: SocketAddr, [up, down]: [Arc<Lane>; 2]) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS_MAX {
            continue;
        }
        let (up, down) = (Arc::clone(&up), Arc::clone(&down));
        connections.spawn(async move {
            let Ok(far) = TcpStream::connect(target).await else {
                return;
            };
            // Small writes go at once; the line's delay is the only one.
            drop(near.set_nodelay(true));
            drop(far.set_nodelay(true));
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            tokio::join!(
                pass(near_read, far_write, &up),
                pass(far_read, near_write, &down)
            );
        });
    }
}

/// Passes one direction of a connection until its end.
async fn pass(from: OwnedReadHalf, to: OwnedWriteHalf, lane: &Lane) {
    let (send, receive) = mpsc::channel(ON_THE_WAY_MAX);
    tokio::join!(take_in(from, send, lane), give_out(to, receive, lane));
}

async fn take_in(from: OwnedReadHalf, on: mpsc::Sender<(Duration, Vec<u8>)>, lane: &Lane) {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        if from.readable().await.is_err() {
            return;
        }
        let count = match from.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        let left_at = lane.reserve(lane.watch.elapsed(), count);
        until(lane, left_at.saturating_sub(QUEUE)).await;
        let piece = (left_at + lane.delay, buffer[..count].to_vec());
        if on.send(piece).await.is_err() {
            return;
        }
    }
}

async fn give_out(
    to: OwnedWriteHalf,
    mut arriving: mpsc::Receiver<(Duration, Vec<u8>)>,
    lane: &Lane,
) {
    while let Some((at, bytes)) = arriving.recv().await {
        until(lane, at).await;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            if to.writable().await.is_err() {
                return;
            }
            match to.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
        lane.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
    // Dropping this half tells the other side that no more comes.
}

async fn until(lane: &Lane, at: Duration) {
    let wait = at.saturating_sub(lane.watch.elapsed());
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn bytes_leave_at_the_rate_of_the_line_and_no_faster() {
        let lane = Lane::new(8000, Duration::ZERO);
        let at = Duration::from_secs;
        assert_eq!(lane.reserve(at(10), 1000), at(11));
        assert_eq!(lane.reserve(at(10), 2000), at(13));
        // An idle line saves nothing up.
        assert_eq!(lane.reserve(at(20), 500), Duration::from_millis(20_500));
    }

    #[test]
    fn what_goes_in_comes_out_and_the_end_too() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = server.local_addr().unwrap();
        let echo = std::thread::spawn(move || {
            let (mut connection, _) = server.accept().unwrap();
            let mut received = Vec::new();
            connection.read_to_end(&mut received).unwrap();
            connection.write_all(&received).unwrap();
        });
        let line = ThinLine::start(target, 1_000_000_000, Duration::from_millis(2)).unwrap();
        let mut connection = std::net::TcpStream::connect(line.address()).unwrap();
        let sent = crate::records::letters(200, 3);
        connection.write_all(&sent).unwrap();
        connection.shutdown(std::net::Shutdown::Write).unwrap();
        let mut received = Vec::new();
        connection.read_to_end(&mut received).unwrap();
        echo.join().unwrap();
        assert!(received == sent, "the bytes differ");
        assert_eq!(line.bytes_up(), sent.len() as u64);
        assert_eq!(line.bytes_down(), sent.len() as u64);
    }
}
