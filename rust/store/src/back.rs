//! A page of a journal, found by going back from behind it: a record knows the one before.

use std::collections::VecDeque;

use rusqlite::Statement;
use rusqlite::types::ValueRef;

use crate::session::{Answer, Page, owned};
use crate::{Row, Value};

/// The columns before what is wanted: number, previous number, whether it is of the same execution; then its seq.
const SEQ: usize = 3;

/// What was found, the last record first.
#[derive(Default)]
pub struct Found {
    rows: VecDeque<Row>,
    texts: Texts,
    size: usize,
    seq: VecDeque<(i64, usize)>,
}

/// Texts one behind the other, the last one first.
#[derive(Debug, Default)]
pub struct Texts {
    all: Vec<u8>,
    /// Where each of them ends, those that are wanted.
    ends: VecDeque<usize>,
    start: usize,
}

impl Texts {
    fn push(&mut self, text: &[u8]) {
        self.all.extend_from_slice(text);
        self.ends.push_back(self.all.len());
    }

    /// Leaves out the one that was pushed first.
    fn forget(&mut self) {
        self.start = self.ends.pop_front().unwrap_or(self.start);
    }

    /// How long they are, with a newline behind each.
    pub fn joined_len(&self) -> usize {
        self.all.len() - self.start + self.ends.len()
    }

    /// Writes them out, the one that was pushed last first, with a newline behind each.
    pub fn join_into(&self, into: &mut [u8]) {
        let mut rest = into;
        let mut end = self.all.len();
        let starts = self.ends.iter().rev().skip(1).copied().chain([self.start]);
        for start in starts.take(self.ends.len()) {
            let text = self.all.get(start..end).unwrap_or_default();
            let Some((place, behind)) = rest.split_at_mut_checked(text.len() + 1) else { return };
            if let Some((newline, place)) = place.split_last_mut() {
                place.copy_from_slice(text);
                *newline = b'\n';
            }
            rest = behind;
            end = start;
        }
    }
}

impl Found {
    pub fn into_answer(self, joined: bool) -> Answer {
        if joined {
            return Answer::Joined(self.seq.front().map(|(last, _)| (*last, self.texts)));
        }
        Answer::Rows(self.rows.into_iter().rev().collect())
    }

    fn push(&mut self, seq: i64, size: usize, page: &Page) {
        self.seq.push_back((seq, size));
        self.size += size;
        // What is wanted are the first ones, and they come last.
        while self.seq.len() > 1 && (self.seq.len() > page.most_rows || self.size > page.most_bytes)
        {
            self.size -= self.seq.pop_front().map_or(0, |(_, size)| size);
            self.rows.pop_front();
            self.texts.forget();
        }
    }
}

/// Goes back from this number. The inner error says what is wrong with the journal.
pub fn follow(
    statement: &mut Statement<'_>,
    parameter: usize,
    start: Option<i64>,
    page: &Page,
) -> rusqlite::Result<Result<Found, &'static str>> {
    let columns = statement.column_count();
    let mut found = Found::default();
    let mut next = start;
    let mut above: Option<i64> = None;
    while let Some(from) = next {
        statement.raw_bind_parameter(parameter, from)?;
        let mut rows = statement.raw_query();
        let mut number = from;
        loop {
            let Some(row) = rows.next()? else { return Ok(Err("a record is missing")) };
            let seq: i64 = row.get(SEQ)?;
            let here = row.get::<_, i64>(0)? == number && row.get::<_, bool>(2)?;
            // The seq goes down one by one, so this comes to an end whatever the numbers say.
            if !here || above.is_some_and(|above| above.checked_sub(1) != Some(seq)) {
                return Ok(Err("a record is not where it belongs"));
            }
            next = row.get(1)?;
            if seq <= page.after {
                next = None;
                break;
            }
            above = Some(seq);
            let size = if page.joined {
                match row.get_ref(SEQ + 1)? {
                    ValueRef::Blob(text) | ValueRef::Text(text) => {
                        found.texts.push(text);
                        text.len()
                    }
                    _ => return Ok(Err("a payload is missing")),
                }
            } else {
                let values = (SEQ..columns).map(|column| row.get_ref(column).and_then(owned));
                found.rows.push_back(values.collect::<Result<Row, _>>()?);
                match found.rows.back().and_then(|row| row.last()) {
                    Some(Value::Blob(bytes)) => bytes.len(),
                    _ => 0,
                }
            };
            found.push(seq, size, page);
            if next.is_none() || next != number.checked_sub(1) {
                break;
            }
            number -= 1;
        }
    }
    Ok(Ok(found))
}
