//! New ids.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use stepwell_core::{Id, Run};

use crate::clock;

const POOL: usize = 4096;

/// How many times this process is a child of `fork`, counted from the first import.
static FORKS: AtomicU64 = AtomicU64::new(0);

struct Inner {
    forks: u64,
    source: stepwell_core::IdSource,
    pool: Box<[u8; POOL]>,
    used: usize,
}

impl Inner {
    fn new() -> Inner {
        Inner {
            forks: FORKS.load(Ordering::Relaxed),
            source: stepwell_core::IdSource::default(),
            pool: Box::new([0; POOL]),
            used: POOL,
        }
    }
}

fn draw(inner: &mut Inner, ms: i64, count: Option<u32>) -> PyResult<Id> {
    if inner.forks != FORKS.load(Ordering::Relaxed) {
        *inner = Inner::new(); // the parent goes on with what was there
    }
    let (pool, used) = (&mut inner.pool, &mut inner.used);
    let mut failed = None;
    let random = |bytes: &mut [u8]| {
        if *used + bytes.len() > POOL {
            failed = getrandom::fill(&mut pool[..]).err();
            *used = 0;
        }
        bytes.copy_from_slice(&pool[*used..*used + bytes.len()]);
        *used += bytes.len();
    };
    let id = match count {
        None => inner.source.next(ms, random),
        Some(count) => inner.source.reserve(ms, count, random),
    };
    match failed {
        None => Ok(id),
        Some(error) => {
            *inner = Inner::new();
            Err(pyo3::exceptions::PyOSError::new_err(format!("no random numbers: {error}")))
        }
    }
}

static PROCESS: LazyLock<Mutex<Inner>> = LazyLock::new(|| Mutex::new(Inner::new()));

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    // Held for a moment and never over anything that can fail half way.
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A new id of the process's source, at this time in UTC ns.
pub fn new_id(at: i64) -> PyResult<Id> {
    draw(&mut lock(&PROCESS), at / 1_000_000, None)
}

/// An id that no other append of this or another process has.
pub fn new_action_id() -> PyResult<[u8; 16]> {
    Ok(new_id(clock::now())?.bytes())
}

/// So many consecutive ones.
pub fn new_run(at: i64, count: u32) -> PyResult<Run> {
    Ok((draw(&mut lock(&PROCESS), at / 1_000_000, Some(count))?, count))
}

/// Makes every source start afresh, in a child of `fork`.
#[pyfunction]
pub fn reseed() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Makes ids: `source("step")` is a new `step_…`. Each is greater than the one before.
///
/// An id has the time in ms, then 74 random bits; within one millisecond the last 40 of them count up by random steps.
/// In a child of `fork` every source starts afresh.
#[pyclass(frozen, module = "stepwell")]
pub struct IdSource {
    own: Option<Mutex<Inner>>,
}

impl IdSource {
    /// The source of the process as an object.
    pub fn process() -> IdSource {
        IdSource { own: None }
    }

    fn inner(&self) -> &Mutex<Inner> {
        self.own.as_ref().unwrap_or(&PROCESS)
    }
}

#[pymethods]
impl IdSource {
    #[new]
    fn new() -> IdSource {
        IdSource { own: Some(Mutex::new(Inner::new())) }
    }

    /// A new id with this prefix.
    #[pyo3(signature = (prefix))]
    fn __call__(&self, prefix: &str) -> PyResult<String> {
        Ok(draw(&mut lock(self.inner()), clock::now() / 1_000_000, None)?.text(prefix))
    }

    /// The first of `count` consecutive new ids with this prefix.
    fn reserve(&self, prefix: &str, count: u32) -> PyResult<String> {
        Ok(draw(&mut lock(self.inner()), clock::now() / 1_000_000, Some(count))?.text(prefix))
    }

    fn __repr__(&self) -> &'static str {
        "IdSource()"
    }
}
