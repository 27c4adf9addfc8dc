//! What is bound to the statements of a request: all of it in two pieces of memory, which go from thread to thread.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Statement, ToSql};

use crate::trouble::Trouble;

/// A statement by its number, and where its values are.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub statement: usize,
    first: usize,
    pub count: usize,
}

impl Asked {
    /// Another statement with the same values.
    pub fn with(self, statement: usize) -> Asked {
        Asked { statement, ..self }
    }
}

/// Bytes of a piece of memory that is kept for other requests.
const MOST_KEPT: usize = 4096;

#[derive(Clone, Copy, Debug)]
enum Given {
    Null,
    Int(i64),
    Text(usize, usize),
    Blob(usize, usize),
}

/// The values of a request.
#[derive(Clone, Debug, Default)]
pub struct Values {
    given: Vec<Given>,
    bytes: Vec<u8>,
}

impl Values {
    pub fn with_room(values: usize, bytes: usize) -> Values {
        Values { given: Vec::with_capacity(values), bytes: Vec::with_capacity(bytes) }
    }

    /// Makes room for the values of another request in the same memory; `false` where there is too much of it.
    pub fn clear(&mut self) -> bool {
        self.given.clear();
        self.bytes.clear();
        self.bytes.capacity() <= MOST_KEPT
            && self.given.capacity() * size_of::<Given>() <= MOST_KEPT
    }

    /// The bytes of their texts and blobs.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Where the values of the next statement begin.
    pub fn next(&self) -> usize {
        self.given.len()
    }

    /// A statement with all values since `first`.
    pub fn asked(&self, statement: usize, first: usize) -> Asked {
        Asked { statement, first, count: self.given.len() - first }
    }

    pub fn null(&mut self) {
        self.given.push(Given::Null);
    }

    pub fn int(&mut self, number: i64) {
        self.given.push(Given::Int(number));
    }

    pub fn text(&mut self, text: &str) {
        self.given.push(Given::Text(self.bytes.len(), text.len()));
        self.bytes.extend_from_slice(text.as_bytes());
    }

    pub fn blob(&mut self, bytes: &[u8]) {
        self.given.push(Given::Blob(self.bytes.len(), bytes.len()));
        self.bytes.extend_from_slice(bytes);
    }

    /// One of the values once more, by its place: its bytes are shared.
    pub fn again(&mut self, place: usize) {
        self.given.push(self.given.get(place).copied().unwrap_or(Given::Null));
    }

    /// Binds the values of a statement, from its first parameter on.
    pub fn bind(&self, asked: Asked, statement: &mut Statement<'_>) -> Result<(), Trouble> {
        let given = self.given.get(asked.first..asked.first + asked.count).unwrap_or_default();
        for (position, value) in given.iter().enumerate() {
            statement
                .raw_bind_parameter(position + 1, Shown { value: *value, all: &self.bytes })?;
        }
        Ok(())
    }
}

struct Shown<'a> {
    value: Given,
    all: &'a [u8],
}

impl ToSql for Shown<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let part = |start, len| self.all.get(start..start + len).unwrap_or_default();
        Ok(ToSqlOutput::Borrowed(match self.value {
            Given::Null => ValueRef::Null,
            Given::Int(number) => ValueRef::Integer(number),
            Given::Text(start, len) => ValueRef::Text(part(start, len)),
            Given::Blob(start, len) => ValueRef::Blob(part(start, len)),
        }))
    }
}
