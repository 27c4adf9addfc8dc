//! Actions about many steps: all or none of them change, and the columns are changed as columns.

use std::collections::HashSet;

use crate::error::Error;
use crate::execution::Execution;
use crate::fields::{Bulk, Fields};
use crate::id::{Id, Run};
use crate::places::Places;
use crate::reducer::{
    change, check_existing, check_growth, check_new, check_size, create, describe_new,
};
use crate::spec::{Kind, StepState, StepType, step_created, step_transition};
use crate::steps::Steps;
use crate::text::Span;

/// One field of a bulk action: absent, the same for all steps, or one each.
#[derive(Clone, Copy, Debug, Default)]
pub enum Each<'a> {
    #[default]
    None,
    One(&'a str),
    Many(&'a [Option<&'a str>]),
    /// Texts end to end, and where each one ends; an empty one is none.
    Joined(&'a str, &'a [usize]),
    /// Texts, and which of them each step has.
    Coded(&'a [&'a str], &'a [u32]),
}

impl<'a> Each<'a> {
    fn one(text: Option<&'a str>) -> Each<'a> {
        text.map_or(Each::None, Each::One)
    }

    /// What the step at this position has.
    pub fn get(&self, position: usize) -> Option<&'a str> {
        match self {
            Each::None => None,
            Each::One(text) => Some(text),
            Each::Many(texts) => texts.get(position).copied().flatten(),
            Each::Coded(texts, codes) => texts.get(*codes.get(position)? as usize).copied(),
            Each::Joined(all, ends) => {
                let start =
                    position.checked_sub(1).map_or(Some(0), |before| ends.get(before).copied());
                all.get(start?..*ends.get(position)?).filter(|text| !text.is_empty())
            }
        }
    }

    pub fn is_some(&self) -> bool {
        !matches!(self, Each::None)
    }

    pub fn is_plural(&self) -> bool {
        matches!(self, Each::Many(_) | Each::Joined(..) | Each::Coded(..))
    }

    /// A list that says the same for all is the one value.
    #[must_use]
    pub fn folded(self) -> Each<'a> {
        let count = match self {
            Each::Many(texts) => texts.len(),
            Each::Joined(_, ends) => ends.len(),
            Each::Coded(_, codes) => codes.len(),
            _ => return self,
        };
        let first = self.get(0);
        if count == 0 || self.get(count - 1) != first {
            return self;
        }
        if (1..count).all(|position| self.get(position) == first) { Each::one(first) } else { self }
    }
}

/// The steps of a bulk action.
#[derive(Clone, Debug)]
pub enum Targets {
    Ids(Vec<Run>),
    Places(Places),
}

/// A bulk action as the reducer takes it. Payloads are JSON text.
#[derive(Clone, Debug)]
pub struct Many<'a> {
    pub kind: Kind,
    pub targets: Targets,
    pub names: Each<'a>,
    pub step_type: StepType,
    pub keys: Each<'a>,
    pub parent: Option<Id>,
    pub inputs: Each<'a>,
    pub source: Option<&'a str>,
    pub callable_id: Option<&'a str>,
    pub places: Each<'a>,
    pub outputs: Each<'a>,
    pub errors: Each<'a>,
    pub reason: Option<&'a str>,
}

impl<'a> Many<'a> {
    pub fn new(kind: Kind, targets: Targets) -> Many<'a> {
        Many {
            kind,
            targets,
            names: Each::None,
            step_type: StepType::Function,
            keys: Each::None,
            parent: None,
            inputs: Each::None,
            source: None,
            callable_id: None,
            places: Each::None,
            outputs: Each::None,
            errors: Each::None,
            reason: None,
        }
    }

    /// The same as the fields of an action.
    pub(crate) fn fields(&self, steps: &Steps) -> Fields<'a> {
        let runs = match &self.targets {
            Targets::Ids(runs) => runs.clone(),
            Targets::Places(places) => steps.runs(places),
        };
        let count = runs.iter().map(|(_, count)| *count as usize).sum();
        let list = |field: Each<'a>, plural: bool| {
            plural.then(|| (0..count).map(|position| field.get(position)).collect::<Vec<_>>())
        };
        let texts = |field: Each<'a>, plural: bool| {
            let texts = list(field, plural)?;
            Some(texts.into_iter().map(|text| text.unwrap_or_default().into()).collect())
        };
        let one = |field: Each<'a>| field.get(0).filter(|_| !field.is_plural());
        let mut fields = self.element(self.kind, Id::from_bits(0), 0);
        fields.step = None;
        fields.name = one(self.names).map(Into::into);
        fields.key = one(self.keys).map(Into::into);
        fields.place = one(self.places).map(Into::into);
        fields.input = one(self.inputs);
        (fields.output, fields.error) = (one(self.outputs), one(self.errors));
        fields.bulk = Some(Box::new(Bulk {
            names: texts(self.names, self.names.is_plural()),
            keys: texts(self.keys, self.keys.is_plural()),
            places: texts(self.places, self.places.is_plural()),
            inputs: list(self.inputs, self.inputs.is_plural()),
            outputs: list(self.outputs, self.outputs.is_plural()),
            errors: list(self.errors, self.errors.is_plural()),
            steps: runs,
        }));
        fields
    }

    /// The single action for the step at this position.
    pub(crate) fn element(&self, kind: Kind, id: Id, position: usize) -> Fields<'a> {
        let mut fields = Fields::new(kind);
        fields.step = Some(id);
        fields.name = self.names.get(position).map(Into::into);
        fields.step_type = self.step_type;
        fields.key = self.keys.get(position).map(Into::into);
        fields.parent = self.parent;
        fields.input = self.inputs.get(position);
        fields.source = self.source;
        fields.callable_id = self.callable_id.map(Into::into);
        fields.place = self.places.get(position).map(Into::into);
        fields.output = self.outputs.get(position);
        fields.error = self.errors.get(position);
        fields.reason = self.reason.map(Into::into);
        fields
    }
}

/// The steps of a bulk action, as they were found.
enum Found {
    /// None of them exists yet, and their ids ascend from beyond all others.
    New(Vec<Run>),
    /// All exist, in this order, none twice.
    Old(Places),
    Mixed(Vec<(Id, Option<usize>)>),
}

/// Applies a bulk action; when it is refused nothing has changed. `kind` is that of the single actions.
pub(crate) fn reduce(
    ex: &mut Execution,
    kind: Kind,
    at: i64,
    many: &Many<'_>,
) -> Result<Places, Error> {
    let found = find(ex, &many.targets);
    let fresh = check(ex, kind, many, &found)?;
    if step_created(kind).is_some() {
        check_growth(ex, fresh, at)?;
    }
    check_sizes(ex, many, &found)?;
    Ok(match found {
        Found::New(runs) => make(ex, kind, at, many, &runs),
        Found::Old(places) => {
            alter(ex, kind, at, many, &places);
            places
        }
        Found::Mixed(steps) => {
            let steps = steps.into_iter().enumerate();
            let done = steps.map(|(position, (id, found))| {
                let element = many.element(kind, id, position);
                match found {
                    Some(index) => {
                        change(ex, index, kind, at, &element);
                        index as u32
                    }
                    None => create(ex, kind, at, id, &element) as u32,
                }
            });
            done.collect()
        }
    })
}

// --- finding ---

fn find(ex: &Execution, targets: &Targets) -> Found {
    let runs = match targets {
        Targets::Places(places) => return listed(ex, places),
        Targets::Ids(runs) => runs,
    };
    let ascending = runs.windows(2).all(|pair| match pair {
        [(first, count), (next, _)] => first.plus(u64::from(*count) - 1) < *next,
        _ => true,
    });
    if ascending {
        if runs.first().is_some_and(|first| ex.steps.is_beyond(*first)) {
            return Found::New(runs.clone());
        }
        if let [run] = runs[..]
            && let Some(places) = ex.steps.find_run(run)
        {
            return Found::Old(places);
        }
    }
    let found: Vec<_> = each(runs).map(|id| (id, ex.steps.find(id))).collect();
    let places: Option<Vec<u32>> = found.iter().map(|(_, at)| at.map(|at| at as u32)).collect();
    match places {
        Some(list) if list.is_sorted_by(|one, next| one < next) => Found::Old(Places::List(list)),
        _ => Found::Mixed(found),
    }
}

fn listed(ex: &Execution, places: &Places) -> Found {
    let ascending = match places {
        Places::Range(_) => true,
        Places::List(list) => list.is_sorted_by(|one, next| one < next),
    };
    if ascending && places.iter().last().is_none_or(|last| last < ex.steps.len()) {
        return Found::Old(places.clone());
    }
    let found = places.iter().filter_map(|index| Some((ex.steps.id(index)?, Some(index))));
    Found::Mixed(found.collect())
}

fn each(runs: &[Run]) -> impl Iterator<Item = Id> {
    runs.iter().flat_map(|(first, count)| (0..u64::from(*count)).map(|offset| first.plus(offset)))
}

// --- checking ---

/// Refuses the first step that may not; returns how many are new.
fn check(ex: &Execution, kind: Kind, many: &Many<'_>, found: &Found) -> Result<usize, Error> {
    match found {
        Found::New(runs) => {
            let Some((id, _)) = runs.first() else { return Ok(0) };
            // What is wrong with one of them is wrong with the first.
            let checked = if step_created(kind).is_some() {
                check_new(ex, &many.element(kind, *id, 0))
            } else {
                Err(Error::UnknownStep(*id))
            };
            checked.map_err(|error| error.about(0, *id))?;
            Ok(each(runs).count())
        }
        Found::Old(places) => {
            let allowed = StepState::ALL.map(|state| step_transition(kind, state).is_some());
            let plain = step_created(kind).is_none();
            let may = |state: StepState| plain && allowed[state as usize];
            if let Places::Range(range) = places
                && ex.steps.states(range.clone()).all(may)
            {
                return Ok(0);
            }
            for (position, index) in places.iter().enumerate() {
                let Some(step) = ex.steps.get(index).filter(|step| !may(step.state())) else {
                    continue;
                };
                let id = step.id();
                check_existing(ex, index, kind, &many.element(kind, id, position))
                    .map_err(|error| error.about(position, id))?;
            }
            Ok(0)
        }
        Found::Mixed(steps) => {
            let mut seen = HashSet::with_capacity(steps.len());
            let mut fresh = 0;
            for (position, (id, found)) in steps.iter().enumerate() {
                let element = many.element(kind, *id, position);
                let checked = if !seen.insert(*id) {
                    Err(Error::DuplicateStep(*id))
                } else if let Some(index) = found {
                    check_existing(ex, *index, kind, &element)
                } else if step_created(kind).is_some() {
                    fresh += 1;
                    check_new(ex, &element)
                } else {
                    Err(Error::UnknownStep(*id))
                };
                checked.map_err(|error| error.about(position, *id))?;
            }
            Ok(fresh)
        }
    }
}

fn check_sizes(ex: &mut Execution, many: &Many<'_>, found: &Found) -> Result<(), Error> {
    if ex.guard.limits.is_none_or(|limits| limits.max_payload_bytes.is_none()) {
        return Ok(());
    }
    let ids: Vec<Id> = match found {
        Found::New(runs) => each(runs).collect(),
        Found::Old(places) => places.iter().filter_map(|index| ex.steps.id(index)).collect(),
        Found::Mixed(steps) => steps.iter().map(|(id, _)| *id).collect(),
    };
    for (position, id) in ids.into_iter().enumerate() {
        for payload in [many.inputs.get(position), many.outputs.get(position)] {
            check_size(ex, payload).map_err(|error| error.about(position, id))?;
        }
    }
    Ok(())
}

// --- changing ---

fn make(ex: &mut Execution, kind: Kind, at: i64, many: &Many<'_>, runs: &[Run]) -> Places {
    let start = ex.steps.len();
    let new = describe_new(kind, at, many.step_type);
    for run in runs {
        ex.steps.push_run(*run, &new);
    }
    let end = ex.steps.len();
    name(ex, many.names, end - start);
    if many.keys.is_some()
        || many.parent.is_some()
        || many.inputs.is_some()
        || many.source.is_some()
        || many.callable_id.is_some()
        || many.places.is_some()
    {
        describe(ex, many, start..end);
    }
    Places::Range(start..end)
}

fn name(ex: &mut Execution, names: Each<'_>, count: usize) {
    let steps = &mut ex.steps;
    match names {
        Each::Coded(texts, codes) => {
            let numbers: Vec<u32> = texts.iter().map(|text| steps.intern(text)).collect();
            steps.push_names(codes.len(), |position| {
                numbers.get(codes[position] as usize).copied().unwrap_or_default()
            });
        }
        Each::None | Each::One(_) => {
            let number = steps.intern(names.get(0).unwrap_or_default());
            steps.push_names(count, |_| number);
        }
        _ => {
            for position in 0..count {
                let number = steps.intern(names.get(position).unwrap_or_default());
                steps.push_name(number);
            }
        }
    }
}

/// What the new steps have beside their names.
fn describe(ex: &mut Execution, many: &Many<'_>, range: std::ops::Range<usize>) {
    let steps = &mut ex.steps;
    let source = steps.texts.push_some(many.source);
    let callable_id = steps.texts.push_some(many.callable_id);
    let (keys, inputs) = (Spans::of(ex, many.keys), Spans::of(ex, many.inputs));
    let places = Spans::of(ex, many.places);
    for (position, index) in range.enumerate() {
        let more = ex.steps.more_mut(index);
        (more.key, more.input) = (keys.get(position), inputs.get(position));
        more.place = places.get(position);
        (more.source, more.callable_id, more.parent) = (source, callable_id, many.parent);
    }
}

/// Where the texts of one field are.
enum Spans {
    Same(Span),
    Each(Vec<Span>),
}

impl Spans {
    /// Keeps the texts.
    fn of(ex: &mut Execution, field: Each<'_>) -> Spans {
        let texts = &mut ex.steps.texts;
        match field {
            Each::None => Spans::Same(Span::NONE),
            Each::One(text) => Spans::Same(texts.push(text)),
            Each::Joined(all, ends) => Spans::Each(texts.extend(all, ends)),
            Each::Many(all) => Spans::Each(all.iter().map(|text| texts.push_some(*text)).collect()),
            Each::Coded(all, codes) => {
                let spans: Vec<Span> = all.iter().map(|text| texts.push(text)).collect();
                let span = |code: &u32| spans.get(*code as usize).copied().unwrap_or_default();
                Spans::Each(codes.iter().map(span).collect())
            }
        }
    }

    fn get(&self, position: usize) -> Span {
        match self {
            Spans::Same(span) => *span,
            Spans::Each(spans) => spans.get(position).copied().unwrap_or_default(),
        }
    }
}

/// Where an action that ends steps leads them all, wherever they were.
fn end_of(kind: Kind) -> Option<StepState> {
    let mut targets = StepState::ALL.iter().filter_map(|state| step_transition(kind, *state));
    let first = targets.next().filter(|target| target.is_terminal())?;
    targets.all(|target| target == first).then_some(first)
}

fn alter(ex: &mut Execution, kind: Kind, at: i64, many: &Many<'_>, places: &Places) {
    let target = if ex.undo.is_none() { end_of(kind) } else { None };
    let (Some(target), Places::Range(range)) = (target, places) else {
        for (position, index) in places.iter().enumerate() {
            let Some(id) = ex.steps.id(index) else { continue };
            change(ex, index, kind, at, &many.element(kind, id, position));
        }
        return;
    };
    let (outputs, errors) = (Spans::of(ex, many.outputs), Spans::of(ex, many.errors));
    let reason = ex.steps.texts.push_some(many.reason);
    let rest = many.errors.is_some() || many.reason.is_some();
    let steps = &mut ex.steps;
    steps.set_states(range.clone(), target);
    steps.ended.fill(range.clone(), at);
    if many.outputs.is_some() {
        steps.outputs.write(range.clone(), |position| outputs.get(position));
    }
    if !rest && !steps.have_more() {
        return;
    }
    for (position, index) in range.clone().enumerate() {
        if rest || steps.has_more(index) {
            let more = steps.more_mut(index);
            (more.error, more.reason) = (errors.get(position), reason);
            if let Some(rare) = &mut more.rare {
                rare.retry_at = None;
            }
        }
    }
}
