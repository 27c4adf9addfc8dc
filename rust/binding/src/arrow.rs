//! The steps as an Arrow table, by the C stream interface. The columns are those of `stepwell._pure.arrow`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{LargeStringBuilder, StringBuilder};
use arrow_array::cast::as_primitive_array;
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, DictionaryArray, Int32Array, Int64Array, RecordBatch, RecordBatchIterator,
    StringArray, TimestampNanosecondArray, UInt32Array,
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule};
use stepwell_core::{Places, StepView, Steps};

use crate::bridge::{self, Import};
use crate::columns;
use crate::execution::Execution;

static ERROR_COLUMNS: Import = Import::new("stepwell.fields", "error_columns");

/// How many steps a batch has: texts of one batch have room in the 2 GiB that a column of text can have.
const BATCH: usize = 1 << 16;

fn schema() -> SchemaRef {
    let text = |name: &str, null: bool| Field::new(name, DataType::Utf8, null);
    let time = |name: &str, null: bool| {
        Field::new(name, DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), null)
    };
    let names = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    Arc::new(Schema::new(vec![
        text("id", false),
        text("parent_step_id", true),
        Field::new("name", names, false),
        text("type", false),
        text("state", false),
        Field::new("attempt", DataType::UInt32, false),
        time("scheduled_at", false),
        time("started_at", true),
        time("ended_at", true),
        Field::new("duration_ns", DataType::Int64, true),
        Field::new("queued_ns", DataType::Int64, false),
        Field::new("input", DataType::LargeUtf8, true),
        Field::new("output", DataType::LargeUtf8, true),
        text("error_category", true),
        text("error_code", true),
        text("error_message", true),
        text("place", true),
    ]))
}

/// The columns of a batch, but for those of the errors, and which of the errors each step has.
struct Part {
    before: Vec<ArrayRef>,
    errors: Vec<Option<usize>>,
    place: ArrayRef,
}

/// All parts, the names that they use, and their errors as JSON, each once.
#[derive(Default)]
struct Table {
    parts: Vec<Part>,
    names: Vec<String>,
    codes: HashMap<u32, i32>,
    errors: Vec<String>,
    known: HashMap<String, usize>,
}

fn read(steps: &Steps, places: &Places, now: i64) -> Table {
    let mut table = Table::default();
    let indices: Vec<usize> = places.iter().collect();
    for batch in indices.chunks(BATCH) {
        let views: Vec<StepView<'_>> = batch.iter().filter_map(|at| steps.get(*at)).collect();
        let part = part(&mut table, steps, batch, &views, now);
        table.parts.push(part);
    }
    table
}

fn part(table: &mut Table, steps: &Steps, at: &[usize], views: &[StepView<'_>], now: i64) -> Part {
    let each = || views.iter().copied();
    let numbers = at.iter().filter_map(|index| steps.name_of(*index));
    let codes = numbers.filter_map(|number| code(table, steps, number));
    let before: Vec<ArrayRef> = vec![
        ids(each().map(|step| Some(step.id()))),
        ids(each().map(StepView::parent)),
        Arc::new(Int32Array::from_iter_values(codes)),
        texts(each().map(|step| Some(step.step_type().name()))),
        texts(each().map(|step| Some(step.state().name()))),
        Arc::new(UInt32Array::from_iter_values(each().map(StepView::attempt))),
        times(each().map(|step| Some(step.scheduled()))),
        times(each().map(StepView::started)),
        times(each().map(StepView::ended)),
        Arc::new(each().map(|step| step.duration(now)).collect::<Int64Array>()),
        Arc::new(Int64Array::from_iter_values(each().map(|step| step.queued(now)))),
        payloads(each().map(StepView::input)),
        payloads(each().map(StepView::output)),
    ];
    let errors = each().map(|step| step.error().map(|json| error(table, json))).collect();
    Part { before, errors, place: texts(each().map(StepView::place)) }
}

/// The place of a name in the dictionary: that of its first use.
fn code(table: &mut Table, steps: &Steps, number: u32) -> Option<i32> {
    if let Some(code) = table.codes.get(&number) {
        return Some(*code);
    }
    let code = table.names.len() as i32;
    table.names.push(steps.names().get(number as usize)?.to_string());
    table.codes.insert(number, code);
    Some(code)
}

/// The place of an error among those that differ.
fn error(table: &mut Table, json: &str) -> usize {
    if let Some(found) = table.known.get(json) {
        return *found;
    }
    table.errors.push(json.to_owned());
    table.known.insert(json.to_owned(), table.errors.len() - 1);
    table.errors.len() - 1
}

fn batches(table: Table, errors: &[ErrorColumns]) -> Result<Vec<RecordBatch>, ArrowError> {
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(&table.names));
    let batch = |part: Part| {
        let mut all = part.before;
        if let Some(codes) = all.get_mut(2) {
            let keys = as_primitive_array::<Int32Type>(codes).clone();
            *codes = Arc::new(DictionaryArray::try_new(keys, Arc::clone(&names))?);
        }
        let of = |number: &Option<usize>| errors.get((*number)?);
        all.push(texts(part.errors.iter().map(|error| Some(&*of(error)?.0))));
        all.push(texts(part.errors.iter().map(|error| of(error)?.1.as_deref())));
        all.push(texts(part.errors.iter().map(|error| Some(&*of(error)?.2))));
        all.push(part.place);
        RecordBatch::try_new(schema(), all)
    };
    table.parts.into_iter().map(batch).collect()
}

/// The category, code and message of an error.
type ErrorColumns = (String, Option<String>, String);

fn ids(ids: impl Iterator<Item = Option<stepwell_core::Id>>) -> ArrayRef {
    let mut texts = StringBuilder::new();
    for id in ids {
        match id {
            Some(id) => {
                texts.append_value(std::str::from_utf8(&id.step_text()).unwrap_or_default());
            }
            None => texts.append_null(),
        }
    }
    Arc::new(texts.finish())
}

fn texts<'a>(all: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    let mut texts = StringBuilder::new();
    all.for_each(|text| texts.append_option(text));
    Arc::new(texts.finish())
}

fn payloads<'a>(all: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    let mut texts = LargeStringBuilder::new();
    all.for_each(|text| texts.append_option(text));
    Arc::new(texts.finish())
}

fn times(all: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from_iter(all).with_timezone("UTC"))
}

#[pymethods]
impl Execution {
    fn _arrow<'py>(&self, at: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyCapsule>> {
        let (py, places) = (at.py(), columns::places(at)?);
        let now = self.clock_now(py)?;
        // Not before the last action, looked at under the lock: no duration is negative.
        let table = self
            .read_detached(py, |core| read(core.steps(), &places, now.max(core.status().last)))?;
        // How an error reads is the package's to say; most tables have few.
        let shown = table.errors.iter().map(|json| {
            ERROR_COLUMNS.get(py)?.call1((PyBytes::new(py, json.as_bytes()),))?.extract()
        });
        let errors = shown.collect::<PyResult<Vec<ErrorColumns>>>()?;
        let batches = py.detach(|| batches(table, &errors));
        let batches =
            batches.map_err(|error| bridge::refuse(py, "internal", (error.to_string(),)))?;
        let reader = RecordBatchIterator::new(batches.into_iter().map(Ok), schema());
        PyCapsule::new_with_value(
            py,
            FFI_ArrowArrayStream::new(Box::new(reader)),
            c"arrow_array_stream",
        )
    }
}
