//! What is to be told on one event loop: filled by the threads of stores, which never wait for the interpreter, and
//! emptied by the loop itself, which a byte in a pipe wakes.

use std::collections::VecDeque;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use pyo3::exceptions::{PyException, PyNotImplementedError};
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};

use crate::awaiting::Await;

/// How many are told in one turn of a loop, so that its other work is not held up.
const AT_ONCE: usize = 64;

/// What there is to do when an outcome is known.
pub enum Call {
    /// To call a listener with the ticket.
    Tell(Py<PyAny>, Py<PyAny>),
    /// To go on with what waits.
    Resume(Py<Await>),
}

impl Call {
    /// What is raised is reported, as Python does with errors that nobody can be told of, unless it ends the loop.
    fn make(self, py: Python<'_>) -> PyResult<()> {
        let (made, about) = match self {
            Call::Tell(listener, ticket) => (listener.call1(py, (ticket,)).map(drop), listener),
            Call::Resume(wait) => (Await::resume(wait.bind(py)), wait.into_any()),
        };
        match made {
            Err(error) if error.is_instance_of::<PyException>(py) => {
                error.write_unraisable(py, Some(about.bind(py)));
                Ok(())
            }
            made => made,
        }
    }
}

/// The side of a mailbox that threads of stores know.
pub struct Post {
    calls: Mutex<VecDeque<Call>>,
    /// Whether there is a byte in the pipe.
    armed: AtomicBool,
    writer: PipeWriter,
}

impl Post {
    fn calls(&self) -> MutexGuard<'_, VecDeque<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn put(&self, calls: impl IntoIterator<Item = Call>) {
        self.calls().extend(calls);
    }

    fn take(&self) -> Option<Call> {
        self.calls().pop_front()
    }

    /// Wakes the loop, once for all that was put.
    pub fn ring(&self) {
        if !self.armed.swap(true, Ordering::AcqRel) {
            // The pipe is empty, so this does not wait; where the loop is gone nobody is left to tell.
            let _ = (&self.writer).write(&[1]);
        }
    }
}

/// What is to be told on one event loop. The loop is woken once for all of it.
#[pyclass(frozen, weakref, module = "stepwell._native")]
pub struct Mailbox {
    post: Arc<Post>,
    reader: PipeReader,
    /// A weak reference to the loop, where it cannot watch a pipe: then a thread does.
    by_hand: OnceLock<Py<PyAny>>,
    /// As many hold it, beside the mailbox, as wait on the loop.
    waiting: Arc<()>,
}

/// The mailboxes of the loops that wait for stores, few at any time.
static MAILBOXES: Mutex<Vec<(Py<PyWeakrefReference>, Py<Mailbox>)>> = Mutex::new(Vec::new());

fn mailboxes() -> MutexGuard<'static, Vec<(Py<PyWeakrefReference>, Py<Mailbox>)>> {
    MAILBOXES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mailbox {
    /// That of this loop, which runs in this thread.
    pub fn of(target: &Bound<'_, PyAny>) -> PyResult<Py<Mailbox>> {
        let py = target.py();
        let is_it = |weak: &Py<PyWeakrefReference>| {
            weak.bind(py).upgrade().is_some_and(|found| found.is(target))
        };
        let known =
            mailboxes().iter().find(|(weak, _)| is_it(weak)).map(|each| each.1.clone_ref(py));
        match known {
            Some(mailbox) => Ok(mailbox),
            None => Mailbox::make(target),
        }
    }

    /// A new one, and those of loops that are gone are let go.
    fn make(target: &Bound<'_, PyAny>) -> PyResult<Py<Mailbox>> {
        let py = target.py();
        let made = Mailbox::watching(target)?;
        let weak = PyWeakrefReference::new(target)?.unbind();
        let known: Vec<_> = mailboxes().iter().map(|(weak, _)| weak.clone_ref(py)).collect();
        let is_over = |weak: &Py<PyWeakrefReference>| match weak.bind(py).upgrade() {
            Some(found) => found
                .call_method0("is_closed")
                .is_ok_and(|closed| closed.is_truthy().unwrap_or(false)),
            None => true,
        };
        let over: Vec<_> = known.into_iter().filter(is_over).collect();
        let mut all = mailboxes();
        let (gone, mut kept): (Vec<_>, Vec<_>) =
            all.drain(..).partition(|(weak, _)| over.iter().any(|each| each.is(weak)));
        kept.push((weak, made.clone_ref(py)));
        *all = kept;
        drop(all);
        drop(gone); // whatever is in there may run when it goes
        Ok(made)
    }

    fn watching(target: &Bound<'_, PyAny>) -> PyResult<Py<Mailbox>> {
        let py = target.py();
        let (reader, writer) = std::io::pipe()?;
        let post =
            Arc::new(Post { calls: Mutex::default(), armed: AtomicBool::new(false), writer });
        let made = Mailbox { post, reader, by_hand: OnceLock::new(), waiting: Arc::default() };
        let mailbox = Py::new(py, made)?;
        let drain = mailbox.getattr(py, "drain")?;
        match watch(target, &mailbox.get().reader, &drain) {
            Ok(()) => Ok(mailbox),
            Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => {
                let weak = PyWeakrefReference::new(target)?.unbind().into_any();
                // It was just made, so nothing is in there.
                let _ = mailbox.get().by_hand.set(weak.clone_ref(py));
                let reader = mailbox.get().reader.try_clone()?;
                let weakly = PyWeakrefReference::new(mailbox.bind(py))?.unbind().into_any();
                std::thread::Builder::new()
                    .name("stepwell-mailbox".to_owned())
                    .spawn(move || carry(&reader, &weak, &weakly))?;
                Ok(mailbox)
            }
            Err(error) => Err(error),
        }
    }

    pub fn post(&self) -> &Arc<Post> {
        &self.post
    }

    /// What one holds who waits on the loop.
    pub fn joined(&self) -> Arc<()> {
        Arc::clone(&self.waiting)
    }

    /// Whether at most one waits on the loop.
    pub fn is_quiet(&self) -> bool {
        Arc::strong_count(&self.waiting) <= 2
    }

    /// Takes the byte out of the pipe when nothing is left; whether there is more.
    fn rest(&self) -> bool {
        let calls = self.post.calls();
        let was_armed = calls.is_empty() && self.post.armed.swap(false, Ordering::AcqRel);
        if was_armed && self.by_hand.get().is_none() {
            // There is a byte, or one is just coming: whoever armed it writes it at once.
            let _ = (&self.reader).read(&mut [0]);
        }
        !calls.is_empty()
    }
}

#[pymethods]
impl Mailbox {
    /// Tells some of those who wait, and has itself called again where there are more.
    fn drain(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let mailbox = slf.get();
        let mut made = Ok(());
        // One by one: whatever they do, the others are still there to be told.
        for _ in 0..AT_ONCE {
            let Some(call) = mailbox.post.take() else { break };
            made = call.make(py);
            if made.is_err() {
                break;
            }
        }
        let more = mailbox.rest();
        if let Some(weak) = mailbox.by_hand.get().filter(|_| more) {
            let target = weak.call0(py)?;
            if !target.is_none(py) {
                target.call_method1(py, "call_soon", (slf.getattr("drain")?,))?;
            }
        }
        made
    }
}

/// Has the loop call `drain` while there is a byte in the pipe.
#[cfg(unix)]
fn watch(target: &Bound<'_, PyAny>, reader: &PipeReader, drain: &Py<PyAny>) -> PyResult<()> {
    use std::os::fd::AsRawFd;
    target.call_method1("add_reader", (reader.as_raw_fd(), drain)).map(drop)
}

#[cfg(not(unix))]
fn watch(_: &Bound<'_, PyAny>, _: &PipeReader, _: &Py<PyAny>) -> PyResult<()> {
    Err(PyNotImplementedError::new_err("pipes are not watched here"))
}

/// Carries each byte of the pipe to the loop, until the mailbox or the interpreter is gone.
fn carry(mut reader: &PipeReader, weak: &Py<PyAny>, mailbox: &Py<PyAny>) {
    while matches!(reader.read(&mut [0]), Ok(1)) {
        let told = Python::try_attach(|py| -> PyResult<bool> {
            let (target, mailbox) = (weak.call0(py)?, mailbox.call0(py)?);
            if target.is_none(py) || mailbox.is_none(py) {
                return Ok(false);
            }
            let drain = mailbox.getattr(py, "drain")?;
            target.call_method1(py, "call_soon_threadsafe", (drain,)).map(|_| true)
        });
        if !matches!(told, Some(Ok(true))) {
            return;
        }
    }
}
