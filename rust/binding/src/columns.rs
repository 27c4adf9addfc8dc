//! What `stepwell.steps` reads of many steps at once.

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyRange, PyString, PyTuple};
use stepwell_core::spec::{StepState, StepType};
use stepwell_core::{Places, Wanted};

use crate::bridge::{self, Import};
use crate::execution::Execution;
use crate::step::{STATES, Step};

static ARRAY: Import = Import::new("array", "array");

/// Positions as `stepwell.steps` has them: a range that counts up by one, or an array of them.
pub fn places(at: &Bound<'_, PyAny>) -> PyResult<Places> {
    if let Ok(range) = at.cast::<PyRange>() {
        let whole = |name: &str| range.getattr(name)?.extract::<usize>();
        return Ok(Places::Range(whole("start")?..whole("stop")?));
    }
    if at.len()? == 0 {
        return Ok(Places::Range(0..0)); // an empty array has no memory to look at
    }
    Ok(Places::List(PyBuffer::<u32>::get(at)?.to_vec(at.py())?))
}

/// The same the other way.
pub fn shown<'py>(py: Python<'py>, places: &Places) -> PyResult<Bound<'py, PyAny>> {
    match places {
        Places::Range(range) => {
            Ok(PyRange::new(py, range.start as isize, range.end as isize)?.into_any())
        }
        Places::List(list) => {
            let bytes: Vec<u8> = list.iter().flat_map(|index| index.to_ne_bytes()).collect();
            ARRAY.get(py)?.call1(("I", PyBytes::new(py, &bytes)))
        }
    }
}

#[pymethods]
impl Execution {
    fn _step_at(slf: &Bound<'_, Execution>, index: usize) -> PyResult<Step> {
        Execution::view(slf, index)
    }

    fn _step_count(&self, py: Python<'_>) -> PyResult<usize> {
        self.read(py, |core| core.steps().len())
    }

    fn _ids<'py>(&self, at: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let (py, at) = (at.py(), places(at)?);
        let ids: Vec<_> =
            self.read(py, |core| at.iter().filter_map(|index| core.steps().id(index)).collect())?;
        let ids = ids.into_iter().map(|id| bridge::step_id(py, id));
        PyList::new(py, ids.collect::<PyResult<Vec<_>>>()?)
    }

    fn _runs(&self, at: &Bound<'_, PyAny>) -> PyResult<Vec<(String, u32)>> {
        let (py, at) = (at.py(), places(at)?);
        let runs = self.read(py, |core| core.steps().runs(&at))?;
        Ok(runs.into_iter().map(|(first, count)| (bridge::step_text(first), count)).collect())
    }

    fn _states<'py>(&self, at: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let (py, at) = (at.py(), places(at)?);
        let states: Vec<StepState> = self
            .read(py, |core| at.iter().filter_map(|index| core.steps().state(index)).collect())?;
        let members = STATES.all(py)?;
        PyList::new(py, states.into_iter().map(|state| &members[state as usize]))
    }

    fn _durations(&self, at: &Bound<'_, PyAny>) -> PyResult<Vec<Option<i64>>> {
        let (py, at) = (at.py(), places(at)?);
        let now = self.clock_now(py)?;
        self.read(py, |core| {
            let (steps, now) = (core.steps(), now.max(core.status().last));
            at.iter().filter_map(|index| Some(steps.get(index)?.duration(now))).collect()
        })
    }

    fn _counts<'py>(&self, at: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let (py, at) = (at.py(), places(at)?);
        let counts = self.read(py, |core| core.steps().count(&at))?;
        let found = PyDict::new(py);
        for (state, count) in STATES.all(py)?.iter().zip(counts) {
            found.set_item(state, count)?;
        }
        Ok(found)
    }

    fn _pick<'py>(
        &self,
        at: &Bound<'py, PyAny>,
        states: Option<&Bound<'py, PyTuple>>,
        name: Option<&Bound<'py, PyString>>,
        r#type: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, at) = (at.py(), places(at)?);
        // No step has a name that is not Unicode.
        let name = name.map(|name| name.to_str().unwrap_or_default());
        let states = states.map(|states| {
            let parsed = states.iter().map(|state| Ok(StepState::parse(state.extract()?)));
            parsed.collect::<PyResult<Option<Vec<_>>>>()
        });
        let states = states.transpose()?.flatten();
        let step_type = r#type.and_then(StepType::parse);
        let wanted = Wanted { states: states.as_deref(), name, step_type };
        shown(py, &self.read_detached(py, |core| core.steps().pick(&at, &wanted))?)
    }

    fn _slowest<'py>(&self, at: &Bound<'py, PyAny>, n: usize) -> PyResult<Bound<'py, PyAny>> {
        let (py, at) = (at.py(), places(at)?);
        let now = self.clock_now(py)?;
        shown(
            py,
            &self.read_detached(py, |core| {
                core.steps().slowest(&at, n, now.max(core.status().last))
            })?,
        )
    }
}
