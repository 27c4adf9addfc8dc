//! The append of a few records, as most are, put into statements without Python: what `stepwell.store.appending` says.
//!
//! It is for those that are as they should be. Of all others it says so, and the long way has the words for them.

use arrayvec::{ArrayString, ArrayVec};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyList, PyString, PyTuple};
use stepwell_core::Beside;
use stepwell_core::spec::ExecutionState;
use stepwell_store::{Change, Values, Work};

use crate::engine::Engine;
use crate::execution::Execution;
use crate::ids;
use crate::journal;
use crate::ticket::{By, Meaning, Ticket};

/// What comes before the digest of the record before, and how far from the start.
const PREV: &[u8] = b",\"prev\":\"";
const PREV_END: usize = 40;
const DIGEST: usize = 16;
/// The longest head that is looked at here.
const HEAD: usize = 32;
/// The most records that are appended straight from an execution.
const SHORT: usize = 16;

/// What is bound to the statements of an append beside its records, and for each of these: no more room than that, as
/// larger pieces of memory take longer.
const VALUES: usize = 15;
const RECORD_VALUES: usize = 10;
const BYTES: usize = 128;
const RECORD_BYTES: usize = 40;

/// The statements by their numbers.
struct Numbers {
    advance_same: usize,
    advance: usize,
    insert_first: usize,
    insert_next: usize,
    insert_mark: usize,
    action_id: usize,
    fence: usize,
}

/// One tenant's appends, in one call each.
///
/// It is for bodies shorter than `cut_bytes`. Every so many records of an execution, `mark_every`, one is marked. What
/// it means that an append was not done says `refused`, of the execution, the action, the last seq and what was found.
#[pyclass(frozen, module = "stepwell._native")]
pub struct Appender {
    engine: Py<Engine>,
    tenant: String,
    cut_bytes: usize,
    mark_every: i64,
    refused: Py<PyAny>,
    numbers: Numbers,
}

/// An append as it is composed.
struct Append<'a> {
    execution_id: &'a str,
    expected: i64,
    epoch: i64,
    action_id: &'a [u8],
    row: Row<'a>,
    records: &'a [Record<'a>],
}

/// What the execution's row says from then on.
struct Row<'a> {
    state: &'a str,
    wait_reason: Option<&'a str>,
    head: &'a str,
    wake_at: Option<i64>,
    progress: i64,
}

struct Record<'a> {
    seq: i64,
    at: i64,
    kind: &'a str,
    body: &'a [u8],
}

#[pymethods]
impl Appender {
    #[new]
    fn new(
        engine: &Bound<'_, Engine>,
        tenant: String,
        cut_bytes: usize,
        mark_every: i64,
        refused: Py<PyAny>,
    ) -> PyResult<Appender> {
        let number = |name| engine.get().numbered(engine.py(), name);
        let numbers = Numbers {
            advance_same: number("advance_same")?,
            advance: number("advance")?,
            insert_first: number("insert_first")?,
            insert_next: number("insert_next")?,
            insert_mark: number("insert_mark")?,
            action_id: number("action_id")?,
            fence: number("fence")?,
        };
        let engine = engine.clone().unbind();
        Ok(Appender { engine, tenant, cut_bytes, mark_every, refused, numbers })
    }

    /// Asks for an append that needs nothing but its records and the row; `None` where it needs the long way.
    #[allow(clippy::too_many_arguments)]
    fn append(
        &self,
        py: Python<'_>,
        execution_id: &Bound<'_, PyAny>,
        expected_seq: &Bound<'_, PyAny>,
        epoch: &Bound<'_, PyAny>,
        action_id: &Bound<'_, PyAny>,
        records: &Bound<'_, PyAny>,
        row: &Bound<'_, PyAny>,
        power: bool,
    ) -> PyResult<Option<Py<Ticket>>> {
        let (Ok(execution_id), Ok(action_id)) =
            (execution_id.cast::<PyString>(), action_id.cast::<PyBytes>())
        else {
            return Ok(None);
        };
        let composed = items(records).and_then(|items| {
            let records: Vec<_> = items.iter().map(record).collect::<Option<_>>()?;
            let columns = row.cast::<PyTuple>().ok().filter(|row| row.len() == 5)?;
            let columns: Vec<_> = columns.iter().collect();
            self.composed(&Append {
                execution_id: execution_id.to_str().ok()?,
                expected: int(expected_seq)?,
                epoch: int(epoch)?,
                action_id: action_id.as_bytes(),
                row: given_row(&columns)?,
                records: &records,
            })
        });
        let Some((values, change, last)) = composed else { return Ok(None) };
        let by = By::Given(execution_id.clone().unbind(), action_id.clone().unbind());
        self.ask(py, by, last, values, Work::Change { power, change }).map(Some)
    }

    /// Drains an execution, and asks for the append of that.
    ///
    /// Gives the records back where they need the long way, as all do unless it runs, or where there are none.
    fn append_drained<'py>(
        &self,
        execution: &Bound<'py, PyAny>,
        expected_seq: i64,
        epoch: i64,
        progress: bool,
        power: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = execution.py();
        let Ok(own) = execution.cast::<Execution>() else {
            return execution.call_method0(intern!(py, "drain"));
        };
        let own = own.get();
        let (drained, head) = own.change(py, |core| {
            let drained = core.drain();
            let head = core.head().filter(|_| core.status().state == ExecutionState::Running);
            Ok((drained, head.and_then(|head| ArrayString::<HEAD>::from(head).ok())))
        })?;
        let action_id = ids::new_action_id()?;
        let id = own.id.text("exec");
        let records: ArrayVec<_, SHORT> = drained
            .iter()
            .take(SHORT)
            .map(|(Beside { seq, at, kind }, body)| Record { seq, at, kind: kind.name(), body })
            .collect();
        let is_short = drained.iter().len() == records.len();
        let composed = head.filter(|_| is_short).and_then(|head| {
            self.composed(&Append {
                execution_id: &id,
                expected: expected_seq,
                epoch,
                action_id: &action_id,
                row: Row {
                    state: ExecutionState::Running.name(),
                    wait_reason: None,
                    head: &head,
                    wake_at: None,
                    progress: progress.into(),
                },
                records: &records,
            })
        });
        let Some((values, change, last)) = composed else {
            return journal::listed(py, &drained).map(Bound::into_any);
        };
        let by = By::Own(own.id, action_id);
        let ticket = self.ask(py, by, last, values, Work::Change { power, change })?;
        Ok(ticket.into_bound(py).into_any())
    }

    /// Asks once more for what failed. The outcome is the ticket's that is returned.
    fn again<'py>(&self, ticket: &Bound<'py, Ticket>) -> PyResult<Bound<'py, Ticket>> {
        let py = ticket.py();
        let Some((ticket, request)) = ticket.get().again(py) else { return Ok(ticket.clone()) };
        let ticket = Bound::new(py, ticket)?;
        self.engine.get().ask(ticket.get(), request.values, request.work);
        Ok(ticket)
    }
}

impl Appender {
    fn ask(
        &self,
        py: Python<'_>,
        by: By,
        last: i64,
        values: Values,
        work: Work,
    ) -> PyResult<Py<Ticket>> {
        let meaning = Meaning::Appended { refused: self.refused.clone_ref(py), by, last };
        let ticket = Py::new(py, Ticket::meaning(meaning))?;
        self.engine.get().ask(ticket.get(), values, work);
        Ok(ticket)
    }

    /// The statements, their values, and the last seq.
    fn composed(&self, append: &Append<'_>) -> Option<(Values, Change, i64)> {
        let records = append.records;
        let last = records.last()?;
        let bytes: usize = records.iter().map(|record| record.body.len()).sum();
        let bytes = bytes + BYTES + self.tenant.len() + RECORD_BYTES * records.len();
        let count = VALUES + RECORD_VALUES * records.len();
        let (mut all, mut change) = self.engine.get().room(count, bytes, records.len() + 4);
        let head = self.guard(&mut all, &mut change, append)?;
        let mut following = records.iter().skip(1);
        for (index, record) in records.iter().enumerate() {
            let wanted =
                i64::try_from(index).ok().and_then(|index| append.expected.checked_add(index + 1));
            if Some(record.seq) != wanted || record.body.len() >= self.cut_bytes {
                return None;
            }
            let next = following.next();
            let first = all.next();
            whose(&mut all);
            all.int(record.seq);
            all.int(record.at);
            all.text(record.kind);
            all.blob(record.body);
            match next {
                Some(next) => {
                    all.null();
                    all.blob(&digest_before(next.body)?);
                }
                None => {
                    all.blob(append.action_id);
                    all.blob(&head);
                }
            }
            all.null();
            all.null();
            let Numbers { insert_first, insert_next, insert_mark, .. } = self.numbers;
            change.then(all.asked(if index == 0 { insert_first } else { insert_next }, first));
            if record.seq % self.mark_every == self.mark_every - 1 {
                let first = all.next();
                whose(&mut all);
                all.int(record.seq);
                change.then(all.asked(insert_mark, first));
            }
        }
        let first = all.next();
        whose(&mut all);
        let fence = all.asked(self.numbers.fence, first);
        all.int(last.seq);
        change.otherwise(all.asked(self.numbers.action_id, first));
        change.otherwise(fence);
        Some((all, change, last.seq))
    }

    /// The guards; gives the head back as bytes.
    fn guard(
        &self,
        all: &mut Values,
        change: &mut Change,
        append: &Append<'_>,
    ) -> Option<ArrayVec<u8, HEAD>> {
        let (row, last) = (&append.row, append.records.last()?);
        let first = all.next();
        all.text(&self.tenant);
        all.text(append.execution_id);
        all.int(append.expected);
        all.int(append.epoch);
        all.int(last.seq);
        all.text(row.head);
        all.int(last.at);
        all.int(row.progress);
        all.int(i64::try_from(append.records.len()).ok()?);
        all.text(row.state);
        match row.wait_reason {
            Some(reason) => all.text(reason),
            None => all.null(),
        }
        match row.wake_at {
            Some(wake_at) => all.int(wake_at),
            None => all.null(),
        }
        let guard = all.asked(self.numbers.advance_same, first);
        change.guard(guard);
        change.guard(guard.with(self.numbers.advance));
        from_hex(row.head.as_bytes())
    }
}

/// The tenant and the execution, which are the first values of all.
fn whose(all: &mut Values) {
    all.again(0);
    all.again(1);
}

/// The columns of records as `drain` gives them.
fn items<'py>(records: &Bound<'py, PyAny>) -> Option<Vec<[Bound<'py, PyAny>; 4]>> {
    let given = records.cast_exact::<PyList>().ok()?;
    let columns = |item: Bound<'py, PyAny>| {
        let item = item.cast_into_exact::<PyTuple>().ok().filter(|item| item.len() == 4)?;
        let column = |index| item.get_item(index).ok();
        Some([column(0)?, column(1)?, column(2)?, column(3)?])
    };
    given.iter().map(columns).collect()
}

fn record<'a>([seq, at, kind, body]: &'a [Bound<'_, PyAny>; 4]) -> Option<Record<'a>> {
    let body = body.cast::<PyBytes>().ok()?.as_bytes();
    Some(Record { seq: int(seq)?, at: int(at)?, kind: text(kind)?, body })
}

fn given_row<'a>(columns: &'a [Bound<'_, PyAny>]) -> Option<Row<'a>> {
    let [state, wait_reason, head, wake_at, progress] = columns else { return None };
    let given = |value: &'a Bound<'_, PyAny>| Some(value).filter(|value| !value.is_none());
    Some(Row {
        state: text(state)?,
        wait_reason: match given(wait_reason) {
            Some(reason) => Some(text(reason)?),
            None => None,
        },
        head: text(head)?,
        wake_at: match given(wake_at) {
            Some(wake_at) => Some(int(wake_at)?),
            None => None,
        },
        progress: int(progress)?,
    })
}

fn text<'a>(value: &'a Bound<'_, PyAny>) -> Option<&'a str> {
    value.cast::<PyString>().ok()?.to_str().ok()
}

fn int(value: &Bound<'_, PyAny>) -> Option<i64> {
    if value.is_instance_of::<PyInt>() { value.extract().ok() } else { None }
}

/// The digest of the record before, which a record has near its start.
fn digest_before(body: &[u8]) -> Option<ArrayVec<u8, HEAD>> {
    let near = body.get(..PREV_END)?;
    let at = near.windows(PREV.len()).position(|part| part == PREV)? + PREV.len();
    from_hex(body.get(at..at + 2 * DIGEST)?)
}

fn from_hex(text: &[u8]) -> Option<ArrayVec<u8, HEAD>> {
    let digit =
        |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = ArrayVec::new();
    let mut digits = text.iter();
    while let Some(high) = digits.next() {
        bytes.try_push(digit(*high)? << 4 | digit(*digits.next()?)?).ok()?;
    }
    Some(bytes)
}
