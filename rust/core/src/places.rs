//! Positions of steps.

use std::ops::Range;

/// Positions of steps, in any order; those that follow each other take no memory.
#[derive(Clone, Debug, PartialEq)]
pub enum Places {
    Range(Range<usize>),
    List(Vec<u32>),
}

impl Places {
    pub fn len(&self) -> usize {
        match self {
            Places::Range(range) => range.len(),
            Places::List(list) => list.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, position: usize) -> Option<usize> {
        match self {
            Places::Range(range) => range.clone().nth(position),
            Places::List(list) => list.get(position).map(|index| *index as usize),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = usize> {
        let (range, list): (Range<usize>, &[u32]) = match self {
            Places::Range(range) => (range.clone(), &[]),
            Places::List(list) => (0..0, list),
        };
        range.chain(list.iter().map(|index| *index as usize))
    }
}

impl FromIterator<u32> for Places {
    /// A range where the positions follow each other.
    fn from_iter<T: IntoIterator<Item = u32>>(positions: T) -> Places {
        let mut positions = positions.into_iter();
        let Some(first) = positions.next() else {
            return Places::Range(0..0);
        };
        let mut end = first + 1;
        for next in positions.by_ref() {
            if next != end {
                let mut list: Vec<u32> = (first..end).collect();
                list.push(next);
                list.extend(positions);
                return Places::List(list);
            }
            end += 1;
        }
        Places::Range(first as usize..end as usize)
    }
}
