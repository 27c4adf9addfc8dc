//! All texts of the steps of an execution: what is written once is never moved or changed.

/// Where a text is, if there is one: which piece, where it starts there, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(u64);

impl Default for Span {
    fn default() -> Span {
        Span::NONE
    }
}

const START_BITS: u32 = 17;
const LEN_BITS: u32 = 16;
/// How many bytes stand together, at the most.
const PIECE: usize = 1 << (START_BITS - 1);
/// A text of this length or more is a piece by itself.
const LONG: usize = (1 << LEN_BITS) - 1;

impl Span {
    pub const NONE: Span = Span(u64::MAX);

    fn new(piece: usize, start: usize, len: usize) -> Span {
        Span((piece as u64) << (START_BITS + LEN_BITS) | (start as u64) << LEN_BITS | len as u64)
    }
}

/// A text of this length or more is looked for among the latest ones: steps that are given the same share it.
const SHARED: usize = 64;
const LATEST: usize = 4;

/// The texts, in pieces.
#[derive(Debug, Default)]
pub struct Texts {
    pieces: Vec<String>,
    /// The piece that is written to, which holds no long text.
    open: Option<usize>,
    latest: [Span; LATEST],
    next: usize,
}

/// How much there was.
#[derive(Clone, Copy, Debug)]
pub struct TextMark {
    pieces: usize,
    open: Option<usize>,
    end: usize,
}

impl Texts {
    pub fn push(&mut self, text: &str) -> Span {
        if text.len() < SHARED {
            return self.keep(text);
        }
        let same = |span: &&Span| self.get(**span) == Some(text);
        if let Some(span) = self.latest.iter().find(same) {
            return *span;
        }
        let span = self.keep(text);
        self.latest[self.next % LATEST] = span;
        self.next += 1;
        span
    }

    fn keep(&mut self, text: &str) -> Span {
        if let Some(open) = self.open
            && let Some(piece) = self.pieces.get_mut(open)
            && text.len() < LONG
            && piece.len() + text.len() <= PIECE
        {
            let start = piece.len();
            piece.push_str(text);
            return Span::new(open, start, text.len());
        }
        self.keep_in_new_piece(text)
    }

    #[cold]
    fn keep_in_new_piece(&mut self, text: &str) -> Span {
        let number = self.pieces.len();
        if text.len() >= LONG {
            self.pieces.push(text.to_owned());
            return Span::new(number, 0, LONG);
        }
        // A first short text stays small.
        let mut piece = String::with_capacity(self.open.map_or(0, |_| PIECE));
        piece.push_str(text);
        self.pieces.push(piece);
        self.open = Some(number);
        Span::new(number, 0, text.len())
    }

    fn end(&self, piece: usize) -> usize {
        self.pieces.get(piece).map_or(0, String::len)
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
        let start = (span.0 >> LEN_BITS) as usize & ((1 << START_BITS) - 1);
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
        let end = self.open.map_or(0, |open| self.end(open));
        TextMark { pieces: self.pieces.len(), open: self.open, end }
    }

    /// Forgets what has come since the mark.
    pub fn restore(&mut self, mark: TextMark) {
        self.pieces.truncate(mark.pieces);
        self.open = mark.open;
        if let Some(piece) = self.open.and_then(|open| self.pieces.get_mut(open)) {
            piece.truncate(mark.end);
        }
        self.latest = Default::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back_after_every_other() {
        let lengths = [0, 1, 63, 64, 65, 32_768, LONG - 1, LONG, LONG + 1, PIECE, PIECE + 1];
        let text = |len: usize, with: char| String::from(with).repeat(len);
        for first in lengths {
            for second in lengths {
                let mut texts = Texts::default();
                let given = [text(first, 'a'), text(second, 'b'), text(0, 'c'), text(1, 'd')];
                let spans = given.each_ref().map(|text| texts.push(text));
                let again = given.each_ref().map(|text| texts.push(text));
                for ((text, span), again) in given.iter().zip(spans).zip(again) {
                    assert_eq!(texts.get(span), Some(&**text), "{first}, {second}");
                    assert_eq!(texts.get(again), Some(&**text), "{first}, {second}");
                    assert_eq!(span == again, text.len() >= SHARED || texts.get(span).is_none());
                }
            }
        }
        // A piece that is exactly full.
        let mut texts = Texts::default();
        let halves = [text(PIECE / 2, 'a'), text(PIECE / 2, 'b')].map(|text| texts.push(&text));
        let empty = texts.push("");
        let after = texts.push("after");
        assert_eq!(texts.get(empty), Some(""));
        assert_eq!(texts.get(after), Some("after"));
        assert!(halves.iter().all(|span| texts.get(*span).is_some()));
    }

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
        let others = [format!("{long}!"), format!("{edge}!"), "!".repeat(LONG - 1)];
        let gone = ["gone", &others[0], &others[1], &others[2]].map(|text| texts.push(text));
        texts.restore(mark);
        assert_eq!(gone.map(|span| texts.get(span)), [None; 4]);
        assert_eq!(
            few.iter().map(|span| texts.get(*span)).collect::<Vec<_>>(),
            [Some("a"), None, Some("é")]
        );
    }
}
