//! What happens to the platform and the line meanwhile: outages, answers that are lost after the
//! effect, statuses, spoiled results. Its own thread, its own dice.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use central_platform::{Fault, Platform};

use kiosk_tests::random::Random;

/// A turn of the weather lasts between these, in milliseconds.
const TURN_MS: (u64, u64) = (20, 250);

/// The platform in changing weather.
pub(super) struct Weather {
    platform: Arc<Platform>,
    thread: Option<(SyncSender<()>, JoinHandle<()>)>,
}

impl Weather {
    pub(super) fn start(platform: Platform, mut random: Random) -> anyhow::Result<Self> {
        let platform = Arc::new(platform);
        let (stop, stopped) = sync_channel(1);
        let shared = Arc::clone(&platform);
        let thread = std::thread::Builder::new()
            .name("weather".to_owned())
            .spawn(move || {
                loop {
                    turn(&shared, &mut random);
                    let pause = TURN_MS.0 + random.below(TURN_MS.1 - TURN_MS.0);
                    let waited = stopped.recv_timeout(Duration::from_millis(pause));
                    if waited != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            })?;
        Ok(Self {
            platform,
            thread: Some((stop, thread)),
        })
    }

    /// Fair from now on.
    pub(super) fn clear(&mut self) -> anyhow::Result<()> {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            let joined = thread.join();
            joined.map_err(|_| anyhow::anyhow!("the weather panicked"))?;
        }
        self.platform.set_fault(Fault::None);
        self.platform.set_network(true)?;
        Ok(())
    }

    /// Ends the platform.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        // The thread holds it too until it has ended; the last owner stops it.
        self.clear()
    }
}

impl Drop for Weather {
    fn drop(&mut self) {
        let _is_clear = self.clear().is_ok();
    }
}

fn turn(platform: &Platform, random: &mut Random) {
    let chosen = random.below(100);
    let fault = match chosen {
        45..65 => Fault::DropAfterCommit,
        65..72 => Fault::Slow { ms: 30 },
        72..78 => Fault::Burst {
            requests: 3,
            status: 503,
        },
        78..82 => Fault::HalfClosed,
        82..85 => Fault::ReorderedResults,
        85..88 => Fault::DoubledResults,
        88..90 => Fault::AcceptTwice,
        _ => Fault::None,
    };
    platform.set_fault(fault);
    // A port that cannot be listened on again stays down until the next turn.
    let _is_set = platform.set_network(chosen < 90).is_ok();
}
