//! The class `Execution`: the core behind a lock, and what it shows of itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyDict;
use stepwell_core::spec::ParentType;
use stepwell_core::{Execution as Core, Header, Id, Limits, Link};

use crate::bridge::{self, Import};
use crate::step::Step;

static CONTEXT: Import = Import::new("stepwell.model", "TenantContext");
pub static PARENT: Import = Import::new("stepwell.model", "ParentLink");
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

impl Execution {
    pub fn wrap(
        core: Core,
        clock: Option<Py<PyAny>>,
        ids: Option<Py<PyAny>>,
        context: Option<Py<PyAny>>,
    ) -> Execution {
        Execution { id: core.header().id, core: Mutex::new(core), clock, ids, context }
    }

    /// An execution that was read, for the tenant who asked for it.
    pub fn belonging(
        py: Python<'_>,
        mut core: Core,
        tenant: Option<&Bound<'_, PyAny>>,
        clock: Option<Py<PyAny>>,
        ids: Option<Py<PyAny>>,
    ) -> PyResult<Execution> {
        let mut context = None;
        if let Some(tenant) = given(tenant) {
            let asked = if tenant.is_instance(CONTEXT.get(py)?)? {
                core.set_limits(limits(tenant)?);
                context = Some(tenant.clone().unbind());
                own("tenant", Some(&tenant.getattr("tenant_id")?))?
            } else {
                own("tenant", Some(tenant))?
            };
            if asked != core.header().tenant {
                return Err(bridge::refuse(py, "tenant_differs", ()));
            }
        }
        Ok(Execution::wrap(core, clock, ids, context))
    }

    /// Runs something on the core under its lock. No Python runs in there. A panic is an `InternalError`, and so is
    /// every later use of what it may have left half done.
    fn locked(&self, py: Python<'_>, run: impl FnOnce(&mut Core)) -> PyResult<()> {
        let done = catch_unwind(AssertUnwindSafe(|| {
            let mut core: MutexGuard<'_, Core> = self.core.lock_py_attached(py).ok()?;
            run(&mut core);
            Some(())
        }));
        match done {
            Ok(Some(())) => Ok(()),
            Ok(None) => Err(bridge::refuse(py, "internal", ("the execution broke before",))),
            Err(_) => Err(panicked(py)),
        }
    }

    pub fn read<T>(&self, py: Python<'_>, read: impl FnOnce(&Core) -> T) -> PyResult<T> {
        let mut found = None;
        self.locked(py, |core| found = Some(read(core)))?;
        found.ok_or_else(|| panicked(py))
    }

    /// The same without the interpreter lock, for what takes long.
    pub fn read_detached<T: Send>(
        &self,
        py: Python<'_>,
        read: impl FnOnce(&Core) -> T + Send,
    ) -> PyResult<T> {
        self.change_detached(py, |core| Ok(read(core)))
    }

    /// Changes the core; a refusal becomes its exception, and warnings of limits are given after the lock is released.
    pub fn change<T>(
        &self,
        py: Python<'_>,
        change: impl FnOnce(&mut Core) -> Result<T, Box<stepwell_core::Error>>,
    ) -> PyResult<T> {
        let mut done = None;
        let mut warnings = Vec::new();
        self.locked(py, |core| {
            done = Some(change(core));
            if core.has_warnings() {
                warnings = core.take_warnings();
            }
        })?;
        match done {
            Some(Ok(done)) if warnings.is_empty() => Ok(done),
            Some(Ok(done)) => self.warn(py, warnings).map(|()| done),
            Some(Err(error)) => Err(crate::errors::raise(py, &error)),
            None => Err(panicked(py)),
        }
    }

    /// The same without the interpreter lock, for what takes long.
    pub fn change_detached<T: Send>(
        &self,
        py: Python<'_>,
        change: impl FnOnce(&mut Core) -> Result<T, Box<stepwell_core::Error>> + Send,
    ) -> PyResult<T> {
        let done = py.detach(|| {
            catch_unwind(AssertUnwindSafe(|| {
                let mut core = self.core.lock().ok()?;
                Some((change(&mut core), core.take_warnings()))
            }))
        });
        let (done, warnings) = match done {
            Ok(Some(found)) => found,
            _ => return Err(panicked(py)),
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
        Ok(self.clock_now(py)?.max(self.read(py, |core| core.status().last)?))
    }

    /// A new id for a step; `at` is the time of the process's clock, if it was read.
    pub fn new_step_id(&self, py: Python<'_>, at: Option<i64>) -> PyResult<Id> {
        match &self.ids {
            None => crate::ids::new_id(at.unwrap_or_else(crate::clock::now)),
            Some(ids) => {
                let made = ids.bind(py).call1(("step",))?;
                bridge::id(&STEP_ID.get(py)?.call1((made,))?, "step")
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
        self.context.as_ref().map(|context| context.bind(py).clone())
    }
}

fn panicked(py: Python<'_>) -> PyErr {
    bridge::refuse(py, "internal", ("the core panicked",))
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
    let parent_type =
        bridge::choice("parent_type", &parent.getattr("parent_type")?, &ParentType::NAMES, parse)?;
    let parent_id = bridge::label("parent_id", &parent.getattr("parent_id")?)?.as_ref().into();
    Ok(Link { parent_type, parent_id })
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
            (None, None) => crate::ids::new_id(crate::clock::now())?,
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
        let made = Execution::wrap(core, keep(given(clock)), keep(ids), context.map(Bound::unbind));
        made.change(py, Core::check_input)?;
        Ok(made)
    }

    /// The execution with this id, a TypeID `exec_…`; only before its first action.
    #[classattr]
    fn with_id(py: Python<'_>) -> PyResult<Py<PyAny>> {
        py.import("stepwell.builder")?.getattr("with_id").map(Bound::unbind)
    }

    /// The execution with this tenant; only before its first action.
    #[classattr]
    fn with_tenant(py: Python<'_>) -> PyResult<Py<PyAny>> {
        py.import("stepwell.builder")?.getattr("with_tenant").map(Bound::unbind)
    }

    /// The execution with this schema version; only before its first action.
    #[classattr]
    fn with_schema_version(py: Python<'_>) -> PyResult<Py<PyAny>> {
        py.import("stepwell.builder")?.getattr("with_schema_version").map(Bound::unbind)
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
        if this.read(py, |core| core.status().version > 0 || core.head().is_some())? {
            return Err(bridge::refuse(py, "already_started", (name,)));
        }
        let seed = PyDict::new(py);
        for name in ["id", "parent", "schema_version", "blueprint", "key", "input"] {
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
        seed.set_item("parent", PARENT.get(py)?.call1(("execution", this.id.text("exec")))?)?;
        seed.set_item("clock", &this.clock)?;
        seed.set_item("ids", &this.ids)?;
        slf.get_type().call((), Some(&seed))
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.id.text("exec").into_pyobject(py)?.hash()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        self.read(py, |core| {
            let (status, steps) = (core.status(), core.steps().len());
            let (id, state) = (core.header().id.text("exec"), status.state.name());
            format!("<Execution {id} {state} version={} steps={steps}>", status.version)
        })
    }

    /// Executions are not made by inheritance.
    #[classmethod]
    fn __init_subclass__(_cls: &Bound<'_, pyo3::types::PyType>) -> PyResult<()> {
        Err(PyTypeError::new_err("type 'stepwell.Execution' is not an acceptable base type"))
    }
}

impl Execution {
    /// The tenant, with its limits if it has any.
    fn owner(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.context(py) {
            Some(context) => Ok(context.unbind()),
            None => Ok(self
                .json(py, |core| core.header().tenant.as_deref())?
                .into_pyobject(py)?
                .unbind()),
        }
    }

    /// The view of a step.
    pub fn view(slf: &Bound<'_, Execution>, index: usize) -> PyResult<Step> {
        let this = slf.get();
        let id = this.read(slf.py(), |core| core.steps().id(index))?;
        match id {
            Some(id) => Ok(Step { execution: slf.clone().unbind(), index, id }),
            None => Err(pyo3::exceptions::PyIndexError::new_err("step index out of range")),
        }
    }
}
