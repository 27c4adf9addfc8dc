//! The system's clock: UTC, anchored once to the monotonic clock.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;
use stepwell_core::clock::Anchor;

fn wall() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

struct Source {
    start: Instant,
    anchor: Anchor,
}

impl Source {
    fn new() -> Source {
        Source { start: Instant::now(), anchor: Anchor::new(0, wall()) }
    }

    fn now(&self) -> i64 {
        self.anchor.utc(self.start.elapsed().as_nanos() as i64, wall)
    }
}

static PROCESS: LazyLock<Source> = LazyLock::new(Source::new);

/// The time of the process's clock, in UTC ns.
pub fn now() -> i64 {
    PROCESS.now()
}

/// UTC that never runs backwards within a process: the wall clock read once, then the monotonic clock.
///
/// When the wall clock is more than a second ahead (after a suspend, or when it was set) this clock follows it; it
/// never goes back. Differences between its times therefore ignore jumps of the wall clock.
#[pyclass(frozen, module = "stepwell")]
pub struct SystemClock {
    source: Source,
}

#[pymethods]
impl SystemClock {
    #[new]
    fn new() -> SystemClock {
        SystemClock { source: Source::new() }
    }

    /// The time in UTC ns since 1970.
    fn now_ns(&self) -> i64 {
        self.source.now()
    }

    fn __repr__(&self) -> &'static str {
        "SystemClock()"
    }
}
