//! Draining the journal, and rebuilding an execution from it.

use sha2::{Digest, Sha256};

use crate::error::ReplayFault;
use crate::execution::{Execution, Header, Link, Pending};
use crate::fields::Fields;
use crate::id::Id;
use crate::json::push_int;
use crate::read::read_record;
use crate::reducer::reduce;
use crate::spec::Kind;
use crate::write::write_action;

const NO_DIGEST: [u8; 32] = [b'0'; 32];

/// A record as a store takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub seq: i64,
    pub at: i64,
    pub kind: Kind,
    pub body: Vec<u8>,
}

/// The first 128 bits of SHA-256, in hex.
fn digest(body: &[u8]) -> [u8; 32] {
    let mut text = [0; 32];
    for (byte, pair) in Sha256::digest(body).iter().zip(text.chunks_exact_mut(2)) {
        for (half, char) in [byte >> 4, byte & 15].into_iter().zip(pair) {
            *char = half + if half < 10 { b'0' } else { b'a' - 10 };
        }
    }
    text
}

/// An execution in the making, record by record.
#[derive(Debug)]
pub struct Replay {
    id: Id,
    schema_version: Option<String>,
    execution: Option<Execution>,
    prev: [u8; 32],
    next: i64,
}

impl Execution {
    /// The records that were not drained yet, the header first.
    pub fn drain(&mut self) -> Vec<Record> {
        let mut records = Vec::with_capacity(self.pending.actions.len() + 1);
        let mut prev = self.head.unwrap_or(NO_DIGEST);
        let mut seq = self.status.version - self.pending.actions.len() as i64;
        if self.head.is_none() {
            let mut header = Vec::new();
            write_action(&mut header, Some(self.status.created), &self.header_fields());
            push(&mut records, &mut prev, seq, (self.status.created, Kind::Created), &header);
        }
        let mut start = 0;
        let pending = std::mem::take(&mut self.pending);
        for (at, kind, end) in pending.actions {
            seq += 1;
            push(
                &mut records,
                &mut prev,
                seq,
                (at, kind),
                pending.text.get(start..end).unwrap_or_default(),
            );
            start = end;
        }
        if !records.is_empty() {
            self.head = Some(prev);
        }
        records
    }
}

/// The record of an action: its place in the chain, then the action's own JSON.
fn push(
    records: &mut Vec<Record>,
    prev: &mut [u8; 32],
    seq: i64,
    (at, kind): (i64, Kind),
    action: &[u8],
) {
    let mut body = Vec::with_capacity(action.len() + 72);
    body.extend_from_slice(b"{\"seq\":");
    push_int(&mut body, seq);
    body.extend_from_slice(b",\"prev\":\"");
    body.extend_from_slice(prev);
    body.extend_from_slice(b"\",");
    body.extend_from_slice(action.get(1..).unwrap_or_default());
    *prev = digest(&body);
    records.push(Record { seq, at, kind, body });
}

impl Replay {
    /// A replay of this execution; the header must have the schema version, if one is asked for.
    pub fn new(id: Id, schema_version: Option<String>) -> Replay {
        Replay { id, schema_version, execution: None, prev: NO_DIGEST, next: 0 }
    }

    /// The position of the next record.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Takes the next record; `columns` is what stands beside it in a store.
    pub fn take(
        &mut self,
        body: &[u8],
        columns: Option<(i64, i64, &str)>,
    ) -> Result<(), ReplayFault> {
        let record = read_record(body)?;
        let kind = record.fields.kind;
        if columns.is_some_and(|columns| columns != (record.seq, record.at, kind.name())) {
            return Err(ReplayFault::ColumnsDiffer);
        }
        if record.seq != self.next {
            return Err(ReplayFault::Seq { expected: self.next, found: record.seq });
        }
        if record.prev != self.prev {
            return Err(ReplayFault::Digest);
        }
        if (kind == Kind::Created) != (self.next == 0) {
            return Err(ReplayFault::HeaderPlace);
        }
        if let Some(problem) = record.problem {
            return Err(ReplayFault::Refused(problem));
        }
        match &mut self.execution {
            None => self.execution = Some(self.begin(record.at, &record.fields)?),
            Some(execution) => execution.replay(record.at, &record.fields)?,
        }
        self.prev = digest(body);
        self.next += 1;
        Ok(())
    }

    fn begin(&self, at: i64, fields: &Fields<'_>) -> Result<Execution, ReplayFault> {
        let Some(header) = Header::read(fields) else {
            return Err(ReplayFault::NotARecord);
        };
        if header.id != self.id {
            return Err(ReplayFault::OtherExecution { found: header.id });
        }
        if self.schema_version.is_some()
            && self.schema_version.as_deref() != header.schema_version.as_deref()
        {
            return Err(ReplayFault::Schema { recorded: header.schema_version.map(Into::into) });
        }
        Ok(Execution::new(header, at, None))
    }

    /// The execution that the records made; `version` is how many actions there must have been.
    pub fn finish(self, version: Option<i64>) -> Result<Execution, ReplayFault> {
        let Some(mut execution) = self.execution else {
            return Err(ReplayFault::Empty);
        };
        let found = execution.status.version;
        if let Some(expected) = version
            && expected != found
        {
            return Err(ReplayFault::Length { found, expected });
        }
        execution.head = Some(self.prev);
        execution.pending = Pending::default();
        Ok(execution)
    }
}

impl Execution {
    fn replay(&mut self, at: i64, fields: &Fields<'_>) -> Result<(), ReplayFault> {
        let last = self.status.last;
        if at < last {
            return Err(ReplayFault::Refused(crate::Error::TimeBackwards { at, last }));
        }
        reduce(self, at, fields).map_err(ReplayFault::Refused)?;
        self.status.last = at;
        self.status.version += 1;
        Ok(())
    }
}

impl Header {
    pub(crate) fn read(fields: &Fields<'_>) -> Option<Header> {
        let own = |text: &Option<crate::fields::Text<'_>>| text.as_deref().map(Into::into);
        let header = fields.header.as_ref()?;
        let parent = match (header.parent_type, &header.parent_id) {
            (Some(parent_type), Some(parent_id)) => {
                Some(Link { parent_type, parent_id: parent_id.as_ref().into() })
            }
            _ => None,
        };
        Some(Header {
            id: header.id?,
            tenant: own(&header.tenant),
            parent,
            schema_version: own(&header.schema_version),
            blueprint: own(&header.blueprint),
            key: own(&fields.key),
            input: fields.input.map(Into::into),
        })
    }
}
