//! Reading actions and records.
//!
//! The text is read to its end first; a field whose form is right but whose content is not is the problem that is
//! reported once everything else about the record was found in order.

use std::borrow::Cow;

use crate::error::Error;
use crate::fields::{Bulk, Fields, HeaderFields, Text, check_label, check_note, check_path};
use crate::id::Id;
use crate::json::{JsonFault, Read, Reader};
use crate::spec::{Field, FieldType, Kind, ParentType, Row, StepType, WaitReason, record};

/// An action as it was read: its time, its fields, and the first of them that may not be.
#[derive(Debug)]
pub struct Found<'a> {
    pub at: Option<i64>,
    pub fields: Fields<'a>,
    pub problem: Option<Error>,
}

/// A record as it was read, beside its fields.
#[derive(Debug)]
pub struct FoundRecord {
    pub seq: i64,
    /// Whether it has the digest that was expected.
    pub linked: bool,
    pub at: i64,
    pub problem: Option<Box<Error>>,
}

/// The action that the whole text is.
pub fn read_action(body: &[u8]) -> Read<Found<'_>> {
    let mut reader = Reader::new(body)?;
    let found = next_action(&mut reader)?;
    reader.end()?;
    Ok(found)
}

/// The action that comes next.
pub(crate) fn next_action<'a>(reader: &mut Reader<'a>) -> Read<Found<'a>> {
    reader.expect("{")?;
    let mut fields = Fields::new(Kind::Created);
    let (at, problem) = action(reader, &mut fields)?;
    Ok(Found { at, fields, problem: problem.map(|problem| *problem) })
}

/// The record that comes next, after one with the digest `prev`.
pub(crate) fn read_record<'a>(
    reader: &mut Reader<'a>,
    fields: &mut Fields<'a>,
    prev: &[u8; 32],
) -> Read<FoundRecord> {
    reader.expect("{\"seq\":")?;
    let seq = reader.integer()?;
    reader.expect(",\"prev\":")?;
    let linked = reader.digest(prev)?;
    reader.expect(",")?;
    if let Some(at) = plain(reader, fields) {
        return Ok(FoundRecord { seq, linked, at, problem: None });
    }
    let (at, problem) = action(reader, fields)?;
    let at = at.filter(|at| *at >= 0).ok_or(JsonFault::Malformed)?;
    Ok(FoundRecord { seq, linked, at, problem })
}

/// The two actions that most journals consist of, in their plainest form, into fields that are as new; what is anything
/// else, or is not as it should be, is left for `action`.
fn plain<'a>(reader: &mut Reader<'a>, fields: &mut Fields<'a>) -> Option<i64> {
    let start = reader.position;
    let found = plain_action(reader, fields);
    if found.is_none() {
        reader.position = start;
        *fields = Fields::new(Kind::Created);
    }
    found
}

fn plain_action<'a>(reader: &mut Reader<'a>, fields: &mut Fields<'a>) -> Option<i64> {
    reader.expect("\"at\":").ok()?;
    let at = reader.integer().ok().filter(|at| *at >= 0)?;
    if reader.take(",\"kind\":\"step_completed\",\"step_id\":") {
        fields.kind = Kind::StepCompleted;
        fields.step = Some(reader.id("step")?);
        if reader.take(",\"output\":") {
            fields.output = Some(reader.payload().ok()??);
        }
    } else {
        reader.expect(",\"kind\":\"step_started\",\"step_id\":").ok()?;
        fields.kind = Kind::StepStarted;
        fields.step = Some(reader.id("step")?);
        reader.expect(",\"name\":").ok()?;
        let name = reader.string().ok()?;
        check_label(String::new, &name).ok()?;
        fields.name = Some(name);
    }
    reader.take("}").then_some(at)
}

/// An action after its opening brace, into fields that are as new.
fn action<'a>(
    reader: &mut Reader<'a>,
    fields: &mut Fields<'a>,
) -> Read<(Option<i64>, Option<Box<Error>>)> {
    let mut at = None;
    if reader.take("\"at\":") {
        at = Some(reader.integer()?);
        reader.expect(",")?;
    }
    reader.expect("\"kind\":")?;
    fields.kind = Kind::parse(&reader.string()?).ok_or(JsonFault::Malformed)?;
    if fields.kind == Kind::Created {
        reader.newer(",\"format\":")?;
        fields.header = Some(Box::default());
    } else if crate::spec::single(fields.kind).is_some() {
        fields.bulk = Some(Box::default());
    }
    let mut problem = None;
    for row in record(fields.kind) {
        if !row.3 && reader.peek() == Some(b'}') {
            continue;
        }
        if reader.take(row.1) {
            if let Err(error) = member(reader, row, fields)? {
                problem.get_or_insert(error);
            }
        } else if row.3 {
            return Err(JsonFault::Malformed);
        }
    }
    reader.expect("}")?;
    if problem.is_none() {
        problem = content(fields).err().map(Box::new);
    }
    Ok((at, problem))
}

/// What no single field can tell.
fn content(fields: &Fields<'_>) -> Result<(), Error> {
    if fields.retry_at.is_some_and(|at| at < 0) {
        return Err(Error::TimeRange { what: "retry_at" });
    }
    if let Some(header) = &fields.header {
        match (header.parent_type, &header.parent_id) {
            (Some(_), None) => {
                return Err(Error::MissingField { kind: fields.kind, field: "parent_id" });
            }
            (None, Some(_)) => {
                return Err(Error::MissingField { kind: fields.kind, field: "parent_type" });
            }
            _ => {}
        }
    }
    fields.complete()
}

/// One field: the outer result is about the text's form, the inner one about its content.
fn member<'a>(
    reader: &mut Reader<'a>,
    row: &Row,
    fields: &mut Fields<'a>,
) -> Read<Result<(), Box<Error>>> {
    let (field, literal, kind, _) = *row;
    let name = literal.get(2..literal.len() - 2).unwrap_or_default();
    let mut checked = Ok(());
    match kind {
        FieldType::Int | FieldType::Time => put_int(field, reader.integer()?, fields),
        FieldType::Json => put_json(field, reader.payload()?.ok_or(JsonFault::Malformed)?, fields),
        FieldType::Jsons => put_jsons(field, reader.array(Reader::payload)?, fields),
        FieldType::Runs => {
            put_bulk(fields, |bulk, runs| bulk.steps = runs, reader.array(Reader::run)?);
        }
        FieldType::Labels | FieldType::Paths => {
            let texts = reader.array(Reader::string)?;
            checked = texts.iter().enumerate().try_for_each(|(index, text)| {
                let what = || format!("{name}[{index}]");
                if kind == FieldType::Labels {
                    check_label(what, text)
                } else {
                    check_path(what, text)
                }
            });
            put_texts(field, texts, fields);
        }
        FieldType::Exec | FieldType::Step => {
            let prefix = if kind == FieldType::Exec { "exec" } else { "step" };
            if let Some(id) = reader.id(prefix) {
                put_id(field, id, fields);
                return Ok(Ok(()));
            }
            let text = reader.string()?;
            match Id::parse(&text, prefix) {
                Some(id) => put_id(field, id, fields),
                None => checked = Err(Error::InvalidId { text: text.into_owned(), prefix }),
            }
        }
        FieldType::Label | FieldType::Path | FieldType::Note => {
            let text = reader.string()?;
            checked = match kind {
                FieldType::Label => check_label(|| name.to_owned(), &text),
                FieldType::Path => check_path(|| name.to_owned(), &text),
                _ => check_note("reason", &text),
            };
            put_text(field, text, fields);
        }
        FieldType::StepType | FieldType::WaitReason | FieldType::ParentType => {
            let text = reader.string()?;
            if text == StepType::Function.name() && kind == FieldType::StepType {
                return Err(JsonFault::Malformed); // said by leaving it out
            }
            checked = put_choice(kind, &text, fields);
        }
    }
    Ok(checked.map_err(Box::new))
}

fn put_int(field: Field, value: i64, fields: &mut Fields<'_>) {
    match field {
        Field::AmountMicros => fields.amount_micros = value,
        Field::RetryAt => fields.retry_at = Some(value),
        _ => {}
    }
}

fn put_json<'a>(field: Field, value: &'a str, fields: &mut Fields<'a>) {
    match field {
        Field::Input => fields.input = Some(value),
        Field::Source => fields.source = Some(value),
        Field::Error => fields.error = Some(value),
        _ => fields.output = Some(value),
    }
}

fn put_bulk<'a, T>(fields: &mut Fields<'a>, put: impl FnOnce(&mut Bulk<'a>, T), value: T) {
    if let Some(bulk) = &mut fields.bulk {
        put(bulk, value);
    }
}

fn put_jsons<'a>(field: Field, values: Vec<Option<&'a str>>, fields: &mut Fields<'a>) {
    put_bulk(
        fields,
        |bulk, values| match field {
            Field::Inputs => bulk.inputs = Some(values),
            Field::Outputs => bulk.outputs = Some(values),
            _ => bulk.errors = Some(values),
        },
        values,
    );
}

fn put_texts<'a>(field: Field, texts: Vec<Text<'a>>, fields: &mut Fields<'a>) {
    put_bulk(
        fields,
        |bulk, texts| match field {
            Field::Names => bulk.names = Some(texts),
            Field::Keys => bulk.keys = Some(texts),
            _ => bulk.places = Some(texts),
        },
        texts,
    );
}

fn put_id(field: Field, id: Id, fields: &mut Fields<'_>) {
    match field {
        Field::StepId => fields.step = Some(id),
        Field::ParentStepId => fields.parent = Some(id),
        _ => put_header(fields, |header| header.id = Some(id)),
    }
}

fn put_header<'a>(fields: &mut Fields<'a>, put: impl FnOnce(&mut HeaderFields<'a>)) {
    if let Some(header) = &mut fields.header {
        put(header);
    }
}

fn put_text<'a>(field: Field, text: Cow<'a, str>, fields: &mut Fields<'a>) {
    match field {
        Field::Name => fields.name = Some(text),
        Field::Key => fields.key = Some(text),
        Field::CallableId => fields.callable_id = Some(text),
        Field::Place => fields.place = Some(text),
        Field::Counter => fields.counter = Some(text),
        Field::Reason => fields.reason = Some(text),
        Field::Tenant => put_header(fields, |header| header.tenant = Some(text)),
        Field::ParentId => put_header(fields, |header| header.parent_id = Some(text)),
        Field::SchemaVersion => put_header(fields, |header| header.schema_version = Some(text)),
        _ => put_header(fields, |header| header.blueprint = Some(text)),
    }
}

fn put_choice(kind: FieldType, text: &str, fields: &mut Fields<'_>) -> Result<(), Error> {
    let refuse = |what, choices| Err(Error::NotAChoice { what, value: text.to_owned(), choices });
    match kind {
        FieldType::StepType => match StepType::parse(text) {
            Some(found) => fields.step_type = found,
            None => return refuse("type", &StepType::NAMES),
        },
        FieldType::WaitReason => match WaitReason::parse(text) {
            Some(found) => fields.wait = Some(found),
            None => return refuse("reason", &WaitReason::NAMES),
        },
        _ => match ParentType::parse(text) {
            Some(found) => put_header(fields, |header| header.parent_type = Some(found)),
            None => return refuse("parent_type", &ParentType::NAMES),
        },
    }
    Ok(())
}
