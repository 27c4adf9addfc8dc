//! From the core's refusals to the exceptions of `stepwell.errors`, whose functions have the words.

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use stepwell_core::spec::{FORMAT, MAX_BULK_STEPS, MAX_NOTE_CHARS};
use stepwell_core::{Error, Id, ReplayFault};

use crate::bridge::{refuse, step_text};

/// The exception for a refusal.
pub fn raise(py: Python<'_>, error: &Error) -> PyErr {
    match error {
        Error::InvalidTransition { state, kind } => {
            refuse(py, "invalid_transition", (state.name(), kind.name()))
        }
        Error::TerminalExecution { state, kind } => {
            refuse(py, "terminal_execution", (state.name(), kind.name()))
        }
        Error::InvalidStepTransition { id, state, kind } => {
            let args = (step_text(*id), state.name(), kind.name());
            refuse(py, "invalid_step_transition", args)
        }
        Error::NotAWait { id, step_type } => {
            refuse(py, "not_a_wait", (step_text(*id), step_type.name()))
        }
        Error::OpenSteps { count, first } => {
            let first: Vec<String> = first.iter().copied().map(step_text).collect();
            refuse(py, "open_steps", (*count, first))
        }
        Error::UnknownStep(id) => about_step(py, "unknown_step", *id),
        Error::DuplicateStep(id) => about_step(py, "duplicate_step", *id),
        Error::StepAlreadyDescribed(id) => about_step(py, "step_already_described", *id),
        Error::StepNameDiffers { id, expected, given } => {
            refuse(py, "step_name_differs", (step_text(*id), expected, given))
        }
        Error::At { index, id, error } => indexed(py, *index, *id, error),
        Error::QuotaExceeded { limit, used, maximum } => {
            refuse(py, "quota_exceeded", (*limit, *used, *maximum))
        }
        Error::NotAnAction => refuse(py, "not_an_action", ()),
        Error::NotAnExecution => refuse(py, "not_an_execution", ()),
        Error::NewerExecution { found } => refuse(py, "newer_execution", (*found, FORMAT)),
        Error::Internal(what) => refuse(py, "internal", (*what,)),
        value => raise_value(py, value),
    }
}

/// The exception for a value that does not fit.
fn raise_value(py: Python<'_>, error: &Error) -> PyErr {
    match error {
        Error::BadLabel { what, limit } => refuse(py, "bad_label", (what, *limit)),
        Error::BadNote { what } => refuse(py, "bad_note", (*what, MAX_NOTE_CHARS)),
        Error::InvalidId { text, prefix } => refuse(py, "invalid_id", (text, *prefix)),
        Error::NotAChoice { what, value, choices } => {
            refuse(py, "not_a_choice", (*what, value, choices.to_vec()))
        }
        Error::MissingField { kind, field } => refuse(py, "missing_field", (kind.name(), *field)),
        Error::LengthDiffers { what, expected, given } => {
            refuse(py, "length_differs", (*what, *expected, *given))
        }
        Error::OneOrMany { one, many } => refuse(py, "one_or_many", (*one, *many)),
        Error::BulkTooLarge { given } => refuse(py, "bulk_too_large", (*given, MAX_BULK_STEPS)),
        Error::TimeRange { what } => refuse(py, "time_range", (*what,)),
        Error::TimeBackwards { at, last } => refuse(py, "time_backwards", (*at, *last)),
        Error::UsageOverflow { counter } => refuse(py, "usage_overflow", (counter,)),
        Error::TooManySteps => refuse(py, "too_many_steps", ()),
        other => refuse(py, "internal", (format!("{other:?}"),)),
    }
}

fn about_step(py: Python<'_>, function: &str, id: Id) -> PyErr {
    refuse(py, function, (step_text(id),))
}

/// The refusal of an element: at this position, about this step.
fn indexed(py: Python<'_>, index: usize, id: Option<Id>, error: &Error) -> PyErr {
    let raised = match (error, id) {
        (Error::QuotaExceeded { limit, used, maximum }, Some(id)) => {
            refuse(py, "quota_exceeded", (*limit, *used, *maximum, step_text(id)))
        }
        _ => raise(py, error),
    };
    let value = raised.value(py);
    let told = value.setattr("index", index).and_then(|()| match id {
        Some(id) if value.getattr("step_id")?.is_none() => value.setattr("step_id", step_text(id)),
        _ => Ok(()),
    });
    match told {
        Ok(()) => raised,
        Err(error) => error,
    }
}

/// The exception for a journal that cannot be replayed; `id` and `schema_version` are those asked for.
pub fn raise_replay(
    py: Python<'_>,
    index: i64,
    fault: &ReplayFault,
    id: Id,
    schema_version: Option<&str>,
) -> PyErr {
    let reason = match fault {
        ReplayFault::Newer { found } => return refuse(py, "replay_newer", (*found, FORMAT)),
        ReplayFault::Schema { recorded } => {
            return refuse(py, "schema_mismatch", (recorded.as_deref(), schema_version));
        }
        ReplayFault::Empty => return refuse(py, "journal_empty", PyTuple::empty(py)),
        ReplayFault::NotARecord => return refuse(py, "not_a_record", (index,)),
        ReplayFault::ColumnsDiffer => return refuse(py, "columns_differ", (index,)),
        ReplayFault::Seq { expected, found } => {
            return refuse(py, "seq_differs", (index, *expected, *found));
        }
        ReplayFault::Digest => return refuse(py, "chain_broken", (index,)),
        ReplayFault::SnapshotDiffers => return refuse(py, "snapshot_differs", (index,)),
        ReplayFault::HeaderPlace => return refuse(py, "header_misplaced", (index,)),
        ReplayFault::OtherExecution { found } => {
            let (found, id) = (found.text("exec"), id.text("exec"));
            return refuse(py, "other_execution", (found, id));
        }
        ReplayFault::Length { found, expected } => {
            return refuse(py, "journal_length", (index, *found, *expected));
        }
        ReplayFault::Refused(error) => raise(py, error).value(py).to_string(),
    };
    refuse(py, "replay", (index, reason))
}
