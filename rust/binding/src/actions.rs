//! The methods of `Execution` that make actions: one each.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use stepwell_core::spec::{Kind, StepType, WaitReason};
use stepwell_core::{Fields, Id};

use crate::bridge::{self, Import};
use crate::execution::Execution;
use crate::step::Step;

static MICROS: Import = Import::new("stepwell.fields", "micros");

// The actions without fields, made once.
static PLAN: Fields<'static> = Fields::new(Kind::Plan);
static START: Fields<'static> = Fields::new(Kind::Start);
static PAUSE: Fields<'static> = Fields::new(Kind::Pause);
static RESUME: Fields<'static> = Fields::new(Kind::Resume);

pub type Given<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

fn given<'a, 'py>(value: Given<'a, 'py>) -> Given<'a, 'py> {
    value.filter(|value| !value.is_none())
}

/// What describes a new step, as it was given.
struct NewStep<'a, 'py> {
    name: Given<'a, 'py>,
    step_id: Given<'a, 'py>,
    step_type: Given<'a, 'py>,
    key: Given<'a, 'py>,
    parent: Given<'a, 'py>,
    input: Given<'a, 'py>,
    /// Whether the input is JSON already.
    is_encoded: bool,
    source: Given<'a, 'py>,
    callable_id: Given<'a, 'py>,
    place: Given<'a, 'py>,
}

/// A step as it may be given: by its id, or as a view of this execution.
enum StepRef<'a, 'py> {
    View(&'a Bound<'py, Step>),
    Text(&'a Bound<'py, PyAny>),
    Missing,
}

impl StepRef<'_, '_> {
    fn id(&self) -> PyResult<Option<Id>> {
        match self {
            StepRef::View(step) => Ok(Some(step.get().id)),
            StepRef::Text(text) => bridge::id(text, "step").map(Some),
            StepRef::Missing => Ok(None),
        }
    }
}

fn step_ref<'a, 'py>(
    slf: &Bound<'py, Execution>,
    value: Given<'a, 'py>,
) -> PyResult<StepRef<'a, 'py>> {
    let Some(value) = given(value) else {
        return Ok(StepRef::Missing);
    };
    match value.cast::<Step>() {
        Ok(step) if step.get().execution.is(slf) => Ok(StepRef::View(step)),
        Ok(step) => {
            let id = bridge::step_text(step.get().id);
            Err(bridge::refuse(slf.py(), "foreign_step", (id,)))
        }
        Err(_) => Ok(StepRef::Text(value)),
    }
}

impl Execution {
    fn act(slf: &Bound<'_, Execution>, fields: &Fields<'_>) -> PyResult<()> {
        let now = slf.get().clock_now(slf.py())?;
        Execution::act_at(slf, fields, now).map(|_| ())
    }

    /// Applies an action, and says which step it was about.
    fn act_at(
        slf: &Bound<'_, Execution>,
        fields: &Fields<'_>,
        now: i64,
    ) -> PyResult<Option<usize>> {
        slf.get().change(slf.py(), |core| {
            core.apply(fields, None, now).map(|(_, touched)| touched.index())
        })
    }

    /// Applies an action of a step that must be named.
    fn one(slf: &Bound<'_, Execution>, fields: &Fields<'_>) -> PyResult<()> {
        if fields.step.is_none() {
            return Err(bridge::missing(slf.py(), fields.kind, "step_id"));
        }
        Execution::act(slf, fields).map(|_| ())
    }

    fn make<'py>(
        slf: &Bound<'py, Execution>,
        kind: Kind,
        new: &NewStep<'_, 'py>,
    ) -> PyResult<Bound<'py, Step>> {
        let (py, this) = (slf.py(), slf.get());
        let step = step_ref(slf, new.step_id)?;
        let parent = step_ref(slf, new.parent)?;
        let mut fields = Fields::new(kind);
        fields.step = step.id()?;
        fields.name = new.name.map(|name| bridge::label("name", name)).transpose()?;
        if let Some(step_type) = new.step_type {
            fields.step_type =
                bridge::choice("type", step_type, &StepType::NAMES, StepType::parse)?;
        }
        fields.key = new.key.map(|key| bridge::label("key", key)).transpose()?;
        fields.parent = parent.id()?;
        let input =
            if new.is_encoded { bridge::written(new.input)? } else { bridge::payload(new.input)? };
        let source = new.source.map(|source| bridge::encoded("source", source)).transpose()?;
        fields.callable_id =
            new.callable_id.map(|callable| bridge::label("callable_id", callable)).transpose()?;
        fields.place = new.place.map(|place| bridge::path("place", place)).transpose()?;
        fields.input = input.as_ref().map(|input| input.text()).transpose()?;
        fields.source = source.as_ref().map(|source| source.text()).transpose()?;
        if kind == Kind::StepScheduled && fields.name.is_none() {
            return Err(bridge::missing(py, kind, "name"));
        }
        // One reading of the process's clock serves the id and the action.
        let now = this.clock.is_none().then(crate::clock::now);
        if fields.step.is_none() {
            fields.step = Some(this.new_step_id(py, now)?);
        }
        let id = fields.step.ok_or_else(|| bridge::missing(py, kind, "step_id"))?;
        let now = now.map_or_else(|| this.clock_now(py), Ok)?;
        match (Execution::act_at(slf, &fields, now)?, step) {
            (_, StepRef::View(step)) => Ok(step.clone()),
            (Some(index), _) => Bound::new(py, Step { execution: slf.clone().unbind(), index, id }),
            _ => Err(bridge::refuse(py, "internal", ("no step was touched",))),
        }
    }
}

#[pymethods]
impl Execution {
    /// Begins with planning.
    fn plan(slf: &Bound<'_, Execution>) -> PyResult<()> {
        Execution::act(slf, &PLAN)
    }

    /// Begins to run.
    fn start(slf: &Bound<'_, Execution>) -> PyResult<()> {
        Execution::act(slf, &START)
    }

    /// Pauses: steps that run may still end, none starts.
    #[pyo3(signature = (reason=None))]
    fn pause(slf: &Bound<'_, Execution>, reason: Given<'_, '_>) -> PyResult<()> {
        let Some(reason) = given(reason) else {
            return Execution::act(slf, &PAUSE);
        };
        let mut fields = Fields::new(Kind::Pause);
        fields.reason = Some(bridge::note("reason", reason)?);
        Execution::act(slf, &fields)
    }

    /// Goes back to where it was paused from, or from waiting to running.
    fn resume(slf: &Bound<'_, Execution>) -> PyResult<()> {
        Execution::act(slf, &RESUME)
    }

    /// Waits for something outside, for one of the `WaitReason`s.
    fn wait<'py>(slf: &Bound<'py, Execution>, reason: &Bound<'py, PyAny>) -> PyResult<()> {
        if reason.is_none() {
            return Err(bridge::missing(slf.py(), Kind::Wait, "reason"));
        }
        let mut fields = Fields::new(Kind::Wait);
        fields.wait =
            Some(bridge::choice("reason", reason, &WaitReason::NAMES, WaitReason::parse)?);
        Execution::act(slf, &fields)
    }

    /// What it waited for is there; where it names an open wait step, that step completes with the payload.
    #[pyo3(signature = (step_id=None, payload=None))]
    fn input_received<'py>(
        slf: &Bound<'py, Execution>,
        step_id: Given<'_, 'py>,
        payload: Given<'_, 'py>,
    ) -> PyResult<()> {
        let mut fields = Fields::new(Kind::InputReceived);
        fields.step = step_ref(slf, step_id)?.id()?;
        let payload = bridge::payload(payload)?;
        fields.output = payload.as_ref().map(|payload| payload.text()).transpose()?;
        Execution::act(slf, &fields)
    }

    /// Ends well. Raises `OpenSteps` while a step is pending or running.
    #[pyo3(signature = (output=None))]
    fn complete(slf: &Bound<'_, Execution>, output: Given<'_, '_>) -> PyResult<()> {
        let output = bridge::payload(output)?;
        let mut fields = Fields::new(Kind::Complete);
        fields.output = output.as_ref().map(|output| output.text()).transpose()?;
        Execution::act(slf, &fields)
    }

    /// Ends with an error; open steps are cancelled.
    fn fail<'py>(slf: &Bound<'py, Execution>, error: &Bound<'py, PyAny>) -> PyResult<()> {
        if error.is_none() {
            return Err(bridge::missing(slf.py(), Kind::Fail, "error"));
        }
        let error = bridge::encoded("error", error)?;
        let mut fields = Fields::new(Kind::Fail);
        fields.error = Some(error.text()?);
        Execution::act(slf, &fields)
    }

    /// Ends because somebody wants so; open steps are cancelled.
    #[pyo3(signature = (reason=None))]
    fn cancel(slf: &Bound<'_, Execution>, reason: Given<'_, '_>) -> PyResult<()> {
        let mut fields = Fields::new(Kind::Cancel);
        fields.reason = reason.map(|reason| bridge::note("reason", reason)).transpose()?;
        Execution::act(slf, &fields)
    }

    /// Makes a step that is to start later, and returns it.
    #[pyo3(signature = (name, *, step_id=None, r#type=None, key=None, parent_step_id=None, input=None, source=None, callable_id=None, place=None),
           text_signature = "($self, name, *, step_id=None, type='function', key=None, parent_step_id=None, input=None, source=None, callable_id=None, place=None)")]
    #[allow(clippy::too_many_arguments)]
    fn schedule_step<'py>(
        slf: &Bound<'py, Execution>,
        name: Given<'_, 'py>,
        step_id: Given<'_, 'py>,
        r#type: Given<'_, 'py>,
        key: Given<'_, 'py>,
        parent_step_id: Given<'_, 'py>,
        input: Given<'_, 'py>,
        source: Given<'_, 'py>,
        callable_id: Given<'_, 'py>,
        place: Given<'_, 'py>,
    ) -> PyResult<Bound<'py, Step>> {
        let (step_type, parent) = (r#type, parent_step_id);
        let new = NewStep {
            name,
            step_id,
            step_type,
            key,
            parent,
            input,
            is_encoded: false,
            source,
            callable_id,
            place,
        };
        Execution::make(slf, Kind::StepScheduled, &new)
    }

    /// Makes a step that runs at once, or starts the pending one with this `step_id`, and returns it.
    #[pyo3(signature = (name=None, *, step_id=None, r#type=None, key=None, parent_step_id=None, input=None, source=None, callable_id=None, place=None),
           text_signature = "($self, name=None, *, step_id=None, type='function', key=None, parent_step_id=None, input=None, source=None, callable_id=None, place=None)")]
    #[allow(clippy::too_many_arguments)]
    fn start_step<'py>(
        slf: &Bound<'py, Execution>,
        name: Given<'_, 'py>,
        step_id: Given<'_, 'py>,
        r#type: Given<'_, 'py>,
        key: Given<'_, 'py>,
        parent_step_id: Given<'_, 'py>,
        input: Given<'_, 'py>,
        source: Given<'_, 'py>,
        callable_id: Given<'_, 'py>,
        place: Given<'_, 'py>,
    ) -> PyResult<Bound<'py, Step>> {
        let (step_type, parent) = (r#type, parent_step_id);
        let new = NewStep {
            name,
            step_id,
            step_type,
            key,
            parent,
            input,
            is_encoded: false,
            source,
            callable_id,
            place,
        };
        Execution::make(slf, Kind::StepStarted, &new)
    }

    /// Ends a running step well.
    #[pyo3(signature = (step_id, output=None))]
    fn complete_step<'py>(
        slf: &Bound<'py, Execution>,
        step_id: &Bound<'py, PyAny>,
        output: Given<'_, 'py>,
    ) -> PyResult<()> {
        let mut fields = Fields::new(Kind::StepCompleted);
        fields.step = step_ref(slf, Some(step_id))?.id()?;
        let output = bridge::payload(output)?;
        fields.output = output.as_ref().map(|output| output.text()).transpose()?;
        Execution::one(slf, &fields)
    }

    /// Ends an attempt of a running step with an error; the step is pending until the next, due at `retry_at`.
    #[pyo3(signature = (step_id, error, retry_at=None))]
    fn retry_step<'py>(
        slf: &Bound<'py, Execution>,
        step_id: &Bound<'py, PyAny>,
        error: &Bound<'py, PyAny>,
        retry_at: Given<'_, 'py>,
    ) -> PyResult<()> {
        Execution::end_with_error(slf, Kind::StepRetrying, step_id, error, retry_at)
    }

    /// Ends a running or pending step with an error.
    fn fail_step<'py>(
        slf: &Bound<'py, Execution>,
        step_id: &Bound<'py, PyAny>,
        error: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        Execution::end_with_error(slf, Kind::StepFailed, step_id, error, None)
    }

    /// Ends a pending step that is not needed.
    #[pyo3(signature = (step_id, reason=None))]
    fn skip_step<'py>(
        slf: &Bound<'py, Execution>,
        step_id: &Bound<'py, PyAny>,
        reason: Given<'_, 'py>,
    ) -> PyResult<()> {
        Execution::end_with_reason(slf, Kind::StepSkipped, step_id, reason)
    }

    /// Ends a pending or running step before its result.
    #[pyo3(signature = (step_id, reason=None))]
    fn cancel_step<'py>(
        slf: &Bound<'py, Execution>,
        step_id: &Bound<'py, PyAny>,
        reason: Given<'_, 'py>,
    ) -> PyResult<()> {
        Execution::end_with_reason(slf, Kind::StepCancelled, step_id, reason)
    }

    /// Adds to a counter of a running step: `tokens`, `cost` or an own one, kept in millionths, half to even.
    fn add_usage<'py>(
        slf: &Bound<'py, Execution>,
        step_id: &Bound<'py, PyAny>,
        counter: &Bound<'py, PyAny>,
        amount: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let amount_micros: i64 = MICROS.get(slf.py())?.call1((amount,))?.extract()?;
        let mut fields = Fields::new(Kind::StepUsage);
        fields.step = step_ref(slf, Some(step_id))?.id()?;
        fields.counter =
            given(Some(counter)).map(|counter| bridge::label("counter", counter)).transpose()?;
        for (missing, field) in [(fields.step.is_none(), "step_id"), (counter.is_none(), "counter")]
        {
            if missing {
                return Err(bridge::missing(slf.py(), fields.kind, field));
            }
        }
        fields.amount_micros = amount_micros;
        Execution::one(slf, &fields)
    }
}

/// `Execution.start_step` with everything in its place, and an input that is encoded.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub fn start_step<'py>(
    execution: &Bound<'py, Execution>,
    name: &Bound<'py, PyAny>,
    r#type: &Bound<'py, PyAny>,
    key: Given<'_, 'py>,
    parent: Given<'_, 'py>,
    input: Option<&Bound<'py, PyBytes>>,
    callable_id: Given<'_, 'py>,
    place: &Bound<'py, PyAny>,
    step_id: Given<'_, 'py>,
) -> PyResult<Bound<'py, Step>> {
    let new = NewStep {
        name: Some(name),
        step_id,
        step_type: Some(r#type),
        key,
        parent,
        input: input.map(Bound::as_any),
        is_encoded: true,
        source: None,
        callable_id,
        place: Some(place),
    };
    Execution::make(execution, Kind::StepStarted, &new)
}

impl Execution {
    fn end_with_error<'py>(
        slf: &Bound<'py, Execution>,
        kind: Kind,
        step_id: &Bound<'py, PyAny>,
        error: &Bound<'py, PyAny>,
        retry_at: Given<'_, 'py>,
    ) -> PyResult<()> {
        let py = slf.py();
        let mut fields = Fields::new(kind);
        fields.step = step_ref(slf, Some(step_id))?.id()?;
        let error = given(Some(error)).map(|error| bridge::encoded("error", error)).transpose()?;
        if let Some(retry_at) = given(retry_at) {
            fields.retry_at =
                Some(bridge::TO_NS.get(py)?.call1((retry_at, "retry_at"))?.extract()?);
        }
        if fields.step.is_none() {
            return Err(bridge::missing(py, kind, "step_id"));
        }
        let Some(error) = &error else {
            return Err(bridge::missing(py, kind, "error"));
        };
        fields.error = Some(error.text()?);
        Execution::one(slf, &fields)
    }

    fn end_with_reason<'py>(
        slf: &Bound<'py, Execution>,
        kind: Kind,
        step_id: &Bound<'py, PyAny>,
        reason: Given<'_, 'py>,
    ) -> PyResult<()> {
        let mut fields = Fields::new(kind);
        fields.step = step_ref(slf, Some(step_id))?.id()?;
        fields.reason = given(reason).map(|reason| bridge::note("reason", reason)).transpose()?;
        Execution::one(slf, &fields)
    }
}
