//! The class `Execution`: the core behind a lock, and what it shows of itself.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyList};
use stepwell_core::spec::{ExecutionState, INITIAL, Kind, ParentType, WaitReason};
use stepwell_core::spec::{execution_transition, returns};
use stepwell_core::{Execution as Core, Header, Id, Limits, Link};

use crate::bridge::{self, Import, Members};
use crate::step::Step;

static STATES: Members = Members::new("ExecutionState", &ExecutionState::NAMES);
static WAITS: Members = Members::new("WaitReason", &WaitReason::NAMES);
static STEPS: Import = Import::new("stepwell.steps", "Steps");
static CONTEXT: Import = Import::new("stepwell.model", "TenantContext");
static PARENT: Import = Import::new("stepwell.model", "ParentLink");
static WARN: Import = Import::new("stepwell.model", "warn");
static NOW: Import = Import::new("stepwell.fields", "now");
static STEP_ID: Import = Import::new("stepwell.fields", "step_id");
static NEW_ID: Import = Import::new("stepwell._native", "new_id");

/// One run of a blueprint: a state machine, its steps and its journal.
///
/// It is changed only by actions: one method each, or `apply`. An action that is not allowed raises and changes
/// nothing. Every action is a journal record; `drain` hands them to a store, `replay` rebuilds the execution from them.
/// `clock` has `now_ns()`, `ids` makes a new id from a prefix; both default to those of the process. Any number of
/// threads may use it.
#[pyclass(frozen, module = "stepwell")]
pub struct Execution {
    core: Mutex<Core>,
    pub id: Id,
    pub clock: Option<Py<PyAny>>,
    pub ids: Option<Py<PyAny>>,
    context: Option<Py<PyAny>>,
}

/// What an execution has used, by counter.
pub fn usage<'py>(
    py: Python<'py>,
    usage: &BTreeMap<Box<str>, i64>,
) -> PyResult<Bound<'py, PyDict>> {
    let found = PyDict::new(py);
    for (counter, amount) in usage {
        found.set_item(&**counter, *amount as f64 / 1e6)?;
    }
    Ok(found)
}

impl Execution {
    pub fn wrap(
        core: Core,
        clock: Option<Py<PyAny>>,
        ids: Option<Py<PyAny>>,
        context: Option<Py<PyAny>>,
    ) -> Execution {
        Execution {
            id: core.header().id,
            core: Mutex::new(core),
            clock,
            ids,
            context,
        }
    }

    /// Runs something on the core under its lock. No Python runs in there. A panic is an `InternalError`, and so is
    /// every later use of what it may have left half done.
    fn locked<T>(&self, py: Python<'_>, run: impl FnOnce(&mut Core) -> T) -> PyResult<T> {
        let done = catch_unwind(AssertUnwindSafe(|| {
            let mut core: MutexGuard<'_, Core> = self.core.lock_py_attached(py).ok()?;
            Some(run(&mut core))
        }));
        match done {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(bridge::refuse(
                py,
                "internal",
                ("the execution broke before",),
            )),
            Err(_) => Err(bridge::refuse(py, "internal", ("the core panicked",))),
        }
    }

    pub fn read<T>(&self, py: Python<'_>, read: impl FnOnce(&Core) -> T) -> PyResult<T> {
        self.locked(py, |core| read(core))
    }

    /// Changes the core; a refusal becomes its exception, and warnings of limits are given after the lock is released.
    pub fn change<T>(
        &self,
        py: Python<'_>,
        change: impl FnOnce(&mut Core) -> Result<T, stepwell_core::Error>,
    ) -> PyResult<T> {
        let (done, warnings) = self.locked(py, |core| (change(core), core.take_warnings()))?;
        let done = done.map_err(|error| crate::errors::raise(py, &error))?;
        self.warn(py, warnings)?;
        Ok(done)
    }

    /// The same without the interpreter lock, for what takes long.
    pub fn change_detached<T: Send>(
        &self,
        py: Python<'_>,
        change: impl FnOnce(&mut Core) -> Result<T, stepwell_core::Error> + Send,
    ) -> PyResult<T> {
        let done = py.detach(|| {
            catch_unwind(AssertUnwindSafe(|| {
                let mut core = self.core.lock().ok()?;
                Some((change(&mut core), core.take_warnings()))
            }))
        });
        let (done, warnings) = match done {
            Ok(Some(found)) => found,
            _ => return Err(bridge::refuse(py, "internal", ("the core panicked",))),
        };
        let done = done.map_err(|error| crate::errors::raise(py, &error))?;
        self.warn(py, warnings)?;
        Ok(done)
    }

    fn warn(&self, py: Python<'_>, warnings: Vec<stepwell_core::Warning>) -> PyResult<()> {
        for (limit, used, maximum) in warnings {
            let hook = match &self.context {
                Some(context) => context.bind(py).getattr("on_warning")?.unbind(),
                None => py.None(),
            };
            WARN.get(py)?.call1((hook, limit, used, maximum))?;
        }
        Ok(())
    }

    /// The clock's time in UTC ns.
    pub fn clock_now(&self, py: Python<'_>) -> PyResult<i64> {
        match &self.clock {
            None => Ok(crate::clock::now()),
            Some(clock) => NOW.get(py)?.call1((clock,))?.extract(),
        }
    }

    /// The time, never before the last action.
    pub fn now(&self, py: Python<'_>) -> PyResult<i64> {
        Ok(self
            .clock_now(py)?
            .max(self.read(py, |core| core.status().last)?))
    }

    /// A new id for a step.
    pub fn new_step_id(&self, py: Python<'_>) -> PyResult<Id> {
        match &self.ids {
            None => crate::ids::new_id(),
            Some(ids) => {
                let made = ids.bind(py).call1(("step",))?;
                bridge::id(&STEP_ID.get(py)?.call1(("step_id", made))?, "step")
            }
        }
    }

    /// The id source as an object.
    pub fn id_source<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &self.ids {
            None => NEW_ID.get(py).cloned(),
            Some(ids) => Ok(ids.bind(py).clone()),
        }
    }

    pub fn context<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.context
            .as_ref()
            .map(|context| context.bind(py).clone())
    }

    fn json(
        &self,
        py: Python<'_>,
        read: impl FnOnce(&Core) -> Option<&str>,
    ) -> PyResult<Option<String>> {
        self.read(py, |core| read(core).map(str::to_owned))
    }
}

/// The limits of a tenant's context.
pub fn limits(context: &Bound<'_, PyAny>) -> PyResult<Option<Limits>> {
    let limits = context.getattr("limits")?;
    if limits.is_none() {
        return Ok(None);
    }
    let get = |name: &str| limits.getattr(name)?.extract::<Option<f64>>();
    Ok(Some(Limits {
        max_steps: get("max_steps")?,
        max_wall_time_ms: get("max_wall_time_ms")?,
        max_tokens: get("max_tokens")?,
        max_cost: get("max_cost")?,
        max_payload_bytes: get("max_payload_bytes")?,
    }))
}

fn given<'a, 'py>(value: Option<&'a Bound<'py, PyAny>>) -> Option<&'a Bound<'py, PyAny>> {
    value.filter(|value| !value.is_none())
}

fn own(what: &'static str, value: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Box<str>>> {
    given(value)
        .map(|value| bridge::label(what, value).map(|text| text.as_ref().into()))
        .transpose()
}

fn link(parent: &Bound<'_, PyAny>) -> PyResult<Link> {
    if !parent.is_instance(PARENT.get(parent.py())?)? {
        return Err(bridge::refuse(parent.py(), "not_a_parent", (parent,)));
    }
    let parse = ParentType::parse;
    let parent_type = bridge::choice(
        "parent_type",
        &parent.getattr("parent_type")?,
        &ParentType::NAMES,
        parse,
    )?;
    let parent_id = bridge::label("parent_id", &parent.getattr("parent_id")?)?
        .as_ref()
        .into();
    Ok(Link {
        parent_type,
        parent_id,
    })
}

#[pymethods]
impl Execution {
    #[new]
    #[pyo3(signature = (*, id=None, tenant=None, parent=None, schema_version=None, blueprint=None, key=None, input=None, clock=None, ids=None))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        id: Option<&Bound<'_, PyAny>>,
        tenant: Option<&Bound<'_, PyAny>>,
        parent: Option<&Bound<'_, PyAny>>,
        schema_version: Option<&Bound<'_, PyAny>>,
        blueprint: Option<&Bound<'_, PyAny>>,
        key: Option<&Bound<'_, PyAny>>,
        input: Option<&Bound<'_, PyAny>>,
        clock: Option<&Bound<'_, PyAny>>,
        ids: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Execution> {
        let parent = given(parent).map(link).transpose()?;
        let ids = given(ids);
        let id = match (given(id), ids) {
            (Some(id), _) => bridge::id(id, "exec")?,
            (None, Some(ids)) => bridge::id(&ids.call1(("exec",))?, "exec")?,
            (None, None) => crate::ids::new_id()?,
        };
        let context = match given(tenant) {
            Some(tenant) if tenant.is_instance(CONTEXT.get(py)?)? => Some(tenant.clone()),
            _ => None,
        };
        let tenant = match &context {
            Some(context) => own("tenant", Some(&context.getattr("tenant_id")?))?,
            None => own("tenant", tenant)?,
        };
        let header = Header {
            id,
            tenant,
            parent,
            schema_version: own("schema_version", schema_version)?,
            blueprint: own("blueprint", blueprint)?,
            key: own("key", key)?,
            input: match bridge::payload(input)? {
                Some(input) => Some(input.text()?.into()),
                None => None,
            },
        };
        let at = match given(clock) {
            None => crate::clock::now(),
            Some(clock) => NOW.get(py)?.call1((clock,))?.extract()?,
        };
        let limits = context.as_ref().map(limits).transpose()?.flatten();
        let keep = |value: Option<&Bound<'_, PyAny>>| value.map(|value| value.clone().unbind());
        let core = Core::new(header, at, limits);
        Ok(Execution::wrap(
            core,
            keep(given(clock)),
            keep(ids),
            context.map(Bound::unbind),
        ))
    }

    /// The execution with this id, a TypeID `exec_…`; only before its first action.
    #[classattr]
    fn with_id(py: Python<'_>) -> PyResult<Py<PyAny>> {
        py.import("stepwell.builder")?
            .getattr("with_id")
            .map(Bound::unbind)
    }

    /// The execution with this tenant; only before its first action.
    #[classattr]
    fn with_tenant(py: Python<'_>) -> PyResult<Py<PyAny>> {
        py.import("stepwell.builder")?
            .getattr("with_tenant")
            .map(Bound::unbind)
    }

    /// The execution with this schema version; only before its first action.
    #[classattr]
    fn with_schema_version(py: Python<'_>) -> PyResult<Py<PyAny>> {
        py.import("stepwell.builder")?
            .getattr("with_schema_version")
            .map(Bound::unbind)
    }

    /// What `builder.Builder` makes a changed copy by.
    fn _with<'py>(
        slf: &Bound<'py, Execution>,
        name: &str,
        field: &str,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        if this.read(py, |core| {
            core.status().version > 0 || core.head().is_some()
        })? {
            return Err(bridge::refuse(py, "already_started", (name,)));
        }
        let seed = PyDict::new(py);
        for name in [
            "id",
            "parent",
            "schema_version",
            "blueprint",
            "key",
            "input",
        ] {
            seed.set_item(name, slf.getattr(name)?)?;
        }
        seed.set_item("tenant", this.owner(py)?)?;
        seed.set_item("clock", &this.clock)?;
        seed.set_item("ids", &this.ids)?;
        seed.set_item(field, value)?;
        slf.get_type().call((), Some(&seed))
    }

    /// A new execution of the same tenant with a `parent` link to this one.
    fn child<'py>(slf: &Bound<'py, Execution>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        let seed = PyDict::new(py);
        seed.set_item("tenant", this.owner(py)?)?;
        seed.set_item("parent", PARENT.get(py)?.call1(("execution", this.id()))?)?;
        seed.set_item("clock", &this.clock)?;
        seed.set_item("ids", &this.ids)?;
        slf.get_type().call((), Some(&seed))
    }

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
        reason
            .map(|reason| WAITS.get(py, reason as usize))
            .transpose()
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
        let shown = |link: Link| {
            PARENT
                .get(py)?
                .call1((link.parent_type.name(), &*link.parent_id))
        };
        link.map(shown).transpose()
    }

    /// The steps by id in the order in which they were made; read-only and live.
    #[getter]
    fn steps<'py>(slf: &Bound<'py, Execution>) -> PyResult<Bound<'py, PyAny>> {
        STEPS.get(slf.py())?.call1((slf,))
    }

    /// The ids of the steps in the order in which they were made.
    #[getter]
    fn step_order<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let ids: Vec<Id> =
            self.read(py, |core| core.steps().iter().map(|step| step.id).collect())?;
        PyList::new(py, ids.into_iter().map(bridge::step_text))
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
        self.read(py, |core| {
            core.status().state != INITIAL && !core.status().state.is_terminal()
        })
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

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.id().into_pyobject(py)?.hash()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        self.read(py, |core| {
            let (status, steps) = (core.status(), core.steps().len());
            let (id, state) = (core.header().id.text("exec"), status.state.name());
            format!(
                "<Execution {id} {state} version={} steps={steps}>",
                status.version
            )
        })
    }

    /// Executions are not made by inheritance.
    #[classmethod]
    fn __init_subclass__(_cls: &Bound<'_, pyo3::types::PyType>) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "type 'stepwell.Execution' is not an acceptable base type",
        ))
    }
}

impl Execution {
    /// The tenant, with its limits if it has any.
    fn owner(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.context(py) {
            Some(context) => Ok(context.unbind()),
            None => Ok(self.tenant_id(py)?.into_pyobject(py)?.unbind()),
        }
    }

    /// The view of a step.
    pub fn view(slf: &Bound<'_, Execution>, index: usize) -> PyResult<Step> {
        let this = slf.get();
        let id = this.read(slf.py(), |core| core.steps().get(index).map(|step| step.id))?;
        match id {
            Some(id) => Ok(Step {
                execution: slf.clone().unbind(),
                index,
                id,
            }),
            None => Err(pyo3::exceptions::PyIndexError::new_err(
                "step index out of range",
            )),
        }
    }
}
