//! What an execution shows of itself.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use stepwell_core::spec::{ExecutionState, INITIAL, Kind, WaitReason};
use stepwell_core::spec::{execution_transition, returns};
use stepwell_core::{Execution as Core, Id, Link};

use crate::bridge::{self, Import, Members};
use crate::execution::{Execution, PARENT};

static STATES: Members = Members::new("ExecutionState", &ExecutionState::NAMES);
static WAITS: Members = Members::new("WaitReason", &WaitReason::NAMES);
static AMOUNT: Import = Import::new("stepwell.fields", "amount");
static STEPS: Import = Import::new("stepwell.steps", "Steps");

/// What an execution has used, by counter.
pub fn usage<'py>(
    py: Python<'py>,
    usage: &BTreeMap<Box<str>, i64>,
) -> PyResult<Bound<'py, PyDict>> {
    let found = PyDict::new(py);
    for (counter, amount) in usage {
        found.set_item(&**counter, AMOUNT.get(py)?.call1((*amount,))?)?;
    }
    Ok(found)
}

impl Execution {
    pub fn json(
        &self,
        py: Python<'_>,
        read: impl FnOnce(&Core) -> Option<&str>,
    ) -> PyResult<Option<String>> {
        self.read(py, |core| read(core).map(str::to_owned))
    }
}

#[pymethods]
impl Execution {
    /// The execution's id, a TypeID `exec_…`.
    #[getter]
    fn id(&self) -> String {
        self.id.text("exec")
    }

    /// Who owns it; required by everything that stores.
    #[getter]
    fn tenant_id(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.json(py, |core| core.header().tenant.as_deref())
    }

    /// Where in its lifecycle the execution is.
    #[getter]
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        STATES.get(py, self.read(py, |core| core.status().state as usize)?)
    }

    /// Why it waits, while it does.
    #[getter]
    fn wait_reason<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let reason = self.read(py, Core::wait_reason)?;
        reason.map(|reason| WAITS.get(py, reason as usize)).transpose()
    }

    /// Why it was paused or cancelled.
    #[getter]
    fn reason(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.json(py, |core| core.status().reason.as_deref())
    }

    /// What started it.
    #[getter]
    fn parent<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let link = self.read(py, |core| core.header().parent.clone())?;
        let shown = |link: Link| PARENT.get(py)?.call1((link.parent_type.name(), &*link.parent_id));
        link.map(shown).transpose()
    }

    /// The steps by id in the order in which they were made; read-only and live.
    #[getter]
    fn steps<'py>(slf: &Bound<'py, Execution>) -> PyResult<Bound<'py, PyAny>> {
        STEPS.get(slf.py())?.call1((slf,))
    }

    /// The ids of the steps in the order in which they were made: a new list on each read.
    #[getter]
    fn step_order<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let ids: Vec<Id> = self.read(py, |core| core.steps().ids().collect())?;
        let ids = ids.into_iter().map(|id| bridge::step_id(py, id));
        PyList::new(py, ids.collect::<PyResult<Vec<_>>>()?)
    }

    /// The version of the code and its values that the journal was written with.
    #[getter]
    fn schema_version(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.json(py, |core| core.header().schema_version.as_deref())
    }

    /// The name of the blueprint.
    #[getter]
    fn blueprint(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.json(py, |core| core.header().blueprint.as_deref())
    }

    /// The user's own key.
    #[getter]
    fn key(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.json(py, |core| core.header().key.as_deref())
    }

    /// What it was given, decoded afresh on each read.
    #[getter]
    fn input<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        bridge::decoded(py, self.json(py, |core| core.header().input.as_deref())?)
    }

    /// What it completed with, decoded afresh on each read.
    #[getter]
    fn output<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        bridge::decoded(py, self.json(py, |core| core.status().output.as_deref())?)
    }

    /// Why it failed.
    #[getter]
    fn error<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        bridge::shown_error(py, self.json(py, |core| core.status().error.as_deref())?)
    }

    /// What all its steps used, by counter.
    #[getter]
    fn usage<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        usage(py, &self.read(py, |core| core.usage().clone())?)
    }

    /// When it was made, in UTC.
    #[getter]
    fn created_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        bridge::datetime(py, Some(self.read(py, |core| core.status().created)?))
    }

    /// When it was first planned or started, in UTC.
    #[getter]
    fn started_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        bridge::datetime(py, self.read(py, |core| core.status().started)?)
    }

    /// When it reached its last state, in UTC.
    #[getter]
    fn ended_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        bridge::datetime(py, self.read(py, |core| core.status().ended)?)
    }

    /// Milliseconds from the start to the end, or so far; `None` before the start.
    #[getter]
    fn duration_ms(&self, py: Python<'_>) -> PyResult<Option<f64>> {
        let (started, ended) =
            self.read(py, |core| (core.status().started, core.status().ended))?;
        let Some(started) = started else {
            return Ok(None);
        };
        let end = ended.map_or_else(|| self.now(py), Ok)?;
        Ok(Some((end - started) as f64 / 1e6))
    }

    /// Whether no action leads out of its state.
    #[getter]
    fn is_terminal(&self, py: Python<'_>) -> PyResult<bool> {
        self.read(py, |core| core.status().state.is_terminal())
    }

    /// Whether it has begun and not ended.
    #[getter]
    fn is_active(&self, py: Python<'_>) -> PyResult<bool> {
        self.read(py, |core| core.status().state != INITIAL && !core.status().state.is_terminal())
    }

    /// Whether `resume` is allowed now.
    #[getter]
    fn can_resume(&self, py: Python<'_>) -> PyResult<bool> {
        let state = self.read(py, |core| core.status().state)?;
        Ok(returns(Kind::Resume, state) || execution_transition(Kind::Resume, state).is_some())
    }

    /// How many actions were applied.
    #[getter]
    fn version(&self, py: Python<'_>) -> PyResult<i64> {
        self.read(py, |core| core.status().version)
    }

    /// The digest of the last record that was drained, in hex; `None` before the first.
    #[getter]
    fn head(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.json(py, Core::head)
    }
}
