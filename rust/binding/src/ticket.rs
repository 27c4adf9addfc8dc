//! What an engine makes known to those who wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyRuntimeError, PyTimeoutError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFloat, PyInt, PyList, PyString, PyTuple};
use stepwell_core::Id;
use stepwell_store::{Answer, Request, Row, Value, Waiter};

use crate::awaiting::Await;
use crate::bridge::Import;
use crate::mailbox::{Call, Mailbox, Post};

/// How long a thread waits before it looks whether a signal came.
const PATIENCE: Duration = Duration::from_millis(50);
const LOOKING: Duration = Duration::from_micros(300);

static FAILURE: Import = Import::new("stepwell.trouble", "store_failure");
static NOT_DONE: Import = Import::new("stepwell.trouble", "not_done");
static RUNNING: Import = Import::new("asyncio", "_get_running_loop");

/// An answer, and most are this one: it is no memory that goes from thread to thread.
#[derive(Clone)]
enum Known {
    Changed,
    Other(Arc<Answer>),
}

#[derive(Default)]
struct State {
    known: Option<Known>,
    listener: Option<(Arc<Post>, Call)>,
    more: Vec<(Arc<Post>, Call)>,
    /// How many threads sleep until it is known.
    sleeping: usize,
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

    /// Makes the answer known, and has told those who are to be.
    fn settle(&self, answer: Answer, mail: &mut Mail) {
        let mut state = self.state();
        state.known = Some(match answer {
            Answer::Changed => Known::Changed,
            other => Known::Other(Arc::new(other)),
        });
        let first = state.listener.take();
        let more = std::mem::take(&mut state.more);
        let sleeping = state.sleeping;
        drop(state);
        self.done.store(true, Ordering::Release);
        if sleeping > 0 {
            self.known.notify_all();
        }
        for (post, call) in first.into_iter().chain(more) {
            add(mail, post, call);
        }
    }
}

/// What goes to the mailboxes of loops: together, as far as it is for the same one.
type Mail = Vec<(Arc<Post>, Vec<Call>)>;

fn add(mail: &mut Mail, post: Arc<Post>, call: Call) {
    match mail.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &post)) {
        Some((_, calls)) => calls.push(call),
        None => mail.push((post, vec![call])),
    }
}

/// A slot to be filled by an engine.
pub struct Waiting(pub Arc<Slot>);

impl Waiter for Waiting {
    fn settle(answers: Vec<(Waiting, Answer)>) {
        let mut mail = Mail::default();
        for (Waiting(slot), answer) in answers {
            slot.settle(answer, &mut mail);
        }
        for (post, calls) in mail {
            post.put(calls);
            post.ring();
        }
    }
}

/// What an answer means to the one who asked.
pub enum Meaning {
    /// The value where nothing else is to be said, and what makes one of the rest.
    Given(Py<PyAny>, Option<Py<PyAny>>),
    /// The last seq of an append; and what is called with the execution, the action, that and the rest.
    Appended { refused: Py<PyAny>, by: By, last: i64 },
}

/// Whose append it is: the execution and the action.
pub enum By {
    Given(Py<PyString>, Py<PyBytes>),
    Own(Id, [u8; 16]),
}

impl Meaning {
    fn again(&self, py: Python<'_>) -> Meaning {
        match self {
            Meaning::Given(value, finish) => Meaning::Given(
                value.clone_ref(py),
                finish.as_ref().map(|finish| finish.clone_ref(py)),
            ),
            Meaning::Appended { refused, by, last } => {
                let by = match by {
                    By::Given(id, action) => By::Given(id.clone_ref(py), action.clone_ref(py)),
                    By::Own(id, action) => By::Own(*id, *action),
                };
                Meaning::Appended { refused: refused.clone_ref(py), by, last: *last }
            }
        }
    }
}

/// One request's outcome, to come.
#[pyclass(frozen, weakref, module = "stepwell._native")]
pub struct Ticket {
    slot: Arc<Slot>,
    meaning: Meaning,
}

#[pymethods]
impl Ticket {
    #[new]
    #[pyo3(signature = (value = None, finish = None))]
    fn new(py: Python<'_>, value: Option<Py<PyAny>>, finish: Option<Py<PyAny>>) -> Ticket {
        Ticket::meaning(Meaning::Given(value.unwrap_or_else(|| py.None()), finish))
    }

    /// Whether the outcome is known.
    #[getter]
    fn done(&self) -> bool {
        self.is_done()
    }

    /// The outcome of a finished request, or its error raised. Raises `ValidationError` before that.
    pub fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let known = self.slot.state().known.clone();
        let answer = match known {
            None => return NOT_DONE.get(py)?.call0().map(Bound::unbind),
            Some(Known::Changed) => return Ok(self.value(py)),
            Some(Known::Other(answer)) => answer,
        };
        if let Answer::Trouble(trouble, _) = &*answer {
            let path = self.slot.path.get().map_or("", |path| path);
            let words = (trouble.code, path, &trouble.detail, trouble.seconds);
            return Err(PyErr::from_value(FAILURE.get(py)?.call1(words)?));
        }
        let outcome = outcome(py, &answer)?;
        match &self.meaning {
            Meaning::Given(_, Some(finish)) => finish.call1(py, (outcome,)),
            Meaning::Given(_, None) => Ok(self.value(py)),
            Meaning::Appended { refused, by: By::Given(execution_id, action_id), last } => {
                refused.call1(py, (execution_id, action_id, *last, outcome))
            }
            Meaning::Appended { refused, by: By::Own(id, action_id), last } => {
                let action_id = PyBytes::new(py, action_id);
                refused.call1(py, (id.text("exec"), action_id, *last, outcome))
            }
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

    /// Has `listener` called on the loop with this ticket, soon after the outcome is known. From any thread.
    fn then(
        slf: &Bound<'_, Self>,
        r#loop: &Bound<'_, PyAny>,
        listener: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = slf.py();
        if RUNNING.get(py)?.call0()?.is(r#loop) {
            let mailbox = Mailbox::of(r#loop)?;
            let call = Call::Tell(listener.clone().unbind(), slf.clone().into_any().unbind());
            let post = mailbox.get().post();
            if let Some(call) = slf.get().tell(post, call) {
                post.put([call]);
                post.ring();
            }
            return Ok(());
        }
        // What a loop watches is its own thread's to change.
        let asked =
            r#loop.call_method1("call_soon_threadsafe", (slf.getattr("then")?, r#loop, listener));
        match asked {
            // The loop was closed: nobody is left to tell, and the outcome stands.
            Err(error) if error.is_instance_of::<PyRuntimeError>(py) => Ok(()),
            asked => asked.map(drop),
        }
    }

    fn __await__(slf: Py<Self>) -> Await {
        Await::new(slf)
    }
}

impl Ticket {
    /// A ticket whose answer means this.
    pub fn meaning(meaning: Meaning) -> Ticket {
        Ticket { slot: Arc::default(), meaning }
    }

    /// What the engine fills.
    pub fn slot(&self) -> Arc<Slot> {
        Arc::clone(&self.slot)
    }

    /// A ticket for the same once more, and what is to be asked; `None` unless it failed.
    pub fn again(&self, py: Python<'_>) -> Option<(Ticket, Request)> {
        match self.slot.state().known.clone() {
            Some(Known::Other(answer)) => match &*answer {
                Answer::Trouble(_, Some(request)) => {
                    Some((Ticket::meaning(self.meaning.again(py)), (**request).clone()))
                }
                _ => None,
            },
            _ => None,
        }
    }

    pub fn is_done(&self) -> bool {
        self.slot.done.load(Ordering::Acquire)
    }

    /// Has the call made when the outcome is known; gives it back where it is known by now.
    pub fn tell(&self, post: &Arc<Post>, call: Call) -> Option<Call> {
        let mut state = self.slot.state();
        if state.known.is_some() {
            return Some(call);
        }
        let told = (Arc::clone(post), call);
        if state.listener.is_none() {
            state.listener = Some(told);
        } else {
            state.more.push(told);
        }
        None
    }

    fn value(&self, py: Python<'_>) -> Py<PyAny> {
        match &self.meaning {
            Meaning::Given(value, _) => value.clone_ref(py),
            Meaning::Appended { last, .. } => PyInt::new(py, *last).into_any().unbind(),
        }
    }

    /// Looks for the outcome a little while.
    fn look(&self) -> bool {
        stepwell_store::look(LOOKING, || self.is_done().then_some(())).is_some()
    }

    /// Whether the outcome is known, at once or soon.
    fn wait_a_while(&self, until: Option<Instant>) -> bool {
        let left = until.map_or(PATIENCE, |until| until.saturating_duration_since(Instant::now()));
        let mut state = self.slot.state();
        state.sleeping += 1;
        let open = |state: &mut State| state.known.is_none();
        let waited = self.slot.known.wait_timeout_while(state, left.min(PATIENCE), open);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.sleeping -= 1;
        state.known.is_some()
    }
}

fn outcome<'py>(py: Python<'py>, answer: &Answer) -> PyResult<Bound<'py, PyAny>> {
    Ok(match answer {
        Answer::Rows(found) => rows(py, found)?.into_any(),
        Answer::Missing | Answer::Changed | Answer::Trouble(..) => py.None().into_bound(py),
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
