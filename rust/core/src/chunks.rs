//! Long lists that grow without being moved: adding the next value costs the same however many there are.

use std::ops::Range;

/// How many values stand together.
const CHUNK: usize = 1 << 12;
/// How many there is room for in what a short list keeps.
const SHORT: usize = 16;

/// Values by position, in pieces of which all but the last are full.
#[derive(Debug)]
pub(crate) struct Chunks<T> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Chunks<T> {
        Chunks { chunks: Vec::new(), len: 0 }
    }
}

impl<T: Copy> Chunks<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    /// Takes everything out. A short list keeps its piece of memory for what comes next.
    pub fn clear(&mut self) {
        self.chunks.truncate(1);
        self.len = 0;
        match self.chunks.last_mut() {
            Some(chunk) if chunk.capacity() <= SHORT => chunk.clear(),
            _ => self.chunks = Vec::new(),
        }
    }

    pub fn get(&self, index: usize) -> Option<T> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK).copied()
    }

    pub fn last(&self) -> Option<T> {
        self.chunks.last()?.last().copied()
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)
    }

    pub fn push(&mut self, value: T) {
        self.len += 1;
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(value),
            _ => self.begin(value),
        }
    }

    #[cold]
    fn begin(&mut self, value: T) {
        // A short list stays small.
        let mut chunk = Vec::with_capacity(if self.chunks.is_empty() { 4 } else { CHUNK });
        chunk.push(value);
        self.chunks.push(chunk);
    }

    /// Adds values; `add` puts so many of them, the first of them at that position, at the end of a piece.
    fn grow(&mut self, count: usize, mut add: impl FnMut(&mut Vec<T>, Range<usize>)) {
        let mut done = 0;
        while done < count {
            if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
                self.chunks.push(Vec::with_capacity(CHUNK.min(count - done)));
            }
            if let Some(chunk) = self.chunks.last_mut() {
                let now = (CHUNK - chunk.len()).min(count - done);
                add(chunk, done..done + now);
                done += now;
            }
        }
        self.len += count;
    }

    pub fn extend_with(&mut self, count: usize, value: impl Fn(usize) -> T) {
        self.grow(count, |chunk, range| chunk.extend(range.map(&value)));
    }

    pub fn resize(&mut self, len: usize, value: T) {
        let count = len.saturating_sub(self.len);
        self.grow(count, |chunk, range| chunk.resize(chunk.len() + range.len(), value));
    }

    /// The same value at all these positions, which exist.
    pub fn fill(&mut self, range: Range<usize>, value: T) {
        let mut start = range.start;
        while start < range.end {
            let end = (start - start % CHUNK + CHUNK).min(range.end);
            if let Some(chunk) = self.chunks.get_mut(start / CHUNK) {
                let inside = start % CHUNK;
                chunk[inside..inside + (end - start)].fill(value);
            }
            start = end;
        }
    }

    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.len = len;
            self.chunks.truncate(len.div_ceil(CHUNK));
            if let Some(chunk) = self.chunks.last_mut().filter(|_| len > 0) {
                chunk.truncate((len - 1) % CHUNK + 1);
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = T> {
        self.chunks.iter().flatten().copied()
    }

    /// The values of these positions, as far as there are any.
    pub fn range(&self, range: Range<usize>) -> impl Iterator<Item = T> {
        let pieces = self.chunks.iter().enumerate().skip(range.start / CHUNK);
        let pieces = pieces.take_while(move |(number, _)| number * CHUNK < range.end);
        pieces.flat_map(move |(number, chunk)| {
            let base = number * CHUNK;
            let end = (range.end - base).min(chunk.len());
            let start = range.start.saturating_sub(base).min(end);
            chunk[start..end].iter().copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_list() {
        let mut chunks = Chunks::default();
        let mut list: Vec<usize> = Vec::new();
        for round in 0..4 {
            for value in 0..1500 * round {
                chunks.push(value);
                list.push(value);
            }
            chunks.extend_with(CHUNK * round + 7, |position| position * 2);
            list.extend((0..CHUNK * round + 7).map(|position| position * 2));
            chunks.resize(list.len() + 3000, round);
            list.resize(list.len() + 3000, round);
            let middle = list.len() / 3..list.len() / 2;
            chunks.fill(middle.clone(), 99);
            list[middle].fill(99);
            assert_eq!(chunks.iter().collect::<Vec<_>>(), list);
            for range in [0..0, 0..list.len(), 5..list.len() - 5, 4096..8192, 4095..4097, 9..99_999]
            {
                let end = range.end.min(list.len());
                let expected = list.get(range.start..end).unwrap_or_default();
                assert_eq!(chunks.range(range).collect::<Vec<_>>(), expected);
            }
            for len in [list.len(), list.len() - 10, list.len() / 2, CHUNK, 3] {
                chunks.truncate(len);
                list.truncate(len);
                assert_eq!(chunks.iter().collect::<Vec<_>>(), list);
                assert_eq!((chunks.len(), chunks.last()), (list.len(), list.last().copied()));
            }
            assert_eq!(chunks.get(2), list.get(2).copied());
            assert_eq!(chunks.get(list.len()), None);
        }
        chunks.truncate(0);
        assert_eq!((chunks.len(), chunks.last()), (0, None));
    }
}
