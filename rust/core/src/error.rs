//! Refusals as data. The words are written once, on the Python side.

use crate::id::Id;
use crate::json::JsonFault;
use crate::spec::{ExecutionState, Kind, StepState, StepType};

/// Why an action was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    InvalidTransition {
        state: ExecutionState,
        kind: Kind,
    },
    TerminalExecution {
        state: ExecutionState,
        kind: Kind,
    },
    InvalidStepTransition {
        id: Id,
        state: StepState,
        kind: Kind,
    },
    NotAWait {
        id: Id,
        step_type: StepType,
    },
    OpenSteps {
        count: usize,
        first: Vec<Id>,
    },
    UnknownStep(Id),
    DuplicateStep(Id),
    StepNameDiffers {
        id: Id,
        expected: String,
        given: String,
    },
    StepAlreadyDescribed(Id),
    BadLabel {
        what: String,
        limit: usize,
    },
    BadNote {
        what: &'static str,
    },
    InvalidId {
        text: String,
        prefix: &'static str,
    },
    NotAChoice {
        what: &'static str,
        value: String,
        choices: &'static [&'static str],
    },
    MissingField {
        kind: Kind,
        field: &'static str,
    },
    LengthDiffers {
        what: &'static str,
        expected: usize,
        given: usize,
    },
    OneOrMany {
        one: &'static str,
        many: &'static str,
    },
    BulkTooLarge {
        given: i64,
    },
    TimeRange {
        what: &'static str,
    },
    TimeBackwards {
        at: i64,
        last: i64,
    },
    UsageOverflow {
        counter: String,
    },
    TooManySteps,
    QuotaExceeded {
        limit: &'static str,
        used: f64,
        maximum: f64,
    },
    /// An element of a bulk action, or an action of several, was refused.
    At {
        index: usize,
        id: Option<Id>,
        error: Box<Error>,
    },
    NotAnAction,
    NotAnExecution,
    NewerExecution {
        found: i64,
    },
    Internal(&'static str),
}

impl Error {
    /// Of an action of several.
    pub(crate) fn at(self, index: usize, id: Option<Id>) -> Error {
        Error::At { index, id, error: Box::new(self) }
    }

    /// Of an element of a bulk action, which is about this step.
    pub(crate) fn about(self, index: usize, id: Id) -> Error {
        self.at(index, Some(id))
    }
}

/// Why a journal cannot be replayed: the position of the record, and what is wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplayFault {
    Empty,
    NotARecord,
    ColumnsDiffer,
    Seq { expected: i64, found: i64 },
    Digest,
    HeaderPlace,
    OtherExecution { found: Id },
    Newer { found: i64 },
    Schema { recorded: Option<String> },
    Length { found: i64, expected: i64 },
    SnapshotDiffers,
    Refused(Error),
}

impl From<JsonFault> for ReplayFault {
    fn from(fault: JsonFault) -> ReplayFault {
        match fault {
            JsonFault::Malformed => ReplayFault::NotARecord,
            JsonFault::Newer(found) => ReplayFault::Newer { found },
        }
    }
}
