//! What is done with an open connection: requests in, answers out.

use std::panic::resume_unwind;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Statement};

use crate::back::{self, Texts};
use crate::connection::{Place, Script};
use crate::trouble::Trouble;
use crate::values::{Asked, Values};
use crate::{Row, Value};

/// What is asked, and the values of all its statements.
#[derive(Clone, Debug)]
pub struct Request {
    pub values: Values,
    pub work: Work,
}

#[derive(Clone, Debug)]
pub enum Work {
    /// The rows of a query. Where there are none, and none of `exists` either, they are missing.
    Query {
        query: Asked,
        exists: Option<Asked>,
    },
    /// The first records after a seq, found by going back from the one that `start` names.
    Follow {
        start: Asked,
        page: Page,
    },
    Change {
        power: bool,
        change: Change,
    },
    /// A panic, of a request that writes or of one that reads: what the test of that needs.
    Panic {
        writes: bool,
    },
}

/// The first of the guards that changes a row lets all of `then` happen. Where none does, nothing happens, and the
/// answer is the rows of `otherwise`. Without guards everything happens.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// All statements one behind the other: one piece of memory, as requests go from thread to thread.
    asked: Vec<Asked>,
    guards: usize,
    then: usize,
    /// Where each part of `then` ends: it is counted what each of them changes.
    parts: Vec<usize>,
}

impl Change {
    pub fn with_room(statements: usize) -> Change {
        Change { asked: Vec::with_capacity(statements), ..Change::default() }
    }

    /// Makes room for other statements in the same memory.
    pub fn clear(&mut self) {
        self.asked.clear();
        self.parts.clear();
        (self.guards, self.then) = (0, 0);
    }

    /// Adds a guard. Guards come first.
    pub fn guard(&mut self, asked: Asked) {
        self.asked.push(asked);
        self.guards += 1;
    }

    /// Adds a statement of `then`, behind the guards.
    pub fn then(&mut self, asked: Asked) {
        self.asked.push(asked);
        self.then += 1;
    }

    /// Ends a part of `then`.
    pub fn end_part(&mut self) {
        if self.guards == 0 {
            self.parts.push(self.then);
        }
    }

    /// Adds a query of `otherwise`, behind everything else.
    pub fn otherwise(&mut self, asked: Asked) {
        self.asked.push(asked);
    }

    /// The guards, then what follows, then what is asked otherwise.
    fn split(&self) -> Option<(&[Asked], &[Asked], &[Asked])> {
        let (guards, rest) = self.asked.split_at_checked(self.guards)?;
        let (then, otherwise) = rest.split_at_checked(self.then)?;
        Some((guards, then, otherwise))
    }
}

/// Which records are wanted, and in what form.
#[derive(Clone, Debug)]
pub struct Page {
    /// The query that has the rows from a record on backwards: number, previous number, whether it is of the same
    /// execution, seq, and what is wanted. Its last parameter is the number.
    pub back: Asked,
    /// The seq after which they begin.
    pub after: i64,
    pub most_rows: usize,
    pub most_bytes: usize,
    /// Whether the first of what is wanted is to be one text, with a newline behind each.
    pub joined: bool,
}

impl Request {
    pub fn writes(&self) -> bool {
        matches!(self.work, Work::Change { .. } | Work::Panic { writes: true })
    }

    pub fn needs_power(&self) -> bool {
        matches!(self.work, Work::Change { power: true, .. })
    }
}

#[derive(Debug)]
pub enum Answer {
    Rows(Vec<Row>),
    Missing,
    Joined(Option<(i64, Texts)>),
    /// A guard let it happen.
    Changed,
    /// How many rows each part changed, where there was no guard.
    Counts(Vec<usize>),
    /// No guard let it happen: what the other queries found.
    Refused(Vec<Vec<Row>>),
    /// What went wrong, and what was asked, so that it can be asked again.
    Trouble(Trouble, Option<Box<Request>>),
}

pub fn owned(value: ValueRef<'_>) -> rusqlite::Result<Value> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    })
}

const BEGIN: usize = 0;
const COMMIT: usize = 1;
const FULL: [usize; 2] = [2, 3];
const NORMAL: [usize; 2] = [4, 5];
const OWN: [&str; 6] = [
    "BEGIN IMMEDIATE",
    "COMMIT",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 1000",
    "PRAGMA synchronous = NORMAL",
    // While no commit waits for the disk, it does not matter that the file still grows.
    "PRAGMA wal_autocheckpoint = 4000",
];

/// An open connection with its prepared statements.
pub struct Session<'a> {
    db: &'a Connection,
    place: &'a Place,
    script: &'a Script,
    own: [Option<Statement<'a>>; OWN.len()],
    prepared: Vec<Option<Statement<'a>>>,
    full: bool,
}

impl<'a> Session<'a> {
    pub fn new(db: &'a Connection, place: &'a Place, script: &'a Script) -> Session<'a> {
        let prepared = script.queries.iter().map(|_| None).collect();
        Session { db, place, script, own: [const { None }; OWN.len()], prepared, full: true }
    }

    /// The answer to a request that only reads.
    pub fn read(&mut self, request: &Request) -> Result<Answer, Trouble> {
        let values = &request.values;
        match &request.work {
            Work::Query { query, exists } => {
                let rows = self.rows(values, *query)?;
                if let Some(exists) = exists
                    && rows.is_empty()
                    && self.rows(values, *exists)?.is_empty()
                {
                    return Ok(Answer::Missing);
                }
                Ok(Answer::Rows(rows))
            }
            Work::Follow { start, page } => {
                let Some(row) = self.rows(values, *start)?.pop() else {
                    return Ok(Answer::Missing);
                };
                let number = match row.first() {
                    Some(Value::Int(number)) => Some(*number),
                    _ => None,
                };
                self.follow(values, number, page)
            }
            Work::Change { .. } => Err(Trouble::about("internal", "a change among reads")),
            Work::Panic { .. } => resume_unwind(Box::new("asked to")),
        }
    }

    /// The answers to requests that write, all in one transaction; where one cannot be done, none is.
    pub fn write<'r>(
        &mut self,
        requests: impl Iterator<Item = &'r Request>,
        power: bool,
    ) -> Result<Vec<Answer>, Trouble> {
        self.begin(power)?;
        let done = self.changes(requests);
        let done = done.and_then(|answers| self.own(COMMIT).map(|()| answers));
        if done.is_err() {
            self.roll_back();
        }
        done
    }

    fn changes<'r>(
        &mut self,
        requests: impl Iterator<Item = &'r Request>,
    ) -> Result<Vec<Answer>, Trouble> {
        let mut answers = Vec::new();
        let mut was_there = false;
        for request in requests {
            let answer = self.change(request)?;
            was_there |= request.needs_power() && matches!(answer, Answer::Refused(_));
            answers.push(answer);
        }
        if was_there {
            // What it found may not be on the disk yet, and a commit that changes nothing waits for none.
            let values = Values::default();
            self.execute(&values, values.asked(self.script.touch, 0))?;
        }
        Ok(answers)
    }

    /// Ends the transaction, if there is one, without a trace.
    pub fn roll_back(&self) {
        if !self.db.is_autocommit() {
            // The connection is given up anyway; the file's own journal undoes the rest.
            let _ = self.db.execute_batch("ROLLBACK");
        }
    }

    /// Takes the write lock: a transaction that reads first and writes later could not wait for it.
    fn begin(&mut self, power: bool) -> Result<(), Trouble> {
        if power != self.full {
            for setting in if power { FULL } else { NORMAL } {
                self.own(setting)?;
            }
            self.full = power;
        }
        self.own(BEGIN)
    }

    fn own(&mut self, which: usize) -> Result<(), Trouble> {
        let (Some(slot), Some(text)) = (self.own.get_mut(which), OWN.get(which)) else {
            return Err(Trouble::about("internal", "a statement that is not there"));
        };
        let statement = match slot {
            Some(statement) => statement,
            None => {
                let (db, place) = (self.db, self.place);
                slot.insert(place.patient(|| db.prepare(text))?)
            }
        };
        self.place.patient(|| {
            let mut rows = statement.raw_query();
            while rows.next()?.is_some() {}
            Ok(())
        })
    }

    fn change(&mut self, request: &Request) -> Result<Answer, Trouble> {
        let values = &request.values;
        let change = match &request.work {
            Work::Change { change, .. } => change,
            Work::Panic { .. } => resume_unwind(Box::new("asked to")),
            _ => return Err(Trouble::about("internal", "a read among changes")),
        };
        let Some((guards, then, otherwise)) = change.split() else {
            return Err(Trouble::about("internal", "a change that is not whole"));
        };
        let mut open = guards.is_empty();
        for guard in guards {
            if self.execute(values, *guard)? > 0 {
                open = true;
                break;
            }
        }
        if !open {
            let found = otherwise.iter().map(|asked| self.rows(values, *asked));
            return found.collect::<Result<Vec<_>, _>>().map(Answer::Refused);
        }
        if !guards.is_empty() {
            for asked in then {
                self.execute(values, *asked)?;
            }
            return Ok(Answer::Changed);
        }
        let mut counts = Vec::with_capacity(change.parts.len());
        let mut start = 0;
        for end in &change.parts {
            let mut count = 0;
            for asked in then.get(start..*end).unwrap_or_default() {
                count += self.execute(values, *asked)?;
            }
            counts.push(count);
            start = *end;
        }
        Ok(Answer::Counts(counts))
    }

    fn execute(&mut self, values: &Values, asked: Asked) -> Result<usize, Trouble> {
        let place = self.place;
        let statement = self.bound(values, asked)?;
        place.patient(|| statement.raw_execute())
    }

    fn rows(&mut self, values: &Values, asked: Asked) -> Result<Vec<Row>, Trouble> {
        let place = self.place;
        let statement = self.bound(values, asked)?;
        let columns = statement.column_count();
        place.patient(|| {
            let mut found = Vec::new();
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next()? {
                let values = (0..columns).map(|column| row.get_ref(column).and_then(owned));
                found.push(values.collect::<Result<Row, _>>()?);
            }
            Ok(found)
        })
    }

    fn follow(
        &mut self,
        values: &Values,
        number: Option<i64>,
        page: &Page,
    ) -> Result<Answer, Trouble> {
        let place = self.place;
        let statement = self.bound_partly(values, page.back)?;
        let parameter = page.back.count + 1;
        let found = place.patient(|| back::follow(statement, parameter, number, page));
        let found = found?.map_err(|what| Trouble::about("broken", what))?;
        Ok(found.into_answer(page.joined))
    }

    /// A prepared statement with its values.
    fn bound(&mut self, values: &Values, asked: Asked) -> Result<&mut Statement<'a>, Trouble> {
        let statement = self.bound_partly(values, asked)?;
        if statement.parameter_count() != asked.count {
            return Err(Trouble::about("internal", "another number of values"));
        }
        Ok(statement)
    }

    fn bound_partly(
        &mut self,
        values: &Values,
        asked: Asked,
    ) -> Result<&mut Statement<'a>, Trouble> {
        let (Some(slot), Some(text)) =
            (self.prepared.get_mut(asked.statement), self.script.queries.get(asked.statement))
        else {
            return Err(Trouble::about("internal", "a statement that is not there"));
        };
        let statement = match slot {
            Some(statement) => statement,
            None => {
                let (db, place) = (self.db, self.place);
                slot.insert(place.patient(|| db.prepare(text))?)
            }
        };
        values.bind(asked, statement)?;
        Ok(statement)
    }
}
