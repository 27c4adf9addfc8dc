//! The reducer: state x action -> state, or an error and no change. All legality is decided here, from the table.

use crate::bulk::{self, Many};
use crate::error::Error;
use crate::execution::Execution;
use crate::fields::Fields;
use crate::id::Id;
use crate::places::Places;
use crate::spec::{
    ExecutionState, Kind, StepState, StepType, execution_transition, returns, single, step_allowed,
    step_created, step_transition,
};
use crate::step::{Past, StepView};
use crate::steps::NewStep;

const MAX_STEPS: usize = u32::MAX as usize;
const SHOWN_STEPS: usize = 5;
const MICRO: u64 = 1_000_000;

/// The positions of the steps that an action was about.
#[derive(Clone, Debug, PartialEq)]
pub enum Touched {
    None,
    /// It is new.
    New(u32),
    One(u32),
    Many(Box<Places>),
}

impl Touched {
    /// The one step that it was about.
    pub fn index(&self) -> Option<usize> {
        match self {
            Touched::New(index) | Touched::One(index) => Some(*index as usize),
            _ => None,
        }
    }
}

/// Applies an action; when it is refused nothing has changed.
pub(crate) fn reduce(ex: &mut Execution, at: i64, fields: &Fields<'_>) -> Result<Touched, Error> {
    let kind = fields.kind;
    let one = single(kind).unwrap_or(kind);
    let created = step_created(one);
    if created.is_none() && !ABOUT_STEPS[one as usize] {
        return execution_action(ex, at, fields);
    }
    if !step_allowed(one, ex.status.state) {
        return Err(refusal(ex, kind));
    }
    if let Some(bulk) = &fields.bulk {
        let places = bulk.with(fields, |many| bulk::reduce(ex, one, at, many))?;
        return Ok(Touched::Many(Box::new(places)));
    }
    let id = fields.step.ok_or(Error::Internal("a step action without a step"))?;
    let found = ex.steps.find(id);
    if let (Some(_), None) = (created, found) {
        check_new(ex, fields)?;
        check_growth(ex, 1, at)?;
        check_payload(ex, fields)?;
        return Ok(Touched::New(create(ex, one, at, id, fields) as u32));
    }
    let index = found.ok_or(Error::UnknownStep(id))?;
    check_existing(ex, index, one, fields)?;
    match one {
        Kind::StepUsage => check_usage(ex, index, fields)?,
        Kind::StepStarted => check_growth(ex, 0, at)?,
        _ => {}
    }
    check_payload(ex, fields)?;
    change(ex, index, one, at, fields);
    Ok(Touched::One(index as u32))
}

/// The same for a bulk action that was given as one.
pub(crate) fn reduce_many(ex: &mut Execution, at: i64, many: &Many<'_>) -> Result<Places, Error> {
    let one = single(many.kind).unwrap_or(many.kind);
    if !step_allowed(one, ex.status.state) {
        return Err(refusal(ex, many.kind));
    }
    bulk::reduce(ex, one, at, many)
}

/// By kind, whether an action is about a step: whether there is a state of a step from which it leads somewhere.
const ABOUT_STEPS: [bool; Kind::NAMES.len()] = {
    let mut table = [false; Kind::NAMES.len()];
    let mut kind = 0;
    while kind < Kind::ALL.len() {
        let mut state = 0;
        while state < StepState::ALL.len() {
            table[kind] |= step_transition(Kind::ALL[kind], StepState::ALL[state]).is_some();
            state += 1;
        }
        kind += 1;
    }
    table
};

// --- the execution ---

fn refusal(ex: &Execution, kind: Kind) -> Error {
    let state = ex.status.state;
    if state.is_terminal() {
        Error::TerminalExecution { state, kind }
    } else {
        Error::InvalidTransition { state, kind }
    }
}

fn execution_action(ex: &mut Execution, at: i64, fields: &Fields<'_>) -> Result<Touched, Error> {
    let kind = fields.kind;
    let state = ex.status.state;
    let target = if returns(kind, state) {
        ex.status.paused_from.unwrap_or(ExecutionState::Running)
    } else {
        execution_transition(kind, state).ok_or_else(|| refusal(ex, kind))?
    };
    if kind == Kind::Complete && ex.steps.open() > 0 {
        let first = open(ex).take(SHOWN_STEPS).filter_map(|index| ex.steps.id(index));
        return Err(Error::OpenSteps { count: ex.steps.open(), first: first.collect() });
    }
    let mut touched = Touched::None;
    if let Some(id) = fields.step {
        let index = ex.steps.find(id).ok_or(Error::UnknownStep(id))?;
        let step_type = step(ex, index)?.step_type();
        if step_type != StepType::Wait {
            return Err(Error::NotAWait { id, step_type });
        }
        check_existing(ex, index, Kind::StepCompleted, fields)?;
        touched = Touched::One(index as u32);
    }
    check_payload(ex, fields)?;
    if let Touched::One(index) = touched {
        let index = index as usize;
        let mut completed = Fields::new(Kind::StepCompleted);
        completed.output = fields.output;
        change(ex, index, Kind::StepCompleted, at, &completed);
    }
    enter(ex, at, fields, target);
    Ok(touched)
}

fn enter(ex: &mut Execution, at: i64, fields: &Fields<'_>, target: ExecutionState) {
    let kind = fields.kind;
    if matches!(kind, Kind::Fail | Kind::Cancel) {
        let cancelled = Fields::new(Kind::StepCancelled);
        let left: Vec<usize> = open(ex).collect();
        for index in left {
            change(ex, index, Kind::StepCancelled, at, &cancelled);
        }
    }
    let status = &mut ex.status;
    match kind {
        Kind::Pause => status.paused_from = Some(status.state),
        Kind::Resume => status.paused_from = None,
        // What it waited for is there.
        Kind::InputReceived if status.paused_from == Some(ExecutionState::Waiting) => {
            status.paused_from = Some(ExecutionState::Running);
            status.wait = None;
        }
        _ => {}
    }
    if kind == Kind::Wait {
        status.wait = fields.wait;
    } else if !matches!(target, ExecutionState::Waiting | ExecutionState::Paused) {
        status.wait = None;
    }
    match kind {
        Kind::Plan | Kind::Start => _ = status.started.get_or_insert(at),
        Kind::Pause | Kind::Cancel => status.reason = fields.reason.as_deref().map(Into::into),
        Kind::Resume => status.reason = None,
        _ => {}
    }
    if target.is_terminal() {
        status.ended = Some(at);
        status.paused_from = None;
        status.output = fields.output.map(Into::into);
        status.error = fields.error.map(Into::into);
    }
    status.state = target;
}

// --- steps ---

fn open(ex: &Execution) -> impl Iterator<Item = usize> {
    let states = ex.steps.states(0..ex.steps.len()).enumerate();
    states.filter(|(_, state)| !state.is_terminal()).map(|(index, _)| index)
}

fn step(ex: &Execution, index: usize) -> Result<StepView<'_>, Error> {
    ex.steps.get(index).ok_or(Error::Internal("a step without a place"))
}

pub(crate) fn check_new(ex: &Execution, fields: &Fields<'_>) -> Result<(), Error> {
    if fields.name.is_none() {
        return Err(Error::MissingField { kind: Kind::StepStarted, field: "name" });
    }
    match fields.parent {
        Some(parent) if ex.steps.find(parent).is_none() => Err(Error::UnknownStep(parent)),
        _ => Ok(()),
    }
}

pub(crate) fn check_existing(
    ex: &Execution,
    index: usize,
    kind: Kind,
    fields: &Fields<'_>,
) -> Result<(), Error> {
    let found = step(ex, index)?;
    let (id, state) = (found.id(), found.state());
    if kind == Kind::StepScheduled {
        return Err(Error::DuplicateStep(id));
    }
    if step_transition(kind, state).is_none() {
        return Err(Error::InvalidStepTransition { id, state, kind });
    }
    if kind == Kind::StepStarted {
        let expected = found.name();
        if let Some(given) = &fields.name
            && expected != given
        {
            return Err(Error::StepNameDiffers {
                id,
                expected: expected.to_owned(),
                given: given.to_string(),
            });
        }
        if fields.describes() {
            return Err(Error::StepAlreadyDescribed(id));
        }
    }
    Ok(())
}

/// What all new steps of an action have.
pub(crate) fn describe_new(kind: Kind, at: i64, step_type: StepType) -> NewStep {
    let running = kind == Kind::StepStarted;
    NewStep {
        name: 0,
        state: step_created(kind).unwrap_or(StepState::Pending),
        step_type,
        scheduled: at,
        started: running.then_some(at),
    }
}

pub(crate) fn create(
    ex: &mut Execution,
    kind: Kind,
    at: i64,
    id: Id,
    fields: &Fields<'_>,
) -> usize {
    let steps = &mut ex.steps;
    let name = steps.intern(fields.name.as_deref().unwrap_or_default());
    let index = steps.push(id, NewStep { name, ..describe_new(kind, at, fields.step_type) });
    if fields.describes_more() {
        let key = steps.texts.push_some(fields.key.as_deref());
        let input = steps.texts.push_some(fields.input);
        let source = steps.texts.push_some(fields.source);
        let callable_id = steps.texts.push_some(fields.callable_id.as_deref());
        let place = steps.texts.push_some(fields.place.as_deref());
        let more = steps.more_mut(index);
        (more.key, more.input, more.source) = (key, input, source);
        (more.callable_id, more.place, more.parent) = (callable_id, place, fields.parent);
    }
    index
}

/// Changes a step; the action was found to be allowed.
pub(crate) fn change(ex: &mut Execution, index: usize, kind: Kind, at: i64, fields: &Fields<'_>) {
    ex.touch(index);
    let Some(step) = ex.steps.get(index) else { return };
    let Some(state) = step_transition(kind, step.state()) else { return };
    let steps = &mut ex.steps;
    match kind {
        Kind::StepUsage => {
            let counter = fields.counter.as_deref().unwrap_or_default();
            *steps.rare_mut(index).usage.entry(counter.into()).or_default() += fields.amount_micros;
            *ex.usage.entry(counter.into()).or_default() += fields.amount_micros;
        }
        Kind::StepStarted => steps.start(index, at),
        Kind::StepRetrying => {
            let started = steps.get(index).and_then(StepView::tried).unwrap_or(0);
            let error = fields.error.unwrap_or("null").into();
            let rare = steps.rare_mut(index);
            rare.past.push(Past { started, ended: at, error });
            rare.retry_at = fields.retry_at;
        }
        _ => {
            steps.ended.set(index, at);
            if let Some(output) = fields.output {
                let output = steps.texts.push(output);
                steps.outputs.set(index, output);
            }
            if fields.error.is_some() || fields.reason.is_some() {
                let error = steps.texts.push_some(fields.error);
                let reason = steps.texts.push_some(fields.reason.as_deref());
                let more = steps.more_mut(index);
                (more.error, more.reason) = (error, reason);
            }
        }
    }
    if state != StepState::Pending && steps.has_rare(index) && kind != Kind::StepUsage {
        steps.rare_mut(index).retry_at = None;
    }
    steps.set_state(index, state);
}

// --- limits ---

pub(crate) fn check_growth(ex: &mut Execution, count: usize, at: i64) -> Result<(), Error> {
    let total = ex.steps.len() + count;
    if total > MAX_STEPS {
        return Err(Error::TooManySteps);
    }
    let Some(limits) = ex.guard.limits else {
        return Ok(());
    };
    ex.guard.check("max_steps", total as f64, limits.max_steps)?;
    if let Some(started) = ex.status.started {
        ex.guard.check("max_wall_time_ms", (at - started) as f64 / 1e6, limits.max_wall_time_ms)?;
    }
    Ok(())
}

/// Errors do not count: they are short by themselves, and an execution must be able to fail.
fn check_payload(ex: &mut Execution, fields: &Fields<'_>) -> Result<(), Error> {
    if ex.guard.limits.is_none() {
        return Ok(());
    }
    check_size(ex, fields.input)?;
    check_size(ex, fields.output)
}

pub(crate) fn check_size(ex: &mut Execution, payload: Option<&str>) -> Result<(), Error> {
    let maximum = ex.guard.limits.and_then(|limits| limits.max_payload_bytes);
    match payload {
        Some(payload) => ex.guard.check("max_payload_bytes", payload.len() as f64, maximum),
        None => Ok(()),
    }
}

fn check_usage(ex: &mut Execution, index: usize, fields: &Fields<'_>) -> Result<(), Error> {
    let counter = fields.counter.as_deref().unwrap_or_default();
    let used = ex.usage.get(counter).copied().unwrap_or(0);
    let own = step(ex, index)?.usage().get(counter).copied().unwrap_or(0);
    let amount = fields.amount_micros;
    let (Some(total), Some(_)) = (used.checked_add(amount), own.checked_add(amount)) else {
        return Err(Error::UsageOverflow { counter: counter.to_owned() });
    };
    let Some(limits) = ex.guard.limits else {
        return Ok(());
    };
    match counter {
        "tokens" => ex.guard.check("max_tokens", units(total), limits.max_tokens),
        "cost" => ex.guard.check("max_cost", units(total), limits.max_cost),
        _ => Ok(()),
    }
}

/// An amount in millionths as a number, rounded once: dividing a sum above 2^53 would round it twice.
fn units(micros: i64) -> f64 {
    let sign = if micros < 0 { "-" } else { "" };
    let (whole, rest) = (micros.unsigned_abs() / MICRO, micros.unsigned_abs() % MICRO);
    format!("{sign}{whole}.{rest:06}").parse().unwrap_or(f64::NAN)
}
