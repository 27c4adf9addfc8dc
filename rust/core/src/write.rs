//! Writing actions as the JSON of their records.

use crate::fields::{Fields, HeaderFields, Text};
use crate::id::Run;
use crate::json::{push_id, push_int, push_string};
use crate::spec::{FORMAT, Field, Kind, StepType, record};

/// Writes the JSON of an action from behind its opening brace on, which stands elsewhere in a record.
pub(crate) fn write_action(out: &mut Vec<u8>, at: i64, fields: &Fields<'_>) {
    open_action(out, at, fields.kind);
    for (field, literal, _, _) in record(fields.kind) {
        write_field(out, *field, literal, fields);
    }
    out.push(b'}');
}

/// What every action begins with.
pub(crate) fn open_action(out: &mut Vec<u8>, at: i64, kind: Kind) {
    out.extend_from_slice(b"\"at\":");
    push_int(out, at);
    out.extend_from_slice(b",\"kind\":\"");
    out.extend_from_slice(kind.name().as_bytes());
    out.push(b'"');
}

pub(crate) fn write_field(out: &mut Vec<u8>, field: Field, literal: &str, fields: &Fields<'_>) {
    match field {
        Field::StepId => push_optional_id(out, literal, fields.step),
        Field::ParentStepId => push_optional_id(out, literal, fields.parent),
        Field::Name => push_text(out, literal, fields.name.as_ref()),
        Field::Type if fields.step_type != StepType::Function => {
            push_word(out, literal, fields.step_type.name());
        }
        Field::Key => push_text(out, literal, fields.key.as_ref()),
        Field::Input => push_json(out, literal, fields.input),
        Field::Source => push_json(out, literal, fields.source),
        Field::CallableId => push_text(out, literal, fields.callable_id.as_ref()),
        Field::Place => push_text(out, literal, fields.place.as_ref()),
        Field::Counter => push_text(out, literal, fields.counter.as_ref()),
        Field::AmountMicros => push_number(out, literal, Some(fields.amount_micros)),
        Field::Output | Field::Payload => push_json(out, literal, fields.output),
        Field::Error => push_json(out, literal, fields.error),
        Field::RetryAt => push_number(out, literal, fields.retry_at),
        Field::Reason if fields.kind == Kind::Wait => {
            if let Some(wait) = fields.wait {
                push_word(out, literal, wait.name());
            }
        }
        Field::Reason => push_text(out, literal, fields.reason.as_ref()),
        _ => {
            write_bulk(out, field, literal, fields);
            if let Some(header) = &fields.header {
                write_header(out, field, literal, header);
            }
        }
    }
}

fn write_bulk(out: &mut Vec<u8>, field: Field, literal: &str, fields: &Fields<'_>) {
    let Some(bulk) = &fields.bulk else { return };
    let texts = |out: &mut Vec<u8>, texts: &Option<Vec<Text<'_>>>| {
        if let Some(texts) = texts {
            push_texts(out, literal, texts.iter().map(|text| &**text));
        }
    };
    let jsons = |out: &mut Vec<u8>, values: &Option<Vec<Option<&str>>>| {
        if let Some(values) = values {
            push_jsons(out, literal, values.iter().copied());
        }
    };
    match field {
        Field::Steps => push_runs(out, literal, &bulk.steps),
        Field::Names => texts(out, &bulk.names),
        Field::Keys => texts(out, &bulk.keys),
        Field::Places => texts(out, &bulk.places),
        Field::Inputs => jsons(out, &bulk.inputs),
        Field::Outputs => jsons(out, &bulk.outputs),
        Field::Errors => jsons(out, &bulk.errors),
        _ => {}
    }
}

fn write_header(out: &mut Vec<u8>, field: Field, literal: &str, header: &HeaderFields<'_>) {
    match field {
        Field::Format => push_number(out, literal, Some(FORMAT)),
        Field::Id => {
            if let Some(id) = header.id {
                out.extend_from_slice(literal.as_bytes());
                push_id(out, "exec", id);
            }
        }
        Field::Tenant => push_text(out, literal, header.tenant.as_ref()),
        Field::ParentType => {
            if let Some(parent) = header.parent_type {
                push_word(out, literal, parent.name());
            }
        }
        Field::ParentId => push_text(out, literal, header.parent_id.as_ref()),
        Field::SchemaVersion => push_text(out, literal, header.schema_version.as_ref()),
        Field::Blueprint => push_text(out, literal, header.blueprint.as_ref()),
        _ => {}
    }
}

pub(crate) fn push_runs(out: &mut Vec<u8>, literal: &str, runs: &[Run]) {
    out.extend_from_slice(literal.as_bytes());
    push_array(out, runs.iter(), |out, (first, count)| {
        out.push(b'[');
        push_id(out, "step", *first);
        out.push(b',');
        push_int(out, i64::from(*count));
        out.push(b']');
    });
}

pub(crate) fn push_array<T>(
    out: &mut Vec<u8>,
    items: impl Iterator<Item = T>,
    push: impl Fn(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push(out, item);
    }
    out.push(b']');
}

pub(crate) fn push_text(out: &mut Vec<u8>, literal: &str, text: Option<&Text<'_>>) {
    if let Some(text) = text {
        out.extend_from_slice(literal.as_bytes());
        push_string(out, text);
    }
}

pub(crate) fn push_word(out: &mut Vec<u8>, literal: &str, word: &str) {
    out.extend_from_slice(literal.as_bytes());
    push_string(out, word);
}

pub(crate) fn push_json(out: &mut Vec<u8>, literal: &str, json: Option<&str>) {
    if let Some(json) = json {
        out.extend_from_slice(literal.as_bytes());
        out.extend_from_slice(json.as_bytes());
    }
}

pub(crate) fn push_number(out: &mut Vec<u8>, literal: &str, number: Option<i64>) {
    if let Some(number) = number {
        out.extend_from_slice(literal.as_bytes());
        push_int(out, number);
    }
}

pub(crate) fn push_optional_id(out: &mut Vec<u8>, literal: &str, id: Option<crate::id::Id>) {
    if let Some(id) = id {
        out.extend_from_slice(literal.as_bytes());
        push_id(out, "step", id);
    }
}

pub(crate) fn push_texts<'a>(
    out: &mut Vec<u8>,
    literal: &str,
    texts: impl Iterator<Item = &'a str>,
) {
    out.extend_from_slice(literal.as_bytes());
    push_array(out, texts, push_string);
}

pub(crate) fn push_jsons<'a>(
    out: &mut Vec<u8>,
    literal: &str,
    values: impl Iterator<Item = Option<&'a str>>,
) {
    out.extend_from_slice(literal.as_bytes());
    push_array(out, values, |out, value| {
        out.extend_from_slice(value.unwrap_or("null").as_bytes());
    });
}
