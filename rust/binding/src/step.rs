//! The view of a step.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use stepwell_core::spec::{StepState, StepType};
use stepwell_core::{Id, StepView};

use crate::bridge::{self, Import, Members};
use crate::execution::Execution;

static TYPES: Members = Members::new("StepType", &StepType::NAMES);
pub static STATES: Members = Members::new("StepState", &StepState::NAMES);
static ATTEMPT: Import = Import::new("stepwell.model", "Attempt");
static SHOWN: Import = Import::new("stepwell.fields", "shown");
static RESTORED: Import = Import::new("stepwell.steps", "restored_step");

/// One recorded act of an execution: a live view, changed only through the methods of its execution.
///
/// Two views are equal when they are of the same step of the same execution object.
#[pyclass(frozen, freelist = 64, module = "stepwell")]
pub struct Step {
    pub execution: Py<Execution>,
    pub index: usize,
    pub id: Id,
}

/// What unpickles a step.
type Reduced<'py> = (Bound<'py, PyAny>, (Py<Execution>, usize));

impl Step {
    fn read<T>(&self, py: Python<'_>, read: impl FnOnce(StepView<'_>) -> T) -> PyResult<T> {
        self.execution
            .get()
            .read(py, |core| core.steps().get(self.index).map(read))?
            .ok_or_else(|| bridge::refuse(py, "internal", ("a step without a place",)))
    }

    fn text(
        &self,
        py: Python<'_>,
        read: impl FnOnce(StepView<'_>) -> Option<&str>,
    ) -> PyResult<Option<String>> {
        self.read(py, |step| read(step).map(str::to_owned))
    }
}

#[pymethods]
impl Step {
    /// The step's id, a TypeID `step_…`.
    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        bridge::step_id(py, self.id)
    }

    /// The step that this one belongs to.
    #[getter]
    fn parent_step_id(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.read(py, |step| step.parent().map(bridge::step_text))
    }

    /// What kind of act it is.
    #[getter]
    fn step_type<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        TYPES.get(py, self.read(py, |step| step.step_type() as usize)?)
    }

    /// The step's name.
    #[getter]
    fn name(&self, py: Python<'_>) -> PyResult<String> {
        self.read(py, |step| step.name().to_owned())
    }

    /// The user's own key for the step.
    #[getter]
    fn key(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.text(py, |step| step.key())
    }

    /// Where in its lifecycle the step is.
    #[getter]
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        STATES.get(py, self.read(py, |step| step.state() as usize)?)
    }

    /// How many times it was started; the current or last attempt's number.
    #[getter]
    fn attempt(&self, py: Python<'_>) -> PyResult<u32> {
        self.read(py, |step| step.attempt())
    }

    /// Every attempt with its times and its error, the first first.
    #[getter]
    fn attempts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let (past, current) = self.read(py, |step| {
            let current = (step.attempt() as usize > step.past().len())
                .then(|| (step.tried(), step.ended(), step.error().map(str::to_owned)));
            (step.past().to_vec(), current)
        })?;
        let found = PyList::empty(py);
        let add = |start: Option<i64>, end: Option<i64>, error: Option<String>| {
            let start = bridge::datetime(py, start)?;
            let end = bridge::datetime(py, end)?;
            let error = bridge::shown_error(py, error)?;
            found.append(ATTEMPT.get(py)?.call1((found.len() + 1, start, end, error))?)
        };
        for attempt in past {
            add(Some(attempt.started), Some(attempt.ended), Some(attempt.error.into()))?;
        }
        if let Some((start, end, error)) = current {
            add(start, end, error)?;
        }
        Ok(found)
    }

    /// When the next attempt is due, while the step waits for one.
    #[getter]
    fn retry_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        bridge::datetime(py, self.read(py, |step| step.retry_at())?)
    }

    /// What the step was given, decoded afresh on each read.
    #[getter]
    fn input<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        bridge::decoded(py, self.text(py, |step| step.input())?)
    }

    /// What the step completed with, decoded afresh on each read.
    #[getter]
    fn output<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        bridge::decoded(py, self.text(py, |step| step.output())?)
    }

    /// Why the step failed; the errors of attempts that were retried are in `attempts`.
    #[getter]
    fn error<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        bridge::shown_error(py, self.text(py, |step| step.error())?)
    }

    /// Why the step was skipped or cancelled.
    #[getter]
    fn reason(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.text(py, |step| step.reason())
    }

    /// When the step was made, in UTC.
    #[getter]
    fn scheduled_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        bridge::datetime(py, Some(self.read(py, |step| step.scheduled())?))
    }

    /// When its first attempt started, in UTC.
    #[getter]
    fn started_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        bridge::datetime(py, self.read(py, |step| step.started())?)
    }

    /// When the step reached its last state, in UTC.
    #[getter]
    fn ended_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        bridge::datetime(py, self.read(py, |step| step.ended())?)
    }

    /// Milliseconds from the first start to the end, or so far; `None` before the start.
    #[getter]
    fn duration_ms(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        let (started, ended) = self.read(py, |step| (step.started(), step.ended()))?;
        let Some(started) = started else {
            return Ok(None);
        };
        let end = ended.map_or_else(|| self.execution.get().now(py), Ok)?;
        Ok(Some((end - started) as f64 / 1e6))
    }

    /// Milliseconds from when the step was made to its first start, its end without one, or so far.
    #[getter]
    fn queued_ms(&self, py: Python<'_>) -> PyResult<f64> {
        let (scheduled, end) =
            self.read(py, |step| (step.scheduled(), step.started().or(step.ended())))?;
        let end = end.map_or_else(|| self.execution.get().now(py), Ok)?;
        Ok((end - scheduled) as f64 / 1e6)
    }

    /// Why the step exists.
    #[getter]
    fn source<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let source = self.text(py, |step| step.source())?;
        let shown = |source: String| {
            let bytes = pyo3::types::PyBytes::new(py, source.as_bytes());
            SHOWN.get(py)?.call1(("source", "json", bytes))
        };
        source.map(shown).transpose()
    }

    /// The code that the step runs, by name.
    #[getter]
    fn callable_id(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.text(py, |step| step.callable_id())
    }

    /// Where in its blueprint the step was called.
    #[getter]
    fn place(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.text(py, |step| step.place())
    }

    /// What the step used, by counter: `tokens`, `cost` and own ones.
    #[getter]
    fn usage<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let usage = self.read(py, |step| step.usage().clone())?;
        crate::view::usage(py, &usage)
    }

    /// Whether no action leads out of the step's state.
    #[getter]
    fn is_terminal(&self, py: Python<'_>) -> PyResult<bool> {
        self.read(py, |step| step.state().is_terminal())
    }

    // What `stepwell.fields` asks.
    fn _of(&self, execution: &Bound<'_, PyAny>) -> bool {
        self.execution.is(execution)
    }

    fn __eq__(&self, other: &Step) -> bool {
        self.execution.is(&other.execution) && self.index == other.index
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        bridge::step_id(py, self.id)?.hash()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let name = self.name(py)?.into_pyobject(py)?.repr()?;
        let state = self.read(py, |step| step.state().name())?;
        Ok(format!("<Step {} {name} {state}>", bridge::step_text(self.id)))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Reduced<'py>> {
        Ok((RESTORED.get(py)?.clone(), (self.execution.clone_ref(py), self.index)))
    }
}
