//! The methods of `Execution` about its journal and about itself as a whole.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::basic::CompareOp;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyInt, PyList, PyMemoryView, PyString, PyTuple, PyType};
use stepwell_core::spec::Kind;
use stepwell_core::{Beside, Drained, Execution as Core, Id, Replay, ReplayFault, read_action};

use crate::bridge::{self, Import};
use crate::errors::{raise, raise_replay};
use crate::execution::Execution;
use crate::step::Step;

static FILL: Import = Import::new("stepwell.fields", "fill");
static APPLIED: Import = Import::new("stepwell.fields", "applied");
static FILL_MANY: Import = Import::new("stepwell.fields", "fill_many");
static ASKED: Import = Import::new("stepwell.fields", "asked");
static RESTORED: Import = Import::new("stepwell.steps", "restored_execution");

/// The names of kinds as Python has them, made once.
struct Kinds(PyOnceLock<Vec<Py<PyString>>>);

static KINDS: Kinds = Kinds(PyOnceLock::new());

impl Kinds {
    fn get<'py>(&self, py: Python<'py>, kind: Kind) -> PyResult<Bound<'py, PyString>> {
        let make = || Kind::NAMES.iter().map(|name| PyString::intern(py, name).unbind()).collect();
        let names = self.0.get_or_init(py, make);
        let name = names.get(kind as usize).map(|name| name.bind(py).clone());
        name.ok_or_else(|| bridge::refuse(py, "internal", ("a kind without a name",)))
    }
}

type Given<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

fn keep(value: Given<'_, '_>) -> Option<Py<PyAny>> {
    value.filter(|value| !value.is_none()).map(|value| value.clone().unbind())
}

fn json<'py>(action: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    Ok(action.call_method0("to_json")?.cast_into::<PyBytes>()?)
}

/// Drained records as Python has them.
pub fn listed<'py>(py: Python<'py>, drained: &Drained) -> PyResult<Bound<'py, PyList>> {
    let rows = drained.iter().map(|(Beside { seq, at, kind }, body)| {
        (seq, at, KINDS.get(py, kind)?, PyBytes::new(py, body)).into_pyobject(py)
    });
    PyList::new(py, rows.collect::<PyResult<Vec<_>>>()?)
}

/// Records as a store gives them back.
#[derive(Default)]
struct Rows<'py> {
    bodies: Vec<Bound<'py, PyBytes>>,
    /// What stands beside each, as far as one of them has something; of what cannot stand there nothing is left.
    beside: Vec<Option<Option<Beside>>>,
}

/// Adds the record at this position.
fn add<'py>(rows: &mut Rows<'py>, index: usize, record: Bound<'py, PyAny>) -> PyResult<()> {
    let py = record.py();
    let record = match record.cast_into::<PyBytes>() {
        Ok(body) => {
            rows.bodies.push(body);
            return Ok(());
        }
        Err(error) => error.into_inner(),
    };
    if let Ok(columns) = record.cast_into::<PyTuple>()
        && columns.len() == 4
        && let Ok(body) = columns.get_item(3)?.cast_into::<PyBytes>()
    {
        rows.beside.resize(rows.bodies.len(), None);
        rows.beside.push(Some(beside(&columns)));
        rows.bodies.push(body);
        return Ok(());
    }
    Err(bridge::refuse(py, "not_record_columns", (index,)))
}

/// Replays them without the interpreter lock, and lets go of them.
fn take(
    py: Python<'_>,
    rows: &mut Rows<'_>,
    replay: &mut Replay,
) -> PyResult<Result<(), ReplayFault>> {
    let bodies: Vec<&[u8]> = rows.bodies.iter().map(|body| body.as_bytes()).collect();
    let beside = std::mem::take(&mut rows.beside);
    let taken = detached(py, || {
        bodies.iter().enumerate().try_for_each(|(position, body)| {
            replay.take(body, beside.get(position).copied().flatten())
        })
    });
    rows.bodies.clear();
    taken
}

/// `None` for what is not of its type or no kind: it is as good as another value.
fn beside(columns: &Bound<'_, PyTuple>) -> Option<Beside> {
    let whole = |position: usize| {
        let item = columns.get_item(position).ok()?;
        item.is_exact_instance_of::<PyInt>().then(|| item.extract().ok()).flatten()
    };
    let kind = columns.get_item(2).ok()?.cast_into_exact::<PyString>().ok()?;
    Some(Beside { seq: whole(0)?, at: whole(1)?, kind: Kind::parse(kind.to_str().ok()?)? })
}

/// How many records are read between two looks at the interpreter.
const BATCH: usize = 64;

/// Takes records from an iterable.
fn take_each<'py>(
    replay: &mut Replay,
    records: &Bound<'py, PyAny>,
) -> PyResult<Result<(), ReplayFault>> {
    let py = records.py();
    let mut rows = Rows::default();
    let mut end = Ok(());
    for item in records.try_iter()? {
        let index = replay.taken() + rows.bodies.len();
        let several = item.as_ref().ok().and_then(|item| several(item).cloned());
        if let Some(several) = several {
            let taken = take(py, &mut rows, replay)?;
            let taken = match taken {
                Ok(()) => {
                    let bytes = several.as_bytes();
                    detached(py, || replay.take_all(bytes))?
                }
                fault => fault,
            };
            if taken.is_err() {
                return Ok(taken);
            }
            continue;
        }
        end = item.and_then(|item| add(&mut rows, index, item));
        if end.is_err() {
            break;
        }
        if rows.bodies.len() == BATCH {
            let taken = take(py, &mut rows, replay)?;
            if taken.is_err() {
                return Ok(taken);
            }
        }
    }
    // What comes before a record that cannot be read is replayed first.
    let taken = take(py, &mut rows, replay)?;
    if taken.is_ok() { end.map(Ok) } else { Ok(taken) }
}

/// Bodies in one piece: a newline is behind the last of them, and no body ends with one.
fn several<'a, 'py>(item: &'a Bound<'py, PyAny>) -> Option<&'a Bound<'py, PyBytes>> {
    item.cast::<PyBytes>().ok().filter(|bytes| bytes.as_bytes().last() == Some(&b'\n'))
}

/// Runs something that takes long without the interpreter lock. A panic is an `InternalError`.
fn detached<T: Send>(py: Python<'_>, run: impl FnOnce() -> T + Send) -> PyResult<T> {
    let done = py.detach(|| catch_unwind(AssertUnwindSafe(run)));
    done.map_err(|_| bridge::refuse(py, "internal", ("the core panicked",)))
}

/// A buffer's bytes: bytes as they are, of anything else a copy that nobody changes meanwhile.
fn buffer<'py>(records: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    if let Ok(bytes) = records.cast::<PyBytes>() {
        return Ok(Some(bytes.clone()));
    }
    if records.is_instance_of::<PyByteArray>() || records.is_instance_of::<PyMemoryView>() {
        let bytes = records.py().get_type::<PyBytes>().call1((records,))?;
        return Ok(Some(bytes.cast_into::<PyBytes>()?));
    }
    Ok(None)
}

fn replayed(
    id: Id,
    records: &Bound<'_, PyAny>,
    snapshot: Given<'_, '_>,
    schema_version: Option<&str>,
    version: Option<i64>,
) -> PyResult<Core> {
    let py = records.py();
    let raise = |index: usize, fault: &ReplayFault| {
        raise_replay(py, index as i64, fault, id, schema_version)
    };
    let wanted = schema_version.map(str::to_owned);
    let mut replay = match snapshot.filter(|value| !value.is_none()) {
        None => Replay::new(id, wanted),
        Some(snapshot) => {
            let core = loaded(snapshot)?;
            Replay::resume(id, wanted, core).map_err(|fault| raise(0, &fault))?
        }
    };
    let taken = match buffer(records)? {
        None => take_each(&mut replay, records)?,
        Some(bytes) => {
            let bytes = bytes.as_bytes();
            detached(py, || replay.take_all(bytes))?
        }
    };
    taken.map_err(|fault| raise(replay.taken(), &fault))?;
    let last = replay.taken().saturating_sub(1);
    replay.finish(version).map_err(|fault| raise(last, &fault))
}

/// What `to_json` wrote.
fn loaded(data: &Bound<'_, PyAny>) -> PyResult<Core> {
    let py = data.py();
    let Ok(bytes) = data.cast::<PyBytes>() else {
        return Err(bridge::refuse(py, "not_an_execution", ()));
    };
    let bytes = bytes.as_bytes();
    detached(py, || Core::from_json(bytes))?.map_err(|error| raise(py, &error))
}

#[pymethods]
impl Execution {
    /// The step with this id, a live view; `None` if there is none.
    fn get_step(slf: &Bound<'_, Execution>, step_id: &Bound<'_, PyAny>) -> PyResult<Option<Step>> {
        let Some(id) = step_id
            .cast::<PyString>()
            .ok()
            .and_then(|text| text.to_str().ok())
            .and_then(|text| Id::parse(text, "step"))
        else {
            return Ok(None);
        };
        let found = slf.get().read(slf.py(), |core| core.steps().find(id))?;
        Ok(found.map(|index| Step { execution: slf.clone().unbind(), index, id }))
    }

    /// The same live view as `get_step`: a step changes only through the methods of its execution.
    fn get_step_mut(
        slf: &Bound<'_, Execution>,
        step_id: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Step>> {
        Execution::get_step(slf, step_id)
    }

    /// Applies an action and returns it as recorded: with its time and, for new steps, their ids.
    ///
    /// Raises what the method of that kind raises; `ValidationError` if `at_ns` is before the last action.
    fn apply<'py>(
        slf: &Bound<'py, Execution>,
        action: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let action = FILL.get(py)?.call1((action, this.id_source(py)?))?;
        let json = json(&action)?;
        let found = read_action(json.as_bytes())
            .map_err(|_| raise(py, &stepwell_core::Error::NotAnAction))?;
        let now = this.clock_now(py)?;
        let (at, _) = this.change(py, |core| core.apply(&found.fields, found.at, now))?;
        APPLIED.get(py)?.call1((action, at))
    }

    /// Applies actions one after the other, all or none; an error carries the `index` of the first refused one.
    fn apply_many<'py>(
        slf: &Bound<'py, Execution>,
        actions: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let (py, this) = (slf.py(), slf.get());
        let actions =
            FILL_MANY.get(py)?.call1((actions, this.id_source(py)?))?.cast_into::<PyList>()?;
        let given = actions.iter().map(|action| json(&action)).collect::<PyResult<Vec<_>>>()?;
        let bodies: Vec<&[u8]> = given.iter().map(|json| json.as_bytes()).collect();
        let now = this.clock_now(py)?;
        let times = this.change_detached(py, |core| {
            let read = bodies.iter().map(|body| read_action(body));
            let found = read.map(|found| found.map(|found| (found.fields, found.at)));
            let found = found.collect::<Result<Vec<_>, _>>();
            let found = found.map_err(|_| stepwell_core::Error::NotAnAction)?;
            core.apply_many(found.into_iter(), now)
        })?;
        let done = PyList::empty(py);
        for (action, at) in actions.iter().zip(times) {
            done.append(APPLIED.get(py)?.call1((action, at))?)?;
        }
        Ok(done)
    }

    /// The records that were not drained yet, `(seq, at_ns, kind, body)`, the header first: the store's from now on.
    ///
    /// Raises `TenantRequired` without a tenant.
    fn drain<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let records = self
            .change_detached(py, |core| Ok(core.header().tenant.is_some().then(|| core.drain())))?;
        let Some(records) = records else {
            return Err(bridge::refuse(py, "tenant_required", ("a journal",)));
        };
        listed(py, &records)
    }

    /// The execution that wrote these records, as `drain` gave them or their bodies alone.
    ///
    /// The bodies may also be one buffer, each followed by a newline, which the last may lack; an empty one is an
    /// empty journal. An iterable may have such pieces of several bodies too, each with a newline at its end. With
    /// a `snapshot`, which `to_json` wrote, the records are those after the last one that was drained before it:
    /// they must be the actions that the snapshot holds as not drained, then go on from it; what they do not reach
    /// stays as not drained, and there may be none.
    ///
    /// Where `schema_version` or `version` (the number of actions) is given, the record must have it; where a
    /// `tenant` is given, it must be the recorded one, and the limits of a `TenantContext` hold from here on. Raises
    /// `ReplayError` with the `index` of a record that is corrupt, illegal or out of place, `UnsupportedFormat` for a
    /// newer format, `SchemaMismatch` for another schema version, `ValidationError` for what is no snapshot.
    #[classmethod]
    #[pyo3(signature = (id, records, schema_version=None, *, version=None, snapshot=None, tenant=None, clock=None, ids=None))]
    #[allow(clippy::too_many_arguments)]
    fn replay<'py>(
        _cls: &Bound<'py, PyType>,
        id: &Bound<'py, PyAny>,
        records: &Bound<'py, PyAny>,
        schema_version: Given<'_, 'py>,
        version: Given<'_, 'py>,
        snapshot: Given<'_, 'py>,
        tenant: Given<'_, 'py>,
        clock: Given<'_, 'py>,
        ids: Given<'_, 'py>,
    ) -> PyResult<Execution> {
        let id = bridge::id(id, "exec")?;
        let asked = ASKED.get(records.py())?.call1((schema_version, version))?;
        let (schema_version, version): (Option<String>, Option<i64>) = asked.extract()?;
        let core = replayed(id, records, snapshot, schema_version.as_deref(), version)?;
        Execution::belonging(records.py(), core, tenant, keep(clock), keep(ids))
    }

    /// The whole execution as one JSON object, with the actions that were not drained yet.
    fn to_json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.change_detached(py, |core| Ok(core.to_json(true)))?))
    }

    /// The execution that `to_json` wrote; `tenant` as in `replay`.
    ///
    /// Raises `ValidationError`, or `UnsupportedFormat` for a newer format.
    #[classmethod]
    #[pyo3(signature = (data, *, tenant=None, clock=None, ids=None))]
    fn from_json<'py>(
        cls: &Bound<'py, PyType>,
        data: &Bound<'py, PyAny>,
        tenant: Given<'_, 'py>,
        clock: Given<'_, 'py>,
        ids: Given<'_, 'py>,
    ) -> PyResult<Execution> {
        Execution::belonging(cls.py(), loaded(data)?, tenant, keep(clock), keep(ids))
    }

    fn __richcmp__<'py>(
        slf: &Bound<'py, Execution>,
        other: &Bound<'py, PyAny>,
        op: CompareOp,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let Ok(other) = other.cast::<Execution>() else {
            return Ok(py.NotImplemented().into_bound(py));
        };
        let state = |execution: &Execution| execution.read(py, |core| core.to_json(false));
        let equal =
            || -> PyResult<bool> { Ok(slf.is(other) || state(slf.get())? == state(other.get())?) };
        match op {
            CompareOp::Eq => Ok(equal()?.into_pyobject(py)?.to_owned().into_any()),
            CompareOp::Ne => Ok((!equal()?).into_pyobject(py)?.to_owned().into_any()),
            _ => Ok(py.NotImplemented().into_bound(py)),
        }
    }

    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        Ok((RESTORED.get(py)?.clone(), (self.to_json(py)?,)))
    }

    fn __copy__(&self, py: Python<'_>) -> PyResult<Execution> {
        let data = self.read(py, |core| core.to_json(true))?;
        let mut core = Core::from_json(&data).map_err(|error| raise(py, &error))?;
        self.read(py, |from| core.share_limits(from))?;
        let clone = |value: &Option<Py<PyAny>>| value.as_ref().map(|value| value.clone_ref(py));
        let context = self.context(py).map(Bound::unbind);
        Ok(Execution::wrap(core, clone(&self.clock), clone(&self.ids), context))
    }

    fn __deepcopy__(&self, py: Python<'_>, _memo: &Bound<'_, PyAny>) -> PyResult<Execution> {
        self.__copy__(py)
    }

    /// Panics in the core, with the interpreter lock or without it: what the test of that needs.
    #[pyo3(signature = (detached = false))]
    fn _panic(&self, py: Python<'_>, detached: bool) -> PyResult<()> {
        let panic = |_: &Core| std::panic::resume_unwind(Box::new("asked to"));
        if detached { self.read_detached(py, panic) } else { self.read(py, panic) }
    }
}
