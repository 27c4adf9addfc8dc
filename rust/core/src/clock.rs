//! UTC as a monotonic clock plus an offset that only grows.

use std::sync::atomic::{AtomicI64, Ordering};

/// How often the anchor is compared with the wall clock, and by how much it may be off, in ns.
pub const CHECK_NS: i64 = 1_000_000_000;

/// The anchor of UTC to a monotonic clock.
#[derive(Debug)]
pub struct Anchor {
    offset: AtomicI64,
    check: AtomicI64,
}

impl Anchor {
    pub fn new(mono: i64, wall: i64) -> Anchor {
        Anchor { offset: AtomicI64::new(wall - mono), check: AtomicI64::new(mono + CHECK_NS) }
    }

    /// The time for a reading of the monotonic clock; now and then it looks at the wall clock too, and follows it when
    /// that is more than a second ahead. It never goes back.
    pub fn utc(&self, mono: i64, wall: impl FnOnce() -> i64) -> i64 {
        if mono >= self.check.load(Ordering::Relaxed) {
            self.check.store(mono + CHECK_NS, Ordering::Relaxed);
            let offset = wall() - mono;
            if offset - self.offset.load(Ordering::Relaxed) > CHECK_NS {
                self.offset.fetch_max(offset, Ordering::Relaxed);
            }
        }
        mono + self.offset.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_a_wall_clock_that_is_ahead() {
        let anchor = Anchor::new(0, 1_000);
        assert_eq!(
            anchor.utc(5, || 9_999_999_999),
            1_005,
            "not looked at before a second has passed"
        );
        assert_eq!(anchor.utc(CHECK_NS, || CHECK_NS * 9), CHECK_NS * 9);
    }

    #[test]
    fn never_goes_back() {
        let anchor = Anchor::new(0, CHECK_NS * 100);
        let before = anchor.utc(CHECK_NS, || 0);
        assert_eq!(before, CHECK_NS * 101);
        assert!(anchor.utc(CHECK_NS * 2, || 5) > before);
    }

    #[test]
    fn small_differences_are_ignored() {
        let anchor = Anchor::new(0, 0);
        assert_eq!(anchor.utc(CHECK_NS, || CHECK_NS + CHECK_NS / 2), CHECK_NS);
    }
}
