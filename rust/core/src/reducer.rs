//! The reducer: state x action -> state, or an error and no change. All legality is decided here, from the table.

use std::collections::HashSet;

use crate::error::Error;
use crate::execution::Execution;
use crate::fields::{Bulk, Fields};
use crate::id::{Id, Run};
use crate::spec::{
    ExecutionState, Kind, StepState, StepType, execution_transition, returns, single, step_allowed,
    step_created, step_transition,
};
use crate::steps::{More, NONE, Past, StepData};

const MAX_STEPS: usize = u32::MAX as usize;
const SHOWN_STEPS: usize = 5;
const MICRO: u64 = 1_000_000;

/// The positions of the steps that an action was about.
#[derive(Clone, Debug, PartialEq)]
pub enum Touched {
    None,
    One(usize),
    Many(Vec<usize>),
}

/// Applies an action; when it is refused nothing has changed.
pub(crate) fn reduce(ex: &mut Execution, at: i64, fields: &Fields<'_>) -> Result<Touched, Error> {
    let kind = fields.kind;
    let one = single(kind).unwrap_or(kind);
    let created = step_created(one);
    if created.is_none() && !is_step_action(one) {
        return execution_action(ex, at, fields);
    }
    if !step_allowed(one, ex.status.state) {
        return Err(refusal(ex, kind));
    }
    if let Some(bulk) = &fields.bulk {
        return bulk_action(ex, one, at, fields, bulk);
    }
    let id = fields.step.ok_or(Error::Internal("a step action without a step"))?;
    let found = ex.steps.find(id);
    if let (Some(_), None) = (created, found) {
        check_new(ex, fields)?;
        check_growth(ex, 1, at)?;
        check_payload(ex, fields)?;
        return Ok(Touched::One(create(ex, one, at, id, fields)));
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
    Ok(Touched::One(index))
}

fn is_step_action(kind: Kind) -> bool {
    StepState::ALL.iter().any(|state| step_transition(kind, *state).is_some())
}

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
    if kind == Kind::Complete && ex.status.open > 0 {
        let first = ex.steps.iter().filter(|step| !step.state.is_terminal()).map(|step| step.id);
        return Err(Error::OpenSteps {
            count: ex.status.open,
            first: first.take(SHOWN_STEPS).collect(),
        });
    }
    let mut touched = Touched::None;
    if let Some(id) = fields.step {
        let index = ex.steps.find(id).ok_or(Error::UnknownStep(id))?;
        let step_type = step(ex, index)?.step_type;
        if step_type != StepType::Wait {
            return Err(Error::NotAWait { id, step_type });
        }
        check_existing(ex, index, Kind::StepCompleted, fields)?;
        touched = Touched::One(index);
    }
    check_payload(ex, fields)?;
    if let Touched::One(index) = touched {
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
        for index in 0..ex.steps.len() {
            if ex.steps.get(index).is_some_and(|step| !step.state.is_terminal()) {
                change(ex, index, Kind::StepCancelled, at, &cancelled);
            }
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

fn step(ex: &Execution, index: usize) -> Result<&StepData, Error> {
    ex.steps.get(index).ok_or(Error::Internal("a step without a place"))
}

fn check_new(ex: &Execution, fields: &Fields<'_>) -> Result<(), Error> {
    if fields.name.is_none() && fields.bulk.as_ref().is_none_or(|bulk| bulk.names.is_none()) {
        return Err(Error::MissingField { kind: Kind::StepStarted, field: "name" });
    }
    match fields.parent {
        Some(parent) if ex.steps.find(parent).is_none() => Err(Error::UnknownStep(parent)),
        _ => Ok(()),
    }
}

fn check_existing(
    ex: &Execution,
    index: usize,
    kind: Kind,
    fields: &Fields<'_>,
) -> Result<(), Error> {
    let found = step(ex, index)?;
    let (id, state) = (found.id, found.state);
    if kind == Kind::StepScheduled {
        return Err(Error::DuplicateStep(id));
    }
    if step_transition(kind, state).is_none() {
        return Err(Error::InvalidStepTransition { id, state, kind });
    }
    if kind == Kind::StepStarted {
        let expected = ex.steps.name(found);
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

fn create(ex: &mut Execution, kind: Kind, at: i64, id: Id, fields: &Fields<'_>) -> usize {
    let running = kind == Kind::StepStarted;
    let own = |text: Option<&str>| text.map(Into::into);
    let rare = fields.key.is_some()
        || fields.parent.is_some()
        || fields.input.is_some()
        || fields.source.is_some()
        || fields.callable_id.is_some()
        || fields.place.is_some();
    let more = rare.then(|| {
        Box::new(More {
            key: own(fields.key.as_deref()),
            parent: fields.parent,
            input: own(fields.input),
            source: own(fields.source),
            callable_id: own(fields.callable_id.as_deref()),
            place: own(fields.place.as_deref()),
            ..More::default()
        })
    });
    let name = ex.steps.intern(fields.name.as_deref().unwrap_or_default());
    ex.status.open += 1;
    ex.steps.push(StepData {
        id,
        name,
        attempt: u32::from(running),
        state: if running { StepState::Running } else { StepState::Pending },
        step_type: fields.step_type,
        scheduled: at,
        started: if running { at } else { NONE },
        ended: NONE,
        output: None,
        more,
    })
}

/// Changes a step; the action was found to be allowed.
fn change(ex: &mut Execution, index: usize, kind: Kind, at: i64, fields: &Fields<'_>) {
    ex.touch(index);
    let Some(step) = ex.steps.get_mut(index) else {
        return;
    };
    let Some(state) = step_transition(kind, step.state) else {
        return;
    };
    match kind {
        Kind::StepUsage => {
            let counter = fields.counter.as_deref().unwrap_or_default();
            *step.more_mut().usage.entry(counter.into()).or_default() += fields.amount_micros;
            *ex.usage.entry(counter.into()).or_default() += fields.amount_micros;
        }
        Kind::StepStarted => {
            step.attempt += 1;
            if step.started == NONE {
                step.started = at;
            } else {
                step.more_mut().tried = Some(at);
            }
            if let Some(more) = &mut step.more {
                more.retry_at = None;
            }
        }
        Kind::StepRetrying => {
            let past = Past {
                started: step.tried().unwrap_or(0),
                ended: at,
                error: fields.error.unwrap_or("null").into(),
            };
            let more = step.more_mut();
            more.past.push(past);
            more.retry_at = fields.retry_at;
        }
        _ => {
            step.ended = at;
            step.output = fields.output.map(Into::into);
            if fields.error.is_some() || fields.reason.is_some() || step.more.is_some() {
                let more = step.more_mut();
                more.retry_at = None;
                more.error = fields.error.map(Into::into);
                more.reason = fields.reason.as_deref().map(Into::into);
            }
            ex.status.open -= 1;
        }
    }
    step.state = state;
}

// --- bulk ---

fn bulk_action(
    ex: &mut Execution,
    kind: Kind,
    at: i64,
    fields: &Fields<'_>,
    bulk: &Bulk<'_>,
) -> Result<Touched, Error> {
    let created = step_created(kind).is_some();
    let mut element = shared(kind, fields);
    let mut places: Vec<Option<usize>> = Vec::with_capacity(bulk.count());
    let mut seen = Seen::new(&bulk.steps);
    let mut fresh = 0;
    for (position, id) in each(&bulk.steps).enumerate() {
        describe(&mut element, bulk, position);
        let found = ex.steps.find(id);
        let checked = if !seen.add(id) {
            Err(Error::DuplicateStep(id))
        } else if let Some(index) = found {
            check_existing(ex, index, kind, &element)
        } else if created {
            fresh += 1;
            check_new(ex, &element)
        } else {
            Err(Error::UnknownStep(id))
        };
        checked.map_err(|error| error.at(position))?;
        places.push(found);
    }
    if created {
        check_growth(ex, fresh, at)?;
    }
    if ex.guard.limits.is_some_and(|limits| limits.max_payload_bytes.is_some()) {
        for position in 0..places.len() {
            describe(&mut element, bulk, position);
            check_payload(ex, &element)?;
        }
    }
    let mut touched = Vec::with_capacity(places.len());
    for (position, (id, found)) in each(&bulk.steps).zip(places).enumerate() {
        describe(&mut element, bulk, position);
        touched.push(match found {
            Some(index) => {
                change(ex, index, kind, at, &element);
                index
            }
            None => create(ex, kind, at, id, &element),
        });
    }
    Ok(Touched::Many(touched))
}

fn each(runs: &[Run]) -> impl Iterator<Item = Id> {
    runs.iter().flat_map(|(first, count)| (0..u64::from(*count)).map(|offset| first.plus(offset)))
}

/// Finds ids that are given twice; ascending runs need no memory for that.
struct Seen {
    ids: Option<HashSet<Id>>,
}

impl Seen {
    fn new(runs: &[Run]) -> Seen {
        let ascending = runs.windows(2).all(|pair| match pair {
            [(first, count), (next, _)] => first.plus(u64::from(*count) - 1) < *next,
            _ => true,
        });
        Seen { ids: (!ascending).then(HashSet::new) }
    }

    fn add(&mut self, id: Id) -> bool {
        self.ids.as_mut().is_none_or(|ids| ids.insert(id))
    }
}

/// The single action that a bulk action stands for, with what all its steps share.
fn shared<'a>(kind: Kind, fields: &Fields<'a>) -> Fields<'a> {
    Fields { kind, bulk: None, header: None, ..fields.clone() }
}

/// Fills in what one step of a bulk action has for itself.
fn describe<'a>(element: &mut Fields<'a>, bulk: &Bulk<'a>, position: usize) {
    if let Some(names) = &bulk.names {
        element.name = names.get(position).cloned();
    }
    if let Some(keys) = &bulk.keys {
        element.key = keys.get(position).cloned();
    }
    if let Some(places) = &bulk.places {
        element.place = places.get(position).cloned();
    }
    if let Some(inputs) = &bulk.inputs {
        element.input = inputs.get(position).copied().flatten();
    }
    if let Some(outputs) = &bulk.outputs {
        element.output = outputs.get(position).copied().flatten();
    }
    if let Some(errors) = &bulk.errors {
        element.error = errors.get(position).copied().flatten();
    }
}

// --- limits ---

fn check_growth(ex: &mut Execution, count: usize, at: i64) -> Result<(), Error> {
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
    let Some(limits) = ex.guard.limits else {
        return Ok(());
    };
    for payload in [fields.input, fields.output].into_iter().flatten() {
        ex.guard.check("max_payload_bytes", payload.len() as f64, limits.max_payload_bytes)?;
    }
    Ok(())
}

fn check_usage(ex: &mut Execution, index: usize, fields: &Fields<'_>) -> Result<(), Error> {
    let counter = fields.counter.as_deref().unwrap_or_default();
    let used = ex.usage.get(counter).copied().unwrap_or(0);
    let own = step(ex, index)?.more().usage.get(counter).copied().unwrap_or(0);
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
