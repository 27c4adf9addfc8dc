//! A column that costs nothing where all its values are the usual one.

use std::ops::Range;

use crate::chunks::Chunks;

/// Values by position; behind the last one that is kept stands the usual one.
#[derive(Debug)]
pub(crate) struct Column<T> {
    kept: Chunks<T>,
    usual: T,
}

impl<T: Copy> Column<T> {
    pub fn new(usual: T) -> Column<T> {
        Column { kept: Chunks::default(), usual }
    }

    pub fn get(&self, index: usize) -> T {
        self.kept.get(index).unwrap_or(self.usual)
    }

    pub fn set(&mut self, index: usize, value: T) {
        match self.kept.get_mut(index) {
            Some(place) => *place = value,
            None => {
                self.kept.resize(index, self.usual);
                self.kept.push(value);
            }
        }
    }

    /// The same for as many positions.
    pub fn fill(&mut self, range: Range<usize>, value: T) {
        self.kept.resize(range.start, self.usual);
        let inside = self.kept.len().clamp(range.start, range.end);
        self.kept.fill(range.start..inside, value);
        self.kept.resize(range.end, value);
    }

    /// One each for as many positions.
    pub fn write(&mut self, range: Range<usize>, value: impl Fn(usize) -> T) {
        self.kept.resize(range.start, self.usual);
        if self.kept.len() == range.start {
            self.kept.extend_with(range.len(), value);
        } else {
            for (position, index) in range.enumerate() {
                self.set(index, value(position));
            }
        }
    }

    pub fn truncate(&mut self, len: usize) {
        self.kept.truncate(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_set_is_as_usual() {
        let mut column = Column::new(7);
        column.set(3, 1);
        assert_eq!([0, 2, 3, 4, 99].map(|index| column.get(index)), [7, 7, 1, 7, 7]);
        column.fill(2..6, 2);
        column.fill(8..9, 3);
        column.write(9..11, |position| position + 20);
        column.write(10..12, |position| position + 30);
        let all: Vec<_> = (1..13).map(|index| column.get(index)).collect();
        assert_eq!(all, [7, 2, 2, 2, 2, 7, 7, 3, 20, 30, 31, 7]);
        column.truncate(4);
        assert_eq!([3, 4, 8].map(|index| column.get(index)), [2, 7, 7]);
    }
}
