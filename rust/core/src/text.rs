//! All texts of the steps of an execution: what is written once is never moved or changed.

/// Where a text is, if there is one: which piece, where it starts there, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(u64);

impl Default for Span {
    fn default() -> Span {
        Span::NONE
    }
}

const START_BITS: u32 = 16;
const LEN_BITS: u32 = 16;
/// How many bytes stand together, at the most.
const PIECE: usize = 1 << START_BITS;
/// A text of this length or more is a piece by itself.
const LONG: usize = (1 << LEN_BITS) - 1;

impl Span {
    pub const NONE: Span = Span(u64::MAX);

    fn new(piece: usize, start: usize, len: usize) -> Span {
        Span((piece as u64) << (START_BITS + LEN_BITS) | (start as u64) << LEN_BITS | len as u64)
    }
}

/// The texts, in pieces.
#[derive(Debug, Default)]
pub struct Texts {
    pieces: Vec<String>,
    /// The piece that is written to.
    open: usize,
}

/// How much there was.
#[derive(Clone, Copy, Debug)]
pub struct TextMark(usize, usize, usize);

impl Texts {
    pub fn push(&mut self, text: &str) -> Span {
        if text.len() >= LONG {
            self.pieces.push(text.to_owned());
            return Span::new(self.pieces.len() - 1, 0, LONG);
        }
        if self.pieces.get(self.open).is_none_or(|piece| !has_room(piece, text.len())) {
            // A first short text stays small.
            let room = if self.pieces.is_empty() { 0 } else { PIECE };
            self.open = self.pieces.len();
            self.pieces.push(String::with_capacity(room));
        }
        let Some(piece) = self.pieces.get_mut(self.open) else { return Span::NONE };
        let start = piece.len();
        piece.push_str(text);
        Span::new(self.open, start, text.len())
    }

    pub fn push_some(&mut self, text: Option<&str>) -> Span {
        text.map_or(Span::NONE, |text| self.push(text))
    }

    pub fn get(&self, span: Span) -> Option<&str> {
        if span == Span::NONE {
            return None;
        }
        let piece = self.pieces.get((span.0 >> (START_BITS + LEN_BITS)) as usize)?;
        let len = span.0 as usize & LONG;
        if len == LONG {
            return Some(piece);
        }
        let start = (span.0 >> LEN_BITS) as usize & (PIECE - 1);
        piece.get(start..start + len)
    }

    /// Keeps many texts that stand end to end, each up to one of the ends; an empty one is none.
    pub fn extend(&mut self, all: &str, ends: &[usize]) -> Vec<Span> {
        let mut start = 0;
        let push = |end: &usize| {
            let text = all.get(start..*end).unwrap_or_default();
            start = *end;
            if text.is_empty() { Span::NONE } else { self.push(text) }
        };
        ends.iter().map(push).collect()
    }

    pub fn mark(&self) -> TextMark {
        TextMark(self.pieces.len(), self.open, self.pieces.get(self.open).map_or(0, String::len))
    }

    /// Forgets what has come since the mark.
    pub fn restore(&mut self, mark: TextMark) {
        self.pieces.truncate(mark.0);
        self.open = mark.1;
        if let Some(piece) = self.pieces.get_mut(mark.1) {
            piece.truncate(mark.2);
        }
    }
}

fn has_room(piece: &str, len: usize) -> bool {
    piece.len() + len <= PIECE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        let mut texts = Texts::default();
        let long = "x".repeat(LONG + 5);
        let exact = "z".repeat(LONG);
        let edge = "y".repeat(LONG - 1);
        let given = ["a", "", "é🎉", &long, &edge, "b", &exact, "c", &edge, "d"];
        let spans: Vec<Span> = given.iter().map(|text| texts.push(text)).collect();
        let all = given.concat();
        let mut end = 0;
        let ends: Vec<usize> = given.iter().map(|text| (end += text.len(), end).1).collect();
        let more: Vec<Span> = texts.extend(&all, &ends);
        let few: Vec<Span> = texts.extend("aé", &[1, 1, 3]);
        assert_eq!(spans.iter().map(|span| texts.get(*span)).collect::<Vec<_>>(), given.map(Some));
        let full = given.map(|text| Some(text).filter(|text| !text.is_empty()));
        assert_eq!(more.iter().map(|span| texts.get(*span)).collect::<Vec<_>>(), full);
        let mark = texts.mark();
        let gone = [texts.push("gone"), texts.push(&long), texts.push(&edge), texts.push(&edge)];
        texts.restore(mark);
        assert_eq!(gone.map(|span| texts.get(span)), [None; 4]);
        assert_eq!(
            few.iter().map(|span| texts.get(*span)).collect::<Vec<_>>(),
            [Some("a"), None, Some("é")]
        );
    }
}
