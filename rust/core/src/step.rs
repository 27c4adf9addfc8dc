//! What one step has, and the view of it.

use std::collections::BTreeMap;

use crate::id::Id;
use crate::spec::{StepState, StepType};
use crate::steps::Steps;
use crate::text::Span;

/// A time that is not there.
pub(crate) const NONE: i64 = i64::MIN;
/// The start of a step that was started as soon as it was made.
pub(crate) const AT_ONCE: i64 = i64::MIN + 1;

/// An attempt that ended and was followed by another: its start, its end, its error as JSON.
#[derive(Clone, Debug)]
pub struct Past {
    pub started: i64,
    pub ended: i64,
    pub error: Box<str>,
}

/// What many steps do not have.
#[derive(Clone, Debug, Default)]
pub(crate) struct More {
    pub key: Span,
    pub parent: Option<Id>,
    pub input: Span,
    pub source: Span,
    pub callable_id: Span,
    pub place: Span,
    pub error: Span,
    pub reason: Span,
    pub rare: Option<Box<Rare>>,
}

/// What hardly any step has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rare {
    pub retry_at: Option<i64>,
    /// When the last attempt started, if it was not the first.
    pub tried: Option<i64>,
    pub usage: BTreeMap<Box<str>, i64>,
    pub past: Vec<Past>,
}

static NO_USAGE: BTreeMap<Box<str>, i64> = BTreeMap::new();

/// A step.
#[derive(Clone, Copy, Debug)]
pub struct StepView<'a> {
    steps: &'a Steps,
    index: usize,
}

impl<'a> StepView<'a> {
    /// The step at this position, which exists.
    pub(crate) fn new(steps: &'a Steps, index: usize) -> StepView<'a> {
        StepView { steps, index }
    }

    pub fn id(self) -> Id {
        self.steps.ids.get(self.index).unwrap_or(Id::from_bits(0))
    }

    pub fn name(self) -> &'a str {
        let number = self.steps.names.get(self.index).unwrap_or_default();
        self.steps.table.all.get(number as usize).map_or("", |name| name)
    }

    pub fn attempt(self) -> u32 {
        u32::from(self.started().is_some()) + self.steps.again.get(self.index)
    }

    pub fn state(self) -> StepState {
        self.steps.states.get(self.index).unwrap_or(StepState::Pending)
    }

    pub fn step_type(self) -> StepType {
        self.steps.types.get(self.index)
    }

    pub fn scheduled(self) -> i64 {
        self.steps.scheduled.get(self.index).unwrap_or(NONE)
    }

    pub fn started(self) -> Option<i64> {
        match self.steps.started.get(self.index) {
            NONE => None,
            AT_ONCE => Some(self.scheduled()),
            at => Some(at),
        }
    }

    pub fn ended(self) -> Option<i64> {
        Some(self.steps.ended.get(self.index)).filter(|at| *at != NONE)
    }

    /// Nanoseconds from the first start to the end, or to `now`; `None` before the start.
    pub fn duration(self, now: i64) -> Option<i64> {
        self.started().map(|started| self.ended().unwrap_or(now) - started)
    }

    /// Nanoseconds from when it was made to its first start, its end without one, or to `now`.
    pub fn queued(self, now: i64) -> i64 {
        self.started().or(self.ended()).unwrap_or(now) - self.scheduled()
    }

    pub fn output(self) -> Option<&'a str> {
        self.steps.texts.get(self.steps.outputs.get(self.index))
    }

    pub(crate) fn more(self) -> Option<&'a More> {
        self.steps.mores.get((self.steps.more.get(self.index) as usize).checked_sub(1)?)
    }

    pub(crate) fn rare(self) -> Option<&'a Rare> {
        self.more()?.rare.as_deref()
    }

    pub fn key(self) -> Option<&'a str> {
        self.steps.texts.get(self.more()?.key)
    }

    pub fn parent(self) -> Option<Id> {
        self.more()?.parent
    }

    pub fn input(self) -> Option<&'a str> {
        self.steps.texts.get(self.more()?.input)
    }

    pub fn source(self) -> Option<&'a str> {
        self.steps.texts.get(self.more()?.source)
    }

    pub fn callable_id(self) -> Option<&'a str> {
        self.steps.texts.get(self.more()?.callable_id)
    }

    pub fn place(self) -> Option<&'a str> {
        self.steps.texts.get(self.more()?.place)
    }

    pub fn error(self) -> Option<&'a str> {
        self.steps.texts.get(self.more()?.error)
    }

    pub fn reason(self) -> Option<&'a str> {
        self.steps.texts.get(self.more()?.reason)
    }

    pub fn retry_at(self) -> Option<i64> {
        self.rare()?.retry_at
    }

    /// When the current or last attempt started.
    pub fn tried(self) -> Option<i64> {
        self.rare().and_then(|rare| rare.tried).or(self.started())
    }

    /// What the step used, by counter, in millionths.
    pub fn usage(self) -> &'a BTreeMap<Box<str>, i64> {
        self.rare().map_or(&NO_USAGE, |rare| &rare.usage)
    }

    pub fn past(self) -> &'a [Past] {
        self.rare().map_or(&[], |rare| &rare.past)
    }
}
