//! Reading many steps at once.

use std::cmp::Reverse;

use crate::places::Places;
use crate::spec::{StepState, StepType};
use crate::steps::Steps;

/// What a step must be to be picked; what is not given does not matter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    pub states: Option<&'a [StepState]>,
    pub name: Option<&'a str>,
    pub step_type: Option<StepType>,
}

impl Steps {
    /// How many of these steps are in each state.
    pub fn count(&self, places: &Places) -> [usize; StepState::ALL.len()] {
        if *places == Places::Range(0..self.len()) {
            return self.counts();
        }
        let mut counts = [0; StepState::ALL.len()];
        for state in places.iter().filter_map(|index| self.state(index)) {
            counts[state as usize] += 1;
        }
        counts
    }

    /// Those of these steps that are as wanted.
    pub fn pick(&self, places: &Places, wanted: &Wanted<'_>) -> Places {
        let states =
            StepState::ALL.map(|state| wanted.states.is_none_or(|states| states.contains(&state)));
        let name = wanted.name.map(|name| self.name_number(name));
        if name == Some(None) {
            return Places::Range(0..0);
        }
        let name = name.flatten();
        let fits = |index: &usize| {
            self.state(*index).is_some_and(|state| states[state as usize])
                && name.is_none_or(|name| self.name_of(*index) == Some(name))
                && wanted.step_type.is_none_or(|wanted| self.step_type(*index) == wanted)
        };
        places.iter().filter(fits).map(|index| index as u32).collect()
    }

    /// The `n` of these steps that took longest so far, the longest first; those that have not started are left out.
    pub fn slowest(&self, places: &Places, n: usize, now: i64) -> Places {
        let durations = places.iter().enumerate().filter_map(|(position, index)| {
            Some((Reverse(self.get(index)?.duration(now)?), position, index as u32))
        });
        let mut found: Vec<_> = durations.collect();
        if n < found.len() {
            found.select_nth_unstable(n);
            found.truncate(n);
        }
        found.sort_unstable();
        found.into_iter().map(|(_, _, index)| index).collect()
    }
}
