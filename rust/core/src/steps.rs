//! The steps of an execution as columns.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::chunks::Chunks;
use crate::column::Column;
use crate::id::{Id, Run, runs_of};
use crate::names::Names;
use crate::places::Places;
use crate::spec::{StepState, StepType};
use crate::step::{AT_ONCE, More, NONE, Rare, StepView};
use crate::text::{Span, TextMark, Texts};

const STATES: usize = StepState::ALL.len();

/// All steps of an execution, in order: a column for what every step has, a list of the rest for those that have more.
#[derive(Debug)]
pub struct Steps {
    pub(crate) ids: Chunks<Id>,
    pub(crate) names: Chunks<u32>,
    pub(crate) states: Chunks<StepState>,
    pub(crate) scheduled: Chunks<i64>,
    pub(crate) started: Column<i64>,
    pub(crate) ended: Column<i64>,
    pub(crate) types: Column<StepType>,
    /// How often a step was started after the first time.
    pub(crate) again: Column<u32>,
    pub(crate) outputs: Column<Span>,
    /// The place in `mores`, counted from 1; 0 for none.
    pub(crate) more: Column<u32>,
    pub(crate) mores: Vec<More>,
    pub(crate) texts: Texts,
    counts: [usize; STATES],
    pub(crate) table: Names,
    /// Only where ids did not come in ascending order; otherwise they are searched.
    index: Option<HashMap<Id, u32>>,
}

impl Default for Steps {
    fn default() -> Steps {
        Steps {
            ids: Chunks::default(),
            names: Chunks::default(),
            states: Chunks::default(),
            scheduled: Chunks::default(),
            started: Column::new(AT_ONCE),
            ended: Column::new(NONE),
            types: Column::new(StepType::Function),
            again: Column::new(0),
            outputs: Column::new(Span::NONE),
            more: Column::new(0),
            mores: Vec::new(),
            texts: Texts::default(),
            counts: [0; STATES],
            table: Names::default(),
            index: None,
        }
    }
}

/// What a new step has from its first moment on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewStep {
    pub name: u32,
    pub state: StepState,
    pub step_type: StepType,
    pub scheduled: i64,
    pub started: Option<i64>,
}

/// How long the columns were.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    steps: usize,
    mores: usize,
    texts: TextMark,
    names: usize,
    counts: [usize; STATES],
}

/// A step before it changed.
#[derive(Debug)]
pub(crate) struct Before {
    state: StepState,
    started: i64,
    ended: i64,
    again: u32,
    output: Span,
    more: u32,
    rest: Option<More>,
}

impl Steps {
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, index: usize) -> Option<StepView<'_>> {
        (index < self.len()).then_some(StepView::new(self, index))
    }

    pub fn iter(&self) -> impl Iterator<Item = StepView<'_>> {
        (0..self.len()).map(|index| StepView::new(self, index))
    }

    pub fn id(&self, index: usize) -> Option<Id> {
        self.ids.get(index)
    }

    pub fn ids(&self) -> impl Iterator<Item = Id> {
        self.ids.iter()
    }

    pub fn state(&self, index: usize) -> Option<StepState> {
        self.states.get(index)
    }

    /// The states of the steps from here to there.
    pub fn states(&self, range: Range<usize>) -> impl Iterator<Item = StepState> {
        self.states.range(range)
    }

    pub(crate) fn step_type(&self, index: usize) -> StepType {
        self.types.get(index)
    }

    /// How many steps are in each state.
    pub fn counts(&self) -> [usize; STATES] {
        self.counts
    }

    /// How many steps are in a state that is not the last one.
    pub fn open(&self) -> usize {
        let open = StepState::ALL.iter().filter(|state| !state.is_terminal());
        open.map(|state| self.counts[*state as usize]).sum()
    }

    /// The number of a step's name.
    pub fn name_of(&self, index: usize) -> Option<u32> {
        self.names.get(index)
    }

    /// The names by number.
    pub fn names(&self) -> &[Arc<str>] {
        &self.table.all
    }

    pub(crate) fn push_name(&mut self, number: u32) {
        self.names.push(number);
    }

    pub(crate) fn push_names(&mut self, count: usize, number: impl Fn(usize) -> u32) {
        self.names.extend_with(count, number);
    }

    /// The number of this name, if a step has it.
    pub fn name_number(&self, name: &str) -> Option<u32> {
        self.table.find(name)
    }

    pub(crate) fn intern(&mut self, name: &str) -> u32 {
        self.table.intern(name)
    }

    /// Where the step with this id is.
    pub fn find(&self, id: Id) -> Option<usize> {
        if let Some(index) = &self.index {
            return index.get(&id).map(|found| *found as usize);
        }
        // Most look-ups are for late steps: go back from the end in growing strides, then halve.
        let mut high = self.len();
        let mut low = high.checked_sub(1)?;
        match self.ids.last()?.cmp(&id) {
            Ordering::Less => return None,
            Ordering::Equal => return Some(low),
            Ordering::Greater => {}
        }
        let mut stride = 1;
        while self.ids.get(low)? > id {
            high = low;
            low = low.saturating_sub(stride);
            stride *= 2;
            if high == 0 {
                return None;
            }
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.ids.get(middle)? > id {
                high = middle;
            } else {
                low = middle;
            }
        }
        (self.ids.get(low)? == id).then_some(low)
    }

    /// The steps with these ids, if they stand one after the other as the ids do.
    pub(crate) fn find_run(&self, (first, count): Run) -> Option<Places> {
        let start = self.find(first)?;
        let range = start..start + count as usize;
        let mut ids = (0..).zip(self.ids.range(range.clone()));
        let fits = range.end <= self.len() && ids.all(|(offset, id)| id == first.plus(offset));
        fits.then_some(Places::Range(range))
    }

    /// Whether no step has an id of this run or a later one.
    pub(crate) fn is_beyond(&self, (first, _): Run) -> bool {
        self.index.is_none() && self.ids.last().is_none_or(|last| last < first)
    }

    pub(crate) fn push(&mut self, id: Id, new: NewStep) -> usize {
        let index = self.len();
        self.note(id);
        self.ids.push(id);
        self.names.push(new.name);
        self.states.push(new.state);
        self.scheduled.push(new.scheduled);
        self.describe(index..index + 1, &new);
        index
    }

    /// Steps with the ids of a run that is beyond all others; their names are still to come.
    pub(crate) fn push_run(&mut self, (first, count): Run, new: &NewStep) {
        let range = self.len()..self.len() + count as usize;
        self.ids.extend_with(count as usize, |offset| first.plus(offset as u64));
        self.states.resize(range.end, new.state);
        self.scheduled.resize(range.end, new.scheduled);
        self.describe(range, new);
    }

    fn describe(&mut self, range: Range<usize>, new: &NewStep) {
        self.counts[new.state as usize] += range.len();
        if new.step_type != StepType::Function {
            self.types.fill(range.clone(), new.step_type);
        }
        if new.started != Some(new.scheduled) {
            self.started.fill(range, new.started.unwrap_or(NONE));
        }
    }

    /// Keeps the index of ids, which is made when the first of them is out of order.
    fn note(&mut self, id: Id) {
        if self.index.is_none() && self.ids.last().is_some_and(|last| last >= id) {
            self.index = Some(self.ids.iter().zip(0..).collect());
        }
        if let Some(index) = &mut self.index {
            index.insert(id, self.ids.len() as u32);
        }
    }

    /// What the step has beside the columns, made if it has nothing yet.
    pub(crate) fn more_mut(&mut self, index: usize) -> &mut More {
        if self.more.get(index) == 0 {
            self.mores.push(More::default());
            self.more.set(index, self.mores.len() as u32);
        }
        &mut self.mores[self.more.get(index) as usize - 1]
    }

    /// Whether any step has more than the columns.
    pub(crate) fn have_more(&self) -> bool {
        !self.mores.is_empty()
    }

    pub(crate) fn has_more(&self, index: usize) -> bool {
        self.more.get(index) != 0
    }

    /// One more start, which is the first or not.
    pub(crate) fn start(&mut self, index: usize, at: i64) {
        if self.started.get(index) == NONE {
            self.started.set(index, at);
        } else {
            self.again.set(index, self.again.get(index) + 1);
            self.rare_mut(index).tried = Some(at);
        }
    }

    /// What is known of a step that was read, beside what a new one has.
    pub(crate) fn set_past(&mut self, index: usize, attempt: u32, ended: Option<i64>) {
        if attempt > 1 {
            self.again.set(index, attempt - 1);
        }
        if let Some(ended) = ended {
            self.ended.set(index, ended);
        }
    }

    pub(crate) fn has_rare(&self, index: usize) -> bool {
        self.get(index).is_some_and(|step| step.rare().is_some())
    }

    pub(crate) fn rare_mut(&mut self, index: usize) -> &mut Rare {
        self.more_mut(index).rare.get_or_insert_default()
    }

    pub(crate) fn set_state(&mut self, index: usize, state: StepState) {
        if let Some(place) = self.states.get_mut(index) {
            self.counts[*place as usize] -= 1;
            self.counts[state as usize] += 1;
            *place = state;
        }
    }

    /// The same for many.
    pub(crate) fn set_states(&mut self, range: Range<usize>, state: StepState) {
        let count = range.len();
        for before in self.states.range(range.clone()) {
            self.counts[before as usize] -= 1;
        }
        self.counts[state as usize] += count;
        self.states.fill(range, state);
    }

    // --- taking back ---

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            steps: self.len(),
            mores: self.mores.len(),
            texts: self.texts.mark(),
            names: self.table.all.len(),
            counts: self.counts,
        }
    }

    /// The step as it is; `None` for one that is new since the mark, which goes away as a whole.
    pub(crate) fn before(&self, mark: &Mark, index: usize) -> Option<Before> {
        let step = self.get(index).filter(|_| index < mark.steps)?;
        Some(Before {
            state: step.state(),
            started: self.started.get(index),
            ended: self.ended.get(index),
            again: self.again.get(index),
            output: self.outputs.get(index),
            more: self.more.get(index),
            rest: step.more().cloned(),
        })
    }

    /// Everything as it was at the mark.
    pub(crate) fn restore(&mut self, mark: &Mark, changed: HashMap<usize, Before>) {
        if let Some(index) = &mut self.index {
            for id in self.ids.range(mark.steps..self.ids.len()) {
                index.remove(&id);
            }
        }
        self.ids.truncate(mark.steps);
        self.names.truncate(mark.steps);
        self.states.truncate(mark.steps);
        self.scheduled.truncate(mark.steps);
        self.started.truncate(mark.steps);
        self.ended.truncate(mark.steps);
        self.types.truncate(mark.steps);
        self.again.truncate(mark.steps);
        self.outputs.truncate(mark.steps);
        self.more.truncate(mark.steps);
        self.mores.truncate(mark.mores);
        for (index, step) in changed {
            self.set_state(index, step.state);
            self.started.set(index, step.started);
            self.ended.set(index, step.ended);
            self.again.set(index, step.again);
            self.outputs.set(index, step.output);
            self.more.set(index, step.more);
            if let Some(rest) = step.rest {
                self.mores[step.more as usize - 1] = rest;
            }
        }
        self.texts.restore(mark.texts);
        self.table.truncate(mark.names);
        self.counts = mark.counts;
    }

    /// The ids of these steps as runs.
    pub fn runs(&self, places: &Places) -> Vec<Run> {
        runs_of(places.iter().filter_map(|index| self.ids.get(index)))
    }
}
