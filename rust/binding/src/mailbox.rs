//! What is to be told on one event loop: filled by the threads of stores, which never wait for the interpreter, and
//! emptied by the loop itself, which a byte in a pipe wakes.

use std::collections::VecDeque;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use pyo3::exceptions::PyNotImplementedError;
use pyo3::intern;
use pyo3::prelude::*;

/// How many are told in one turn of a loop, so that its other work is not held up.
const AT_ONCE: usize = 64;

/// What there is to do when an outcome is known.
pub enum Call {
    /// To call a listener with the ticket.
    Tell(Py<PyAny>, Py<PyAny>),
    /// To end the wait of a future.
    Wake(Py<PyAny>),
}

impl Call {
    fn make(self, py: Python<'_>) {
        let made = match &self {
            Call::Tell(listener, ticket) => listener.call1(py, (ticket,)).map(drop),
            Call::Wake(future) => wake(future.bind(py)),
        };
        if let Err(error) = made {
            let (Call::Tell(about, _) | Call::Wake(about)) = &self;
            error.write_unraisable(py, Some(about.bind(py)));
        }
    }
}

fn wake(future: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = future.py();
    if !future.call_method0(intern!(py, "done"))?.is_truthy()? {
        future.call_method1(intern!(py, "set_result"), (py.None(),))?;
    }
    Ok(())
}

/// The side of a mailbox that threads of stores know.
pub struct Post {
    calls: Mutex<VecDeque<Call>>,
    /// Whether there is a byte in the pipe.
    armed: AtomicBool,
    writer: PipeWriter,
}

impl Post {
    pub fn put(&self, call: Call) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push_back(call);
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
}

impl Mailbox {
    pub fn post(&self) -> &Arc<Post> {
        &self.post
    }

    /// Some of the calls, and whether there are more.
    fn take(&self) -> (Vec<Call>, bool) {
        let mut calls = self.post.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let count = calls.len().min(AT_ONCE);
        let taken = calls.drain(..count).collect();
        let was_armed = calls.is_empty() && self.post.armed.swap(false, Ordering::AcqRel);
        if was_armed && self.by_hand.get().is_none() {
            // There is a byte, or one is just coming: whoever armed it writes it at once.
            let _ = (&self.reader).read(&mut [0]);
        }
        (taken, !calls.is_empty())
    }
}

#[pymethods]
impl Mailbox {
    #[new]
    fn new(r#loop: &Bound<'_, PyAny>) -> PyResult<Py<Mailbox>> {
        let py = r#loop.py();
        let (reader, writer) = std::io::pipe()?;
        let post =
            Arc::new(Post { calls: Mutex::default(), armed: AtomicBool::new(false), writer });
        let mailbox = Py::new(py, Mailbox { post, reader, by_hand: OnceLock::new() })?;
        let drain = mailbox.getattr(py, "drain")?;
        match watch(r#loop, &mailbox.get().reader, &drain) {
            Ok(()) => Ok(mailbox),
            Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => {
                let weak = py.import("weakref")?.call_method1("ref", (r#loop,))?.unbind();
                // It was just made, so nothing is in there.
                let _ = mailbox.get().by_hand.set(weak.clone_ref(py));
                let reader = mailbox.get().reader.try_clone()?;
                let weakly = py.import("weakref")?.call_method1("ref", (&mailbox,))?.unbind();
                std::thread::Builder::new()
                    .name("stepwell-mailbox".to_owned())
                    .spawn(move || carry(&reader, &weak, &weakly))?;
                Ok(mailbox)
            }
            Err(error) => Err(error),
        }
    }

    /// Tells some of those who wait, and has itself called again where there are more.
    fn drain(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let mailbox = slf.get();
        let (calls, more) = mailbox.take();
        if let Some(weak) = mailbox.by_hand.get().filter(|_| more) {
            let target = weak.call0(py)?;
            if !target.is_none(py) {
                target.call_method1(py, "call_soon", (slf.getattr("drain")?,))?;
            }
        }
        for call in calls {
            call.make(py);
        }
        Ok(())
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
