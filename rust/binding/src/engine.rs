//! The engine of a SQLite file: requests of Python go in, and their tickets know the answers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use stepwell_store::{Asked, Change, Page, Request, Script, Values, Work};

use crate::bridge::refuse;
use crate::ticket::{Ticket, Waiting};

/// What an append of a few records takes.
const ROOM_VALUES: usize = 64;
const ROOM_BYTES: usize = 1536;

/// One file and its thread, which alone holds the connection: a forked child can neither use nor close it.
///
/// Requests name statements; each is answered by its ticket. With `read_only` nothing is written, made or set.
#[pyclass(frozen, module = "stepwell._native")]
pub struct Engine {
    engine: stepwell_store::Engine<Waiting>,
    numbers: HashMap<String, usize>,
    path: Arc<str>,
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (path, identity, queries, schema, migrations, busy_seconds, read_only = false))]
    fn new(
        path: &str,
        identity: (u64, u64),
        queries: Vec<(String, String)>,
        schema: Vec<String>,
        migrations: Vec<Vec<String>>,
        busy_seconds: f64,
        read_only: bool,
    ) -> PyResult<Engine> {
        let (names, queries): (Vec<String>, Vec<String>) = queries.into_iter().unzip();
        let numbers: HashMap<String, usize> =
            names.into_iter().enumerate().map(|(number, name)| (name, number)).collect();
        let number = |name: &str| numbers.get(name).copied().unwrap_or(usize::MAX);
        let (format, touch) = (number("format"), number("touch"));
        let script = Script { queries, format, touch, schema, migrations };
        let busy = Duration::try_from_secs_f64(busy_seconds).unwrap_or(Duration::ZERO);
        let engine =
            stepwell_store::Engine::start(PathBuf::from(path), identity, script, busy, read_only)?;
        Ok(Engine { engine, numbers, path: Arc::from(path) })
    }

    /// How many requests wait.
    #[getter]
    fn waiting(&self) -> usize {
        self.engine.waiting()
    }

    /// How many bytes wait with them.
    #[getter]
    fn waiting_bytes(&self) -> usize {
        self.engine.waiting_bytes()
    }

    /// Asks for the rows of a query. Where there are none, and none of `exists` either, the outcome is `None`.
    fn query(
        &self,
        ticket: &Bound<'_, Ticket>,
        name: &Bound<'_, PyString>,
        values: &Bound<'_, PyTuple>,
        exists: Option<&Bound<'_, PyTuple>>,
    ) -> PyResult<()> {
        let mut all = Values::default();
        let query = self.asked(&mut all, name, values)?;
        let exists = exists.map(|exists| self.named(&mut all, exists)).transpose()?;
        self.ask(ticket.get(), all, Work::Query { query, exists });
        Ok(())
    }

    /// Asks for the first records after the seq `after`, found by going back from the one that `start` names.
    ///
    /// The query `back` is given the number of a record and has the rows from there on backwards: number, previous
    /// number, whether it is of the same execution, seq, and what is wanted. The outcome is a list of (seq, what is
    /// wanted), at most so many rows and bytes; or `joined` the seq of the last one and all that is wanted, each
    /// followed by a newline, and an empty tuple for none. It is `None` where `start` has no row.
    fn follow(
        &self,
        ticket: &Bound<'_, Ticket>,
        start: &Bound<'_, PyTuple>,
        back: &Bound<'_, PyTuple>,
        after: i64,
        most_rows: usize,
        most_bytes: usize,
        joined: bool,
    ) -> PyResult<()> {
        let mut all = Values::default();
        let start = self.named(&mut all, start)?;
        let back = self.named(&mut all, back)?;
        let page = Page { back, after, most_rows, most_bytes, joined };
        self.ask(ticket.get(), all, Work::Follow { start, page });
        Ok(())
    }

    /// Asks for a change, as a whole or not at all.
    ///
    /// The first of the `guards` that changes a row lets all of `then` happen; the outcome is `True`. Where none does,
    /// nothing happens, and the outcome is the rows of each query of `otherwise`. Without guards everything happens,
    /// and the outcome is how many rows each of `then` changed. With `power` it is on the disk when it is answered.
    fn change(
        &self,
        ticket: &Bound<'_, Ticket>,
        power: bool,
        guards: &Bound<'_, PyList>,
        then: &Bound<'_, PyList>,
        otherwise: &Bound<'_, PyList>,
    ) -> PyResult<()> {
        let mut all = Values::with_room(ROOM_VALUES, ROOM_BYTES);
        let mut change = Change::with_room(guards.len() + then.len() + otherwise.len());
        for guard in self.each(&mut all, guards)? {
            change.guard(guard);
        }
        for part in then.iter() {
            let (name, rows) = pair::<PyList>(&part)?;
            let statement = self.number(&name)?;
            for row in rows.iter() {
                change.then(asked(&mut all, statement, row.cast::<PyTuple>()?)?);
            }
            change.end_part();
        }
        for query in self.each(&mut all, otherwise)? {
            change.otherwise(query);
        }
        self.ask(ticket.get(), all, Work::Change { power, change });
        Ok(())
    }

    /// Panics in the thread: what the test of that needs.
    fn _panic(&self, ticket: &Bound<'_, Ticket>, writes: bool) {
        self.ask(ticket.get(), Values::default(), Work::Panic { writes });
    }

    /// Ends the thread behind everything that was asked.
    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.engine.stop());
    }

    /// Waits, for a while at most, until the file is neither locked nor half written, and keeps it so.
    // A child has no thread that could use the connection, and nothing that would close it.
    #[expect(clippy::unused_self)]
    fn before_fork(&self) {}

    /// Lets it go on.
    #[expect(clippy::unused_self)]
    fn after_fork(&self) {}
}

impl Engine {
    pub fn ask(&self, ticket: &Ticket, values: Values, work: Work) {
        let slot = ticket.slot();
        slot.belongs_to(&self.path);
        self.engine.ask(Request { values, work }, Waiting(slot));
    }

    /// Empty values and an empty change, with room for so much if they are new.
    pub fn room(&self, values: usize, bytes: usize, statements: usize) -> (Values, Change) {
        self.engine
            .spare()
            .unwrap_or_else(|| (Values::with_room(values, bytes), Change::with_room(statements)))
    }

    /// The number of a statement.
    pub fn numbered(&self, py: Python<'_>, name: &str) -> PyResult<usize> {
        let found = self.numbers.get(name).copied();
        found.ok_or_else(|| refuse(py, "internal", ("a statement that is not there",)))
    }

    fn number(&self, name: &Bound<'_, PyString>) -> PyResult<usize> {
        self.numbered(name.py(), name.to_str()?)
    }

    fn asked(
        &self,
        all: &mut Values,
        name: &Bound<'_, PyString>,
        values: &Bound<'_, PyTuple>,
    ) -> PyResult<Asked> {
        asked(all, self.number(name)?, values)
    }

    fn each(&self, all: &mut Values, given: &Bound<'_, PyList>) -> PyResult<Vec<Asked>> {
        let mut each: Vec<Asked> = Vec::with_capacity(given.len());
        let mut before: Option<Bound<'_, PyTuple>> = None;
        for item in given {
            let (name, values) = pair::<PyTuple>(&item)?;
            // Several statements may have the same values: they are taken over once.
            let asked = match (&before, each.last()) {
                (Some(same), Some(last)) if same.is(&values) => last.with(self.number(&name)?),
                _ => self.asked(all, &name, &values)?,
            };
            each.push(asked);
            before = Some(values);
        }
        Ok(each)
    }

    /// A name and its values.
    fn named(&self, all: &mut Values, given: &Bound<'_, PyAny>) -> PyResult<Asked> {
        let (name, values) = pair::<PyTuple>(given)?;
        self.asked(all, &name, &values)
    }
}

/// A name and what belongs to it.
fn pair<'py, T: pyo3::PyTypeCheck>(
    given: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyString>, Bound<'py, T>)> {
    let pair = given.cast::<PyTuple>()?;
    Ok((pair.get_item(0)?.cast_into()?, pair.get_item(1)?.cast_into()?))
}

fn asked(all: &mut Values, statement: usize, values: &Bound<'_, PyTuple>) -> PyResult<Asked> {
    let first = all.next();
    for value in values.iter_borrowed() {
        if let Ok(text) = value.cast::<PyString>() {
            all.text(text.to_str()?);
        } else if let Ok(bytes) = value.cast::<PyBytes>() {
            all.blob(bytes.as_bytes());
        } else if value.is_none() {
            all.null();
        } else {
            all.int(value.extract()?);
        }
    }
    Ok(all.asked(statement, first))
}
