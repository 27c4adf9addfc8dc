//! The methods of `Execution` that make bulk actions.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyInt};
use stepwell_core::spec::{Kind, MAX_BULK_STEPS, StepType};
use stepwell_core::{
    Id, Many, Places, Run, Targets, Touched, check_label, check_note, check_path, read_action,
};

use crate::bridge::{self, Import};
use crate::columns;
use crate::execution::Execution;
use crate::given::{self, Given, Labels, Payloads, Quick, listed};
use crate::step::Step;

static BULK_NEW: Import = Import::new("stepwell.fields", "bulk_new");
static BULK_ACTION: Import = Import::new("stepwell.fields", "bulk_action");
static NEW_RUNS: Import = Import::new("stepwell.fields", "new_runs");
static STEP_RANGE: Import = Import::new("stepwell.steps", "StepRange");

/// The arguments of a bulk call; sequences are lists or tuples by now.
#[derive(Default)]
struct Call<'a, 'py> {
    steps: Option<Bound<'py, PyAny>>,
    count: Given<'a, 'py>,
    names: Option<Bound<'py, PyAny>>,
    step_type: Given<'a, 'py>,
    keys: Option<Bound<'py, PyAny>>,
    parent: Given<'a, 'py>,
    input: Given<'a, 'py>,
    inputs: Option<Bound<'py, PyAny>>,
    source: Given<'a, 'py>,
    callable_id: Given<'a, 'py>,
    places: Option<Bound<'py, PyAny>>,
    output: Given<'a, 'py>,
    outputs: Option<Bound<'py, PyAny>>,
    error: Given<'a, 'py>,
    errors: Option<Bound<'py, PyAny>>,
    reason: Given<'a, 'py>,
}

/// The same as the core takes them.
struct Taken<'a, 'py> {
    targets: Option<Targets>,
    count: usize,
    names: Labels<'py>,
    step_type: StepType,
    keys: Labels<'py>,
    parent: Option<Id>,
    inputs: Payloads,
    source: Option<String>,
    callable_id: Option<std::borrow::Cow<'a, str>>,
    places: Labels<'py>,
    outputs: Payloads,
    errors: Payloads,
    reason: Option<std::borrow::Cow<'a, str>>,
}

/// The first arguments of the calls that make steps, in their order.
type New<'a, 'py> = (
    Given<'a, 'py>,
    Given<'a, 'py>,
    Given<'a, 'py>,
    Given<'a, 'py>,
    Given<'a, 'py>,
    Given<'a, 'py>,
    Given<'a, 'py>,
    Given<'a, 'py>,
);

impl<'a, 'py> Call<'a, 'py> {
    /// A call that makes steps.
    fn new(
        (names, steps, count, step_type, keys, parent, input, inputs): New<'a, 'py>,
        source: Given<'a, 'py>,
        callable_id: Given<'a, 'py>,
        places: Given<'a, 'py>,
    ) -> PyResult<Call<'a, 'py>> {
        Ok(Call {
            steps: listed_steps(steps)?,
            count,
            names: listed_names(names)?,
            step_type,
            keys: listed("keys", keys)?,
            parent,
            input,
            inputs: listed("inputs", inputs)?,
            source,
            callable_id,
            places: listed("places", places)?,
            ..Call::default()
        })
    }

    /// The steps, and how many they are.
    fn targets(&self, slf: &Bound<'py, Execution>) -> Quick<Option<(Targets, usize)>> {
        let Some(steps) = &self.steps else { return Some(None) };
        if steps.is_exact_instance(STEP_RANGE.get(slf.py()).ok()?) {
            if !steps.getattr("_execution").ok()?.is(slf) {
                return None;
            }
            let places = columns::places(&steps.getattr("_indices").ok()?).ok()?;
            let count = places.len();
            return Some(Some((Targets::Places(places), count)));
        }
        let runs = given::ids(slf, steps)?;
        let count = runs.iter().map(|(_, count)| *count as usize).sum();
        Some(Some((Targets::Ids(runs), count)))
    }

    fn parent(&self, slf: &Bound<'py, Execution>) -> Quick<Option<Id>> {
        let Some(parent) = self.parent.filter(|value| !value.is_none()) else { return Some(None) };
        match parent.cast::<Step>() {
            Ok(step) if step.get().execution.is(slf) => Some(Some(step.get().id)),
            Ok(_) => None,
            Err(_) => bridge::id(parent, "step").ok().map(Some),
        }
    }

    /// Everything, where nothing is out of the ordinary: see `given`.
    fn take(&self, slf: &Bound<'py, Execution>) -> Quick<Taken<'a, 'py>> {
        let targets = self.targets(slf)?;
        let label = |text: &str| check_label(String::new, text).is_ok();
        let names = Labels::names(self.names.as_ref())?;
        let keys = Labels::many(self.keys.as_ref(), label)?;
        let places =
            Labels::many(self.places.as_ref(), |text| check_path(String::new, text).is_ok())?;
        let inputs = Payloads::of(self.input, self.inputs.as_ref(), given::value)?;
        let outputs = Payloads::of(self.output, self.outputs.as_ref(), given::value)?;
        let errors = Payloads::of(self.error, self.errors.as_ref(), given::error)?;
        let counts = [
            names.count(),
            keys.count(),
            inputs.count(),
            outputs.count(),
            errors.count(),
            places.count(),
        ];
        let said = match self.count.filter(|count| !count.is_none()) {
            Some(count) => Some(count.cast_exact::<PyInt>().ok()?.extract().ok()?),
            None => counts.into_iter().flatten().next(),
        };
        let count = targets.as_ref().map(|(_, count)| *count).or(said)?;
        if count == 0
            || count > MAX_BULK_STEPS
            || counts.into_iter().flatten().any(|given| given != count)
        {
            return None;
        }
        let source = match self.source.filter(|value| !value.is_none()) {
            Some(source) => Some(bridge::encoded("source", source).ok()?.text().ok()?.to_owned()),
            None => None,
        };
        let step_type = match self.step_type.filter(|value| !value.is_none()) {
            Some(value) => bridge::choice("type", value, &StepType::NAMES, StepType::parse).ok()?,
            None => StepType::Function,
        };
        Some(Taken {
            targets: targets.map(|(targets, _)| targets),
            count,
            names,
            step_type,
            keys,
            parent: self.parent(slf)?,
            inputs,
            source,
            callable_id: given::note(self.callable_id, label)?,
            places,
            outputs,
            errors,
            reason: given::note(self.reason, |text| check_note("", text).is_ok())?,
        })
    }

    /// The arguments as the package's own functions take them.
    fn fields(&self, py: Python<'py>, kind: Kind) -> PyResult<Bound<'py, PyAny>> {
        if matches!(kind, Kind::StepsScheduled | Kind::StepsStarted) {
            let new = (
                &self.names,
                &self.steps,
                self.step_type,
                &self.keys,
                self.parent,
                self.input,
                &self.inputs,
                self.source,
                self.callable_id,
                &self.places,
            );
            return BULK_NEW.get(py)?.call1(new);
        }
        let fields = PyDict::new(py);
        fields.set_item("steps", &self.steps)?;
        let (one, many) = match kind {
            Kind::StepsCompleted => (("output", self.output), ("outputs", &self.outputs)),
            Kind::StepsFailed => (("error", self.error), ("errors", &self.errors)),
            _ => (("reason", self.reason), ("reasons", &None)),
        };
        fields.set_item(one.0, one.1)?;
        if kind != Kind::StepsCancelled {
            fields.set_item(many.0, many.1)?;
        }
        Ok(fields.into_any())
    }

    fn run(&self, slf: &Bound<'py, Execution>, kind: Kind) -> PyResult<Bound<'py, PyAny>> {
        let places = match self.take(slf) {
            Some(taken) if taken.is_complete(kind) => taken.apply(slf, kind)?,
            _ => self.by_words(slf, kind)?,
        };
        STEP_RANGE.get(slf.py())?.call1((slf, columns::shown(slf.py(), &places)?))
    }

    /// The action as the package makes it, in its JSON.
    fn by_words(&self, slf: &Bound<'py, Execution>, kind: Kind) -> PyResult<Places> {
        let (py, this) = (slf.py(), slf.get());
        let given = self.fields(py, kind)?;
        let args = (kind.name(), given, self.count, this.id_source(py)?, slf);
        let json = BULK_ACTION.get(py)?.call1(args)?.cast_into::<PyBytes>()?;
        let body = json.as_bytes();
        let now = this.clock_now(py)?;
        let (_, touched) = this.change_detached(py, |core| {
            let found = read_action(body).map_err(|_| stepwell_core::Error::NotAnAction)?;
            core.apply(&found.fields, None, now)
        })?;
        Ok(match touched {
            Touched::Many(places) => *places,
            _ => Places::Range(0..0),
        })
    }
}

impl<'py> Taken<'_, 'py> {
    /// Whether it says which steps, where it makes none, and every failed one has an error.
    fn is_complete(&self, kind: Kind) -> bool {
        let errors = self.errors.each();
        let is_said =
            matches!(kind, Kind::StepsScheduled | Kind::StepsStarted) || self.targets.is_some();
        if !is_said {
            return false;
        }
        kind != Kind::StepsFailed || (0..self.count).all(|position| errors.get(position).is_some())
    }

    fn apply(self, slf: &Bound<'py, Execution>, kind: Kind) -> PyResult<Places> {
        let (py, this) = (slf.py(), slf.get());
        let targets = match self.targets {
            Some(targets) => targets,
            None => Targets::Ids(new_runs(slf, self.count)?),
        };
        let (names, keys) = (self.names.texts()?, self.keys.texts()?);
        let places = self.places.texts()?;
        let mut many = Many::new(kind, targets);
        many.names = self.names.each(&names)?;
        many.step_type = self.step_type;
        many.keys = self.keys.each(&keys)?;
        many.parent = self.parent;
        many.inputs = self.inputs.each();
        many.source = self.source.as_deref();
        many.callable_id = self.callable_id.as_deref();
        many.places = self.places.each(&places)?;
        many.outputs = self.outputs.each();
        many.errors = self.errors.each();
        many.reason = self.reason.as_deref();
        let now = this.clock_now(py)?;
        this.change_detached(py, move |core| core.apply_bulk(many, now))
    }
}

/// So many ids for new steps.
fn new_runs(slf: &Bound<'_, Execution>, count: usize) -> PyResult<Vec<Run>> {
    let (py, this) = (slf.py(), slf.get());
    if this.ids.is_none() {
        return Ok(vec![crate::ids::new_run(crate::clock::now(), count as u32)?]);
    }
    let runs: Vec<(String, u32)> =
        NEW_RUNS.get(py)?.call1((count, this.id_source(py)?))?.extract()?;
    let parsed = runs.into_iter().map(|(first, count)| Some((Id::parse(&first, "step")?, count)));
    parsed
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| bridge::refuse(py, "internal", ("an id that is none",)))
}

#[pymethods]
impl Execution {
    /// Makes many steps that are to start later, as one action: all or none.
    ///
    /// `names` is one name for all or one each; `count` says how many where no sequence does. Sequences may be lists,
    /// tuples, arrays of numpy or Arrow, and whatever else can be iterated, text and bytes aside. An error carries the
    /// `index` of the first offending element, and the `step_id` where that is a step which has one.
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
        let new = (names, steps, count, r#type, keys, parent_step_id, input, inputs);
        Call::new(new, source, callable_id, places)?.run(slf, Kind::StepsScheduled)
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
        let new = (names, steps, count, r#type, keys, parent_step_id, input, inputs);
        Call::new(new, source, callable_id, places)?.run(slf, Kind::StepsStarted)
    }

    /// Ends many running steps well, with one output each or the same for all; all or none.
    #[pyo3(signature = (steps, outputs=None, *, output=None))]
    fn complete_steps<'py>(
        slf: &Bound<'py, Execution>,
        steps: &Bound<'py, PyAny>,
        outputs: Given<'_, 'py>,
        output: Given<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let steps = listed_steps(Some(steps))?;
        let outputs = listed("outputs", outputs)?;
        Call { steps, output, outputs, ..Call::default() }.run(slf, Kind::StepsCompleted)
    }

    /// Ends many running or pending steps with one error each or the same for all; all or none.
    #[pyo3(signature = (steps, errors=None, *, error=None))]
    fn fail_steps<'py>(
        slf: &Bound<'py, Execution>,
        steps: &Bound<'py, PyAny>,
        errors: Given<'_, 'py>,
        error: Given<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let steps = listed_steps(Some(steps))?;
        let errors = listed("errors", errors)?;
        Call { steps, error, errors, ..Call::default() }.run(slf, Kind::StepsFailed)
    }

    /// Ends many pending or running steps before their results; all or none.
    #[pyo3(signature = (steps, reason=None))]
    fn cancel_steps<'py>(
        slf: &Bound<'py, Execution>,
        steps: &Bound<'py, PyAny>,
        reason: Given<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let steps = listed_steps(Some(steps))?;
        Call { steps, reason, ..Call::default() }.run(slf, Kind::StepsCancelled)
    }
}

fn listed_steps<'py>(steps: Given<'_, 'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
    match steps {
        Some(steps) if steps.is_exact_instance(STEP_RANGE.get(steps.py())?) => {
            Ok(Some(steps.clone()))
        }
        _ => listed("steps", steps),
    }
}

fn listed_names<'py>(names: Given<'_, 'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
    match names {
        Some(names) if names.is_instance_of::<pyo3::types::PyString>() => Ok(Some(names.clone())),
        _ => listed("names", names),
    }
}
