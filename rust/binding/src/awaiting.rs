//! One `await` of a ticket: what an event loop's task waits for, without a future of its own in between.
//!
//! To a task it is a future, as asyncio knows them by `_asyncio_future_blocking`; when the outcome is known, the mailbox
//! of the loop lets the task go on at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyBaseException, PyRuntimeError, PyStopIteration};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::bridge::Import;
use crate::mailbox::{Call, Mailbox};
use crate::ticket::Ticket;

/// To wake a loop that sleeps takes as long as a small commit. One that waits for nothing else of the store turns round
/// a little while instead, with whatever else it has to do.
const LOOKING: Duration = Duration::from_micros(300);

static RUNNING: Import = Import::new("asyncio", "get_running_loop");
static CONTEXT: Import = Import::new("contextvars", "copy_context");
static CANCELLED: Import = Import::new("asyncio", "CancelledError");
static NOT_SET: Import = Import::new("asyncio", "InvalidStateError");

/// The loop that it is awaited on.
struct Turn {
    target: Py<PyAny>,
    mailbox: Py<Mailbox>,
    /// Counts those who wait on the loop.
    _joined: Arc<()>,
    /// Until when the loop turns round, if it does.
    until: Option<Instant>,
    is_parked: bool,
}

#[derive(Default)]
struct State {
    turn: Option<Turn>,
    is_over: bool,
    is_resumed: bool,
    cancelled: Option<Option<Py<PyAny>>>,
    callbacks: Vec<(Py<PyAny>, Py<PyAny>)>,
}

#[pyclass(frozen, module = "stepwell._native")]
pub struct Await {
    ticket: Py<Ticket>,
    blocking: AtomicBool,
    state: Mutex<State>,
}

impl Await {
    pub fn new(ticket: Py<Ticket>) -> Await {
        Await { ticket, blocking: AtomicBool::new(false), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has what waits go on.
    pub fn resume(slf: &Bound<'_, Self>) -> PyResult<()> {
        let callbacks = {
            let mut state = slf.get().state();
            state.is_resumed = true;
            std::mem::take(&mut state.callbacks)
        };
        for (callback, context) in callbacks {
            context.bind(slf.py()).call_method1(intern!(slf.py(), "run"), (callback, slf))?;
        }
        Ok(())
    }

    /// Ends the wait: whoever waits on the loop counts one less.
    fn leave(&self) {
        let turn = {
            let mut state = self.state();
            state.is_over = true;
            state.turn.take()
        };
        drop(turn);
    }

    /// The outcome, as an iterator returns it.
    fn finish(&self, py: Python<'_>) -> PyErr {
        self.leave();
        match self.ticket.get().result(py) {
            Ok(value) => {
                let bound = value.bind(py);
                // Either would be taken for the arguments or for the exception itself.
                let special =
                    bound.is_instance_of::<PyTuple>() || bound.is_instance_of::<PyBaseException>();
                if special {
                    PyStopIteration::new_err((value,))
                } else {
                    PyStopIteration::new_err(value)
                }
            }
            Err(error) => error,
        }
    }

    /// Begins to wait on the loop that runs, and says whether it turns round for this.
    fn begin(&self, py: Python<'_>) -> PyResult<bool> {
        let target = RUNNING.get(py)?.call0()?;
        let mailbox = Mailbox::of(&target)?;
        let joined = mailbox.get().joined();
        let until = mailbox.get().is_quiet().then(|| Instant::now() + LOOKING);
        let turn =
            Turn { target: target.unbind(), mailbox, _joined: joined, until, is_parked: false };
        self.state().turn = Some(turn);
        Ok(until.is_some())
    }

    /// Leaves word in the mailbox; `false` where the outcome is known by now.
    fn park(slf: &Bound<'_, Self>) -> bool {
        let py = slf.py();
        let this = slf.get();
        let mailbox = {
            let mut state = this.state();
            let Some(turn) = &mut state.turn else { return false };
            turn.is_parked = true;
            turn.mailbox.clone_ref(py)
        };
        this.blocking.store(true, Ordering::Relaxed);
        let call = Call::Resume(slf.clone().unbind());
        this.ticket.get().tell(mailbox.get().post(), call).is_none()
    }
}

#[pymethods]
impl Await {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(slf: &Bound<'_, Self>) -> PyResult<Option<Py<PyAny>>> {
        let py = slf.py();
        let this = slf.get();
        let (is_over, turn) = {
            let state = this.state();
            let turn = state.turn.as_ref().map(|turn| (turn.is_parked, turn.until));
            (state.is_over, turn)
        };
        if is_over {
            return Ok(None);
        }
        if this.ticket.get().is_done() {
            return Err(this.finish(py));
        }
        match turn {
            Some((true, _)) => {
                return Err(PyRuntimeError::new_err("await wasn't used with future"));
            }
            Some((false, until)) => {
                let quiet =
                    || this.state().turn.as_ref().is_some_and(|turn| turn.mailbox.get().is_quiet());
                if until.is_some_and(|until| Instant::now() < until) && quiet() {
                    return Ok(Some(py.None()));
                }
            }
            None => {
                if this.begin(py)? {
                    return Ok(Some(py.None()));
                }
            }
        }
        if Await::park(slf) {
            return Ok(Some(slf.clone().into_any().unbind()));
        }
        Err(this.finish(py))
    }

    fn send(slf: &Bound<'_, Self>, _value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        Await::__next__(slf)?.ok_or_else(|| PyStopIteration::new_err(()))
    }

    #[pyo3(signature = (kind, value = None, traceback = None))]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<Bound<'_, PyAny>>,
        traceback: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        self.leave();
        let raised = match value {
            Some(value) if value.is_instance_of::<PyBaseException>() => value,
            Some(value) if kind.is_instance_of::<PyType>() => kind.call1((value,))?,
            None if kind.is_instance_of::<PyType>() => kind.call0()?,
            _ => kind.clone(),
        };
        if let Some(traceback) = traceback {
            raised.setattr("__traceback__", traceback)?;
        }
        Err(PyErr::from_value(raised))
    }

    fn close(&self) {
        self.leave();
    }

    // --- what a task asks of a future -----------------------------------------------------------------------------

    #[getter(_asyncio_future_blocking)]
    fn blocking(&self) -> bool {
        self.blocking.load(Ordering::Relaxed)
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, blocking: bool) {
        self.blocking.store(blocking, Ordering::Relaxed);
    }

    fn get_loop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let found = self.state().turn.as_ref().map(|turn| turn.target.clone_ref(py));
        found.ok_or_else(|| PyRuntimeError::new_err("nobody waits"))
    }

    #[pyo3(signature = (callback, *, context = None))]
    fn add_done_callback(
        slf: &Bound<'_, Self>,
        callback: Py<PyAny>,
        context: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let context = match context {
            Some(context) => context,
            None => CONTEXT.get(py)?.call0()?.unbind(),
        };
        let mut state = slf.get().state();
        if state.is_resumed || state.cancelled.is_some() {
            drop(state);
            return soon(slf, &callback, &context);
        }
        state.callbacks.push((callback, context));
        Ok(())
    }

    /// Nothing of the request is: only this wait for it ends.
    #[pyo3(signature = (msg = None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        let callbacks = {
            let mut state = slf.get().state();
            if state.is_resumed || state.is_over || state.cancelled.is_some() {
                return Ok(false);
            }
            state.cancelled = Some(msg);
            std::mem::take(&mut state.callbacks)
        };
        for (callback, context) in callbacks {
            soon(slf, &callback, &context)?;
        }
        Ok(true)
    }

    fn result(&self, py: Python<'_>) -> PyResult<()> {
        let (cancelled, is_resumed) = {
            let state = self.state();
            let message = state.cancelled.as_ref();
            (message.map(|msg| msg.as_ref().map(|msg| msg.clone_ref(py))), state.is_resumed)
        };
        let raised = match cancelled {
            Some(Some(message)) => CANCELLED.get(py)?.call1((message,))?,
            Some(None) => CANCELLED.get(py)?.call0()?,
            None if is_resumed => return Ok(()),
            None => NOT_SET.get(py)?.call1(("Result is not set.",))?,
        };
        Err(PyErr::from_value(raised))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.ticket)?;
        // Where somebody is just at it, it is in use.
        let Ok(state) = self.state.try_lock() else { return Ok(()) };
        if let Some(turn) = &state.turn {
            visit.call(&turn.target)?;
            visit.call(&turn.mailbox)?;
        }
        for (callback, context) in &state.callbacks {
            visit.call(callback)?;
            visit.call(context)?;
        }
        match &state.cancelled {
            Some(Some(message)) => visit.call(message),
            _ => Ok(()),
        }
    }

    fn __clear__(&self) {
        let state = std::mem::take(&mut *self.state());
        drop(state);
    }
}

/// Has the loop make the callback in a later turn.
fn soon(slf: &Bound<'_, Await>, callback: &Py<PyAny>, context: &Py<PyAny>) -> PyResult<()> {
    let py = slf.py();
    let target = slf.get().get_loop(py)?;
    let named = PyDict::new(py);
    named.set_item("context", context)?;
    target.bind(py).call_method("call_soon", (callback, slf), Some(&named)).map(drop)
}
