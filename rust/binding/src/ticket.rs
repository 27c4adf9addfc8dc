//! What an engine makes known to those who wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyTimeoutError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFloat, PyInt, PyList, PyString, PyTuple};
use stepwell_store::{Answer, Row, Value, Waiter};

use crate::bridge::Import;
use crate::mailbox::{Call, Mailbox, Post};

/// How long a thread waits before it looks whether a signal came.
const PATIENCE: Duration = Duration::from_millis(50);
const LOOKING: Duration = Duration::from_micros(300);

static FAILURE: Import = Import::new("stepwell.trouble", "store_failure");
static NOT_DONE: Import = Import::new("stepwell.trouble", "not_done");

#[derive(Default)]
struct State {
    answer: Option<Arc<Answer>>,
    listeners: Vec<(Arc<Post>, Call)>,
}

/// One request's outcome, as the thread of the store knows it.
#[derive(Default)]
pub struct Slot {
    state: Mutex<State>,
    known: Condvar,
    done: AtomicBool,
    /// The file, for the words of an error.
    path: OnceLock<Arc<str>>,
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn belongs_to(&self, path: &Arc<str>) {
        // A ticket is used for one request; of a second one this stays.
        let _ = self.path.set(Arc::clone(path));
    }
}

/// A slot to be filled by an engine.
pub struct Waiting(pub Arc<Slot>);

impl Waiter for Waiting {
    fn settle(answers: Vec<(Waiting, Answer)>) {
        let mut posts: Vec<Arc<Post>> = Vec::new();
        for (Waiting(slot), answer) in answers {
            let mut state = slot.state();
            state.answer = Some(Arc::new(answer));
            let listeners = std::mem::take(&mut state.listeners);
            drop(state);
            slot.done.store(true, Ordering::Release);
            slot.known.notify_all();
            for (post, call) in listeners {
                post.put(call);
                if !posts.iter().any(|known| Arc::ptr_eq(known, &post)) {
                    posts.push(post);
                }
            }
        }
        for post in posts {
            post.ring();
        }
    }
}

/// One request's outcome, to come.
#[pyclass(frozen, subclass, weakref, module = "stepwell._native")]
pub struct Ticket {
    slot: Arc<Slot>,
    value: Py<PyAny>,
    finish: Option<Py<PyAny>>,
}

impl Ticket {
    /// What the engine fills.
    pub fn slot(&self) -> Arc<Slot> {
        Arc::clone(&self.slot)
    }
}

#[pymethods]
impl Ticket {
    #[new]
    #[pyo3(signature = (value = None, finish = None))]
    fn new(py: Python<'_>, value: Option<Py<PyAny>>, finish: Option<Py<PyAny>>) -> Ticket {
        Ticket { slot: Arc::default(), value: value.unwrap_or_else(|| py.None()), finish }
    }

    /// Whether the outcome is known.
    #[getter]
    fn done(&self) -> bool {
        self.slot.done.load(Ordering::Acquire)
    }

    /// The outcome of a finished request, or its error raised. Raises `ValidationError` before that.
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let answer = self.slot.state().answer.clone();
        let Some(answer) = answer else {
            return NOT_DONE.get(py)?.call0().map(Bound::unbind);
        };
        let outcome = match &*answer {
            Answer::Changed => return Ok(self.value.clone_ref(py)),
            Answer::Trouble(trouble) => {
                let path = self.slot.path.get().map_or("", |path| path);
                let words = (trouble.code, path, &trouble.detail, trouble.seconds);
                return Err(PyErr::from_value(FAILURE.get(py)?.call1(words)?));
            }
            answer => outcome(py, answer)?,
        };
        match &self.finish {
            Some(finish) => finish.call1(py, (outcome,)),
            None => Ok(self.value.clone_ref(py)),
        }
    }

    /// Blocks until the outcome is known. Raises the request's error, or `TimeoutError` after `timeout` seconds.
    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        let given = timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
        let until = given.and_then(|given| Instant::now().checked_add(given));
        if py.detach(|| self.look()) {
            return self.result(py);
        }
        while !py.detach(|| self.wait_a_while(until)) {
            py.check_signals()?;
            if until.is_some_and(|until| Instant::now() >= until) {
                let shown = PyFloat::new(py, timeout.unwrap_or_default());
                let text = shown.call_method1("__format__", ("g",))?;
                let message = format!("the store did not answer within {text} s");
                return Err(PyTimeoutError::new_err(message));
            }
        }
        self.result(py)
    }

    /// Has `listener` called with this ticket on the loop of the mailbox, soon after the outcome is known.
    fn listen(slf: &Bound<'_, Self>, mailbox: &Bound<'_, Mailbox>, listener: Py<PyAny>) {
        let call = Call::Tell(listener, slf.clone().into_any().unbind());
        slf.get().then(mailbox, call);
    }

    /// Has the wait of a future of that loop ended when the outcome is known, unless it has ended by then.
    fn wake(&self, mailbox: &Bound<'_, Mailbox>, future: Py<PyAny>) {
        self.then(mailbox, Call::Wake(future));
    }
}

impl Ticket {
    fn then(&self, mailbox: &Bound<'_, Mailbox>, call: Call) {
        let post = mailbox.get().post();
        let mut state = self.slot.state();
        if state.answer.is_none() {
            state.listeners.push((Arc::clone(post), call));
            return;
        }
        drop(state);
        post.put(call);
        post.ring();
    }
}

impl Ticket {
    /// Looks for the outcome a little while.
    fn look(&self) -> bool {
        stepwell_store::look(LOOKING, || self.slot.done.load(Ordering::Acquire).then_some(()))
            .is_some()
    }

    /// Whether the outcome is known, at once or soon.
    fn wait_a_while(&self, until: Option<Instant>) -> bool {
        let left = until.map_or(PATIENCE, |until| until.saturating_duration_since(Instant::now()));
        let open = |state: &mut State| state.answer.is_none();
        let waited =
            self.slot.known.wait_timeout_while(self.slot.state(), left.min(PATIENCE), open);
        waited.unwrap_or_else(PoisonError::into_inner).0.answer.is_some()
    }
}

fn outcome<'py>(py: Python<'py>, answer: &Answer) -> PyResult<Bound<'py, PyAny>> {
    Ok(match answer {
        Answer::Rows(found) => rows(py, found)?.into_any(),
        Answer::Missing | Answer::Changed | Answer::Trouble(_) => py.None().into_bound(py),
        Answer::Joined(None) => PyTuple::empty(py).into_any(),
        Answer::Joined(Some((last, all))) => {
            let last = PyInt::new(py, *last).into_any();
            let bytes = PyBytes::new_with(py, all.joined_len(), |into| {
                all.join_into(into);
                Ok(())
            })?;
            PyTuple::new(py, [last, bytes.into_any()])?.into_any()
        }
        Answer::Counts(counts) => PyList::new(py, counts)?.into_any(),
        Answer::Refused(found) => {
            let found = found.iter().map(|found| rows(py, found)).collect::<PyResult<Vec<_>>>()?;
            PyList::new(py, found)?.into_any()
        }
    })
}

fn rows<'py>(py: Python<'py>, found: &[Row]) -> PyResult<Bound<'py, PyList>> {
    let rows = found.iter().map(|row| {
        let values = row.iter().map(|each| value(py, each)).collect::<PyResult<Vec<_>>>()?;
        PyTuple::new(py, values)
    });
    PyList::new(py, rows.collect::<PyResult<Vec<_>>>()?)
}

fn value<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Int(number) => PyInt::new(py, *number).into_any(),
        Value::Real(number) => PyFloat::new(py, *number).into_any(),
        Value::Text(text) => PyString::from_bytes(py, text.as_bytes())?.into_any(),
        // Where there is no memory left this is an error, and no panic.
        Value::Blob(bytes) => PyBytes::new_with(py, bytes.len(), |into| {
            into.copy_from_slice(bytes);
            Ok(())
        })?
        .into_any(),
    })
}
