//! The steps of an execution: in chunks, so that they never move, found by id.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::id::Id;
use crate::spec::{StepState, StepType};

/// A time that is not there.
pub const NONE: i64 = i64::MIN;

const CHUNK: usize = 1 << 10;

/// An attempt that ended and was followed by another: its start, its end, its error as JSON.
#[derive(Clone, Debug)]
pub struct Past {
    pub started: i64,
    pub ended: i64,
    pub error: Box<str>,
}

/// A step. What most steps do not have is in `more`.
#[derive(Clone, Debug)]
pub struct StepData {
    pub id: Id,
    pub(crate) name: u32,
    pub attempt: u32,
    pub state: StepState,
    pub step_type: StepType,
    pub scheduled: i64,
    pub started: i64,
    pub ended: i64,
    pub output: Option<Box<str>>,
    pub(crate) more: Option<Box<More>>,
}

/// The rest of a step.
#[derive(Clone, Debug, Default)]
pub struct More {
    pub key: Option<Box<str>>,
    pub parent: Option<Id>,
    pub input: Option<Box<str>>,
    pub source: Option<Box<str>>,
    pub callable_id: Option<Box<str>>,
    pub place: Option<Box<str>>,
    pub error: Option<Box<str>>,
    pub reason: Option<Box<str>>,
    pub retry_at: Option<i64>,
    pub tried: Option<i64>,
    pub usage: BTreeMap<Box<str>, i64>,
    pub past: Vec<Past>,
}

static EMPTY: More = More {
    key: None,
    parent: None,
    input: None,
    source: None,
    callable_id: None,
    place: None,
    error: None,
    reason: None,
    retry_at: None,
    tried: None,
    usage: BTreeMap::new(),
    past: Vec::new(),
};

impl StepData {
    /// What most steps do not have.
    pub fn more(&self) -> &More {
        self.more.as_deref().unwrap_or(&EMPTY)
    }

    pub(crate) fn more_mut(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// When the current or last attempt started.
    pub fn tried(&self) -> Option<i64> {
        self.more().tried.or((self.started != NONE).then_some(self.started))
    }
}

/// Names, each kept once.
#[derive(Debug, Default)]
struct Names {
    all: Vec<Arc<str>>,
    index: HashMap<Arc<str>, u32>,
    last: u32,
}

impl Names {
    fn intern(&mut self, name: &str) -> u32 {
        if self.all.get(self.last as usize).is_some_and(|last| **last == *name) {
            return self.last;
        }
        self.last = match self.index.get(name) {
            Some(found) => *found,
            None => {
                let shared: Arc<str> = name.into();
                let number = self.all.len() as u32;
                self.all.push(Arc::clone(&shared));
                self.index.insert(shared, number);
                number
            }
        };
        self.last
    }
}

/// All steps of an execution, in order.
#[derive(Debug, Default)]
pub struct Steps {
    chunks: Vec<Vec<StepData>>,
    len: usize,
    names: Names,
    /// Only where ids did not come in ascending order; otherwise they are searched.
    index: Option<HashMap<Id, u32>>,
}

impl Steps {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, index: usize) -> Option<&StepData> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut StepData> {
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)
    }

    pub fn iter(&self) -> impl Iterator<Item = &StepData> {
        self.chunks.iter().flatten()
    }

    pub fn name(&self, step: &StepData) -> &str {
        self.names.all.get(step.name as usize).map_or("", |name| name)
    }

    pub(crate) fn intern(&mut self, name: &str) -> u32 {
        self.names.intern(name)
    }

    /// Where the step with this id is.
    pub fn find(&self, id: Id) -> Option<usize> {
        if let Some(index) = &self.index {
            return index.get(&id).map(|found| *found as usize);
        }
        // Most look-ups are for late steps: go back from the end in growing strides, then halve.
        let at = |index: usize| self.get(index).map(|step| step.id);
        let mut high = self.len;
        let mut stride = 1;
        let mut low = high.saturating_sub(1);
        while at(low)? > id {
            high = low;
            low = low.saturating_sub(stride);
            stride *= 2;
            if high == 0 {
                return None;
            }
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if at(middle)? > id {
                high = middle;
            } else {
                low = middle;
            }
        }
        (at(low)? == id).then_some(low)
    }

    pub(crate) fn push(&mut self, step: StepData) -> usize {
        let index = self.len;
        let ascending = index == 0 || self.get(index - 1).is_some_and(|last| last.id < step.id);
        if !ascending && self.index.is_none() {
            self.index =
                Some(self.iter().enumerate().map(|(at, step)| (step.id, at as u32)).collect());
        }
        if let Some(index_by_id) = &mut self.index {
            index_by_id.insert(step.id, index as u32);
        }
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(step),
            Some(_) => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(step);
                self.chunks.push(chunk);
            }
            None => self.chunks.push(vec![step]),
        }
        self.len += 1;
        index
    }

    /// Takes back the last steps, so that so many are left.
    pub(crate) fn truncate(&mut self, len: usize) {
        while self.len > len {
            if let Some(step) = self.chunks.last_mut().and_then(Vec::pop)
                && let Some(index) = &mut self.index
            {
                index.remove(&step.id);
            }
            if self.chunks.last().is_some_and(Vec::is_empty) {
                self.chunks.pop();
            }
            self.len -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(number: u128) -> StepData {
        StepData {
            id: Id::from_bits(number),
            name: 0,
            attempt: 0,
            state: StepState::Pending,
            step_type: StepType::Function,
            scheduled: 0,
            started: NONE,
            ended: NONE,
            output: None,
            more: None,
        }
    }

    #[test]
    fn finds_every_step_in_any_order() {
        for order in
            [(0..3000).collect::<Vec<u128>>(), (0..3000).map(|n| n * 7919 % 3001).collect()]
        {
            let mut steps = Steps::default();
            for number in &order {
                assert_eq!(steps.find(Id::from_bits(number * 2 + 2)), None);
                steps.push(step(number * 2 + 2));
            }
            for (index, number) in order.iter().enumerate() {
                assert_eq!(steps.find(Id::from_bits(number * 2 + 2)), Some(index));
                assert_eq!(steps.find(Id::from_bits(number * 2 + 1)), None);
            }
            steps.truncate(1500);
            assert_eq!(steps.len(), 1500);
            assert_eq!(steps.find(Id::from_bits(order[1500] * 2 + 2)), None);
            assert_eq!(steps.find(Id::from_bits(order[1499] * 2 + 2)), Some(1499));
        }
    }

    #[test]
    fn a_step_is_small() {
        assert!(size_of::<StepData>() <= 80, "{}", size_of::<StepData>());
    }
}
