//! How fast chunks may be fetched, so that an update leaves the village's line to the village. A
//! bucket of tokens without the tokens: it keeps the moment at which everything taken so far is paid
//! for. Time is an argument.

use std::time::Duration;

/// A cap on bytes a second, with a burst.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    bytes_per_s: u64,
    burst: Duration,
    paid_at: Duration,
}

impl Limit {
    /// A cap of so many bytes a second, at least one, of which `burst_bytes` may come at once.
    pub fn new(bytes_per_s: u64, burst_bytes: u64) -> Self {
        let bytes_per_s = bytes_per_s.max(1);
        Self {
            bytes_per_s,
            burst: length(burst_bytes, bytes_per_s),
            paid_at: Duration::ZERO,
        }
    }

    /// Takes so many bytes at `now`, counted from any fixed moment, and says how long to wait before
    /// they are fetched.
    pub fn take(&mut self, bytes: u64, now: Duration) -> Duration {
        let paid_at = self.paid_at.max(now.saturating_sub(self.burst));
        self.paid_at = paid_at.saturating_add(length(bytes, self.bytes_per_s));
        self.paid_at.saturating_sub(now)
    }
}

fn length(bytes: u64, bytes_per_s: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_s);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_holds_over_any_time_but_for_one_burst() {
        let mut limit = Limit::new(10_000, 20_000);
        let mut now = Duration::from_secs(100);
        let began = now;
        let mut bytes = 0;
        for round in 0..500_u64 {
            let piece = 1 + round * 37 % 9000;
            now += limit.take(piece, now);
            bytes += piece;
            let most =
                20_000 + u128::from(10_000_u32) * now.saturating_sub(began).as_millis() / 1000 + 10;
            assert!(
                u128::from(bytes) <= most,
                "{bytes} bytes in {:?}",
                now.saturating_sub(began)
            );
        }
        // And what may be taken is taken.
        assert!(now.saturating_sub(began).as_secs() <= bytes / 10_000 + 1);
    }

    #[test]
    fn what_was_not_used_is_saved_up_to_the_burst() {
        let mut limit = Limit::new(1000, 5000);
        let later = Duration::from_hours(5);
        assert_eq!(limit.take(5000, later), Duration::ZERO);
        assert_eq!(limit.take(1000, later), Duration::from_secs(1));
    }

    #[test]
    fn absurd_amounts_do_not_overflow() {
        let mut limit = Limit::new(0, u64::MAX);
        let _wait = limit.take(u64::MAX, Duration::MAX);
        let _wait = limit.take(u64::MAX, Duration::ZERO);
    }
}
