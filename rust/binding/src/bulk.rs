//! The methods of `Execution` that make bulk actions.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyRange};
use stepwell_core::spec::Kind;
use stepwell_core::{Touched, read_action};

use crate::actions::Given;
use crate::bridge::Import;
use crate::execution::Execution;

static BULK_NEW: Import = Import::new("stepwell.fields", "bulk_new");
static BULK_ACTION: Import = Import::new("stepwell.fields", "bulk_action");
static STEP_RANGE: Import = Import::new("stepwell.steps", "StepRange");

impl Execution {
    /// Applies a bulk action whose fields the package turns into JSON.
    fn many<'py>(
        slf: &Bound<'py, Execution>,
        kind: Kind,
        given: &Bound<'py, PyAny>,
        count: Given<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let args = (kind.name(), given, count, this.id_source(py)?, slf);
        let json = BULK_ACTION.get(py)?.call1(args)?.cast_into::<PyBytes>()?;
        let body = json.as_bytes();
        let now = this.clock_now(py)?;
        let (_, touched) = this.change_detached(py, |core| {
            let found = read_action(body).map_err(|_| stepwell_core::Error::NotAnAction)?;
            core.apply(&found.fields, None, now)
        })?;
        let touched = match touched {
            Touched::Many(touched) => touched,
            Touched::One(index) => vec![index],
            Touched::None => Vec::new(),
        };
        let first = touched.first().copied().unwrap_or(0);
        let indices = if touched.iter().enumerate().all(|(at, index)| *index == first + at) {
            PyRange::new(py, first as isize, (first + touched.len()) as isize)?.into_any()
        } else {
            touched.into_pyobject(py)?
        };
        STEP_RANGE.get(py)?.call1((slf, indices))
    }

    fn ended<'py>(
        slf: &Bound<'py, Execution>,
        kind: Kind,
        fields: &[(&str, Given<'_, 'py>)],
    ) -> PyResult<Bound<'py, PyAny>> {
        let given = PyDict::new(slf.py());
        for (name, value) in fields {
            given.set_item(name, value)?;
        }
        Execution::many(slf, kind, given.as_any(), None)
    }
}

#[pymethods]
impl Execution {
    /// Makes many steps that are to start later, as one action: all or none.
    ///
    /// `names` is one name for all or one each. `count` says how many where no sequence does. An error carries the
    /// `index` of the first offending element.
    #[pyo3(signature = (names=None, *, steps=None, count=None, r#type=None, keys=None, parent_step_id=None, input=None, inputs=None, source=None, callable_id=None, places=None),
           text_signature = "($self, names=None, *, steps=None, count=None, type='function', keys=None, parent_step_id=None, input=None, inputs=None, source=None, callable_id=None, places=None)")]
    #[allow(clippy::too_many_arguments)]
    fn schedule_steps<'py>(
        slf: &Bound<'py, Execution>,
        names: Given<'_, 'py>,
        steps: Given<'_, 'py>,
        count: Given<'_, 'py>,
        r#type: Given<'_, 'py>,
        keys: Given<'_, 'py>,
        parent_step_id: Given<'_, 'py>,
        input: Given<'_, 'py>,
        inputs: Given<'_, 'py>,
        source: Given<'_, 'py>,
        callable_id: Given<'_, 'py>,
        places: Given<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let new = (
            names,
            steps,
            r#type,
            keys,
            parent_step_id,
            input,
            inputs,
            source,
            callable_id,
            places,
        );
        let given = BULK_NEW.get(slf.py())?.call1(new)?;
        Execution::many(slf, Kind::StepsScheduled, &given, count)
    }

    /// Makes many steps that run at once, or starts the pending ones given as `steps`; see `schedule_steps`.
    #[pyo3(signature = (names=None, *, steps=None, count=None, r#type=None, keys=None, parent_step_id=None, input=None, inputs=None, source=None, callable_id=None, places=None),
           text_signature = "($self, names=None, *, steps=None, count=None, type='function', keys=None, parent_step_id=None, input=None, inputs=None, source=None, callable_id=None, places=None)")]
    #[allow(clippy::too_many_arguments)]
    fn start_steps<'py>(
        slf: &Bound<'py, Execution>,
        names: Given<'_, 'py>,
        steps: Given<'_, 'py>,
        count: Given<'_, 'py>,
        r#type: Given<'_, 'py>,
        keys: Given<'_, 'py>,
        parent_step_id: Given<'_, 'py>,
        input: Given<'_, 'py>,
        inputs: Given<'_, 'py>,
        source: Given<'_, 'py>,
        callable_id: Given<'_, 'py>,
        places: Given<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let new = (
            names,
            steps,
            r#type,
            keys,
            parent_step_id,
            input,
            inputs,
            source,
            callable_id,
            places,
        );
        let given = BULK_NEW.get(slf.py())?.call1(new)?;
        Execution::many(slf, Kind::StepsStarted, &given, count)
    }

    /// Ends many running steps well, with one output each or the same for all; all or none.
    #[pyo3(signature = (steps, outputs=None, *, output=None))]
    fn complete_steps<'py>(
        slf: &Bound<'py, Execution>,
        steps: &Bound<'py, PyAny>,
        outputs: Given<'_, 'py>,
        output: Given<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let fields = [("steps", Some(steps)), ("output", output), ("outputs", outputs)];
        Execution::ended(slf, Kind::StepsCompleted, &fields)
    }

    /// Ends many running or pending steps with one error each or the same for all; all or none.
    #[pyo3(signature = (steps, errors=None, *, error=None))]
    fn fail_steps<'py>(
        slf: &Bound<'py, Execution>,
        steps: &Bound<'py, PyAny>,
        errors: Given<'_, 'py>,
        error: Given<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let fields = [("steps", Some(steps)), ("error", error), ("errors", errors)];
        Execution::ended(slf, Kind::StepsFailed, &fields)
    }

    /// Ends many pending or running steps before their results; all or none.
    #[pyo3(signature = (steps, reason=None))]
    fn cancel_steps<'py>(
        slf: &Bound<'py, Execution>,
        steps: &Bound<'py, PyAny>,
        reason: Given<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Execution::ended(slf, Kind::StepsCancelled, &[("steps", Some(steps)), ("reason", reason)])
    }
}
