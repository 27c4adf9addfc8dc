//! The append of a few records, as most are, put into statements without Python: what `stepwell.store.appending` says.
//!
//! It is for those that are as they should be. Of all others it says so, and the long way has the words for them.

use arrayvec::ArrayVec;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyList, PyString, PyTuple};
use stepwell_store::{Change, Values, Work};

use crate::engine::Engine;
use crate::ticket::{Meaning, Ticket};

/// What comes before the digest of the record before, and how far from the start.
const PREV: &[u8] = b",\"prev\":\"";
const PREV_END: usize = 40;
const DIGEST: usize = 16;
/// The longest head that is looked at here.
const HEAD: usize = 32;

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

/// A record of `drain`.
struct Record<'a, 'py> {
    seq: i64,
    at: i64,
    kind: Borrowed<'a, 'py, PyString>,
    body: Borrowed<'a, 'py, PyBytes>,
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
        let fence = int(expected_seq.as_borrowed()).zip(int(epoch.as_borrowed()));
        let composed = fence.and_then(|fence| {
            self.composed(execution_id.to_str().ok()?, fence, action_id.as_bytes(), records, row)
        });
        let Some((values, change, last)) = composed else { return Ok(None) };
        let meaning = Meaning::Appended {
            refused: self.refused.clone_ref(py),
            execution_id: execution_id.clone().unbind(),
            action_id: action_id.clone().unbind(),
            last,
        };
        let ticket = Py::new(py, Ticket::meaning(meaning))?;
        self.engine.get().ask(ticket.get(), values, Work::Change { power, change });
        Ok(Some(ticket))
    }
}

impl Appender {
    /// The statements, their values, and the last seq.
    fn composed(
        &self,
        execution_id: &str,
        fence: (i64, i64),
        action_id: &[u8],
        records: &Bound<'_, PyAny>,
        row: &Bound<'_, PyAny>,
    ) -> Option<(Values, Change, i64)> {
        let items = items(records)?;
        let records = items.iter().map(record).collect::<Option<Vec<_>>>()?;
        let last = records.last()?;
        let bytes: usize = records.iter().map(|record| record.body.as_bytes().len()).sum();
        let bytes = bytes + BYTES + self.tenant.len() + RECORD_BYTES * records.len();
        let mut all = Values::with_room(VALUES + RECORD_VALUES * records.len(), bytes);
        let mut change = Change::with_room(records.len() + 4);
        let head = self.guard(&mut all, &mut change, (execution_id, fence), &records, row)?;
        let (expected, _) = fence;
        let mut following = records.iter().skip(1);
        for (index, record) in records.iter().enumerate() {
            let wanted =
                i64::try_from(index).ok().and_then(|index| expected.checked_add(index + 1));
            if Some(record.seq) != wanted || record.body.as_bytes().len() >= self.cut_bytes {
                return None;
            }
            let next = following.next();
            let first = all.next();
            whose(&mut all);
            all.int(record.seq);
            all.int(record.at);
            all.text(record.kind.to_str().ok()?);
            all.blob(record.body.as_bytes());
            match next {
                Some(next) => {
                    all.null();
                    all.blob(&digest_before(next.body.as_bytes())?);
                }
                None => {
                    all.blob(action_id);
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
        (execution_id, (expected, epoch)): (&str, (i64, i64)),
        records: &[Record<'_, '_>],
        row: &Bound<'_, PyAny>,
    ) -> Option<ArrayVec<u8, HEAD>> {
        let row = row.cast::<PyTuple>().ok().filter(|row| row.len() == 5)?;
        let field = |index| row.get_borrowed_item(index).ok();
        let last = records.last()?;
        let head = field(2)?.cast::<PyString>().ok()?;
        let head = head.to_str().ok()?;
        let first = all.next();
        all.text(&self.tenant);
        all.text(execution_id);
        all.int(expected);
        all.int(epoch);
        all.int(last.seq);
        all.text(head);
        all.int(last.at);
        all.int(int(field(4)?)?);
        all.int(i64::try_from(records.len()).ok()?);
        all.text(field(0)?.cast::<PyString>().ok()?.to_str().ok()?);
        match field(1)? {
            none if none.is_none() => all.null(),
            reason => all.text(reason.cast::<PyString>().ok()?.to_str().ok()?),
        }
        match field(3)? {
            none if none.is_none() => all.null(),
            wake_at => all.int(int(wake_at)?),
        }
        let guard = all.asked(self.numbers.advance_same, first);
        change.guard(guard);
        change.guard(guard.with(self.numbers.advance));
        from_hex(head.as_bytes())
    }
}

/// The tenant and the execution, which are the first values of all.
fn whose(all: &mut Values) {
    all.again(0);
    all.again(1);
}

fn items<'py>(records: &Bound<'py, PyAny>) -> Option<Vec<Bound<'py, PyTuple>>> {
    let given = records.cast_exact::<PyList>().ok()?;
    given.iter().map(|item| item.cast_into_exact::<PyTuple>().ok()).collect()
}

fn record<'a, 'py>(item: &'a Bound<'py, PyTuple>) -> Option<Record<'a, 'py>> {
    if item.len() != 4 {
        return None;
    }
    let field = |index| item.get_borrowed_item(index).ok();
    Some(Record {
        seq: int(field(0)?)?,
        at: int(field(1)?)?,
        kind: field(2)?.cast().ok()?,
        body: field(3)?.cast().ok()?,
    })
}

fn int(value: Borrowed<'_, '_, PyAny>) -> Option<i64> {
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
