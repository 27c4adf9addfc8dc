//! Draining the journal, and rebuilding an execution from it.

use sha2::block_api::compress256;

use crate::error::ReplayFault;
use crate::execution::{Execution, Header, Link};
use crate::fields::Fields;
use crate::id::Id;
use crate::json::{Reader, push_int};
use crate::read::{FoundRecord, read_record};
use crate::reducer::reduce;
use crate::spec::Kind;
use crate::write::write_action;

const NO_DIGEST: [u8; 32] = [b'0'; 32];

/// What most records are shorter than, and for how many there is room from the start.
const USUAL: usize = 256;
const FEW: usize = 16;

/// Records as a store takes them: their bodies end to end.
#[derive(Debug, Default)]
pub struct Drained {
    text: Vec<u8>,
    rows: Vec<(Beside, usize)>,
}

impl Drained {
    /// What stands beside each record, and its body.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Beside, &[u8])> {
        let mut start = 0;
        self.rows.iter().map(move |(beside, end)| {
            let body = self.text.get(start..*end).unwrap_or_default();
            start = *end;
            (*beside, body)
        })
    }

    /// Adds a record, whose action is written behind the beginning that all have; moves the chain on.
    fn add(
        &mut self,
        prev: &mut [u8; 32],
        seq: i64,
        write: impl FnOnce(&mut Vec<u8>) -> (i64, Kind),
    ) {
        let start = self.text.len();
        begin(&mut self.text, seq, prev);
        let (at, kind) = write(&mut self.text);
        digest(self.text.get(start..).unwrap_or_default(), prev);
        self.rows.push((Beside { seq, at, kind }, self.text.len()));
    }
}

/// The state of SHA-256 before anything was hashed (FIPS 180-4, 5.3.3).
const SHA256: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The first 128 bits of SHA-256, in hex, of a text that is hashed in two steps: the processor goes on with other things
/// while it works on a block, so that it costs less if something else is done between them.
struct Digest([u32; 8]);

const BLOCK: usize = 64;

impl Digest {
    /// Hashes all but the last block.
    fn begin(text: &[u8]) -> Digest {
        let mut state = SHA256;
        compress256(&mut state, text.as_chunks::<BLOCK>().0);
        Digest(state)
    }

    /// Hashes the last block, which is copied and padded.
    fn finish(mut self, text: &[u8], hex: &mut [u8; 32]) {
        let (_, rest) = text.as_chunks::<BLOCK>();
        let mut last = [[0; BLOCK]; 2];
        let padded = last.as_flattened_mut();
        padded[..rest.len()].copy_from_slice(rest);
        padded[rest.len()] = 0x80;
        let end = if rest.len() < BLOCK - 8 { BLOCK } else { 2 * BLOCK };
        padded[end - 8..end].copy_from_slice(&(text.len() as u64 * 8).to_be_bytes());
        compress256(&mut self.0, &last[..end / BLOCK]);
        for (four, eight) in self.0.into_iter().zip(hex.chunks_exact_mut(8)) {
            let x = u64::from(four);
            // Every digit in a byte of its own, the first one lowest.
            let x = (x >> 16 | x << 32) & 0x0000_ffff_0000_ffff;
            let x = (x >> 8 | x << 16) & 0x00ff_00ff_00ff_00ff;
            let x = (x >> 4 | x << 8) & 0x0f0f_0f0f_0f0f_0f0f;
            let letters = (x + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
            let x = x + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10);
            eight.copy_from_slice(&x.to_le_bytes());
        }
    }
}

fn digest(text: &[u8], hex: &mut [u8; 32]) {
    Digest::begin(text).finish(text, hex);
}

/// What stands beside a record in a store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beside {
    pub seq: i64,
    pub at: i64,
    pub kind: Kind,
}

/// An execution in the making, record by record.
#[derive(Debug)]
pub struct Replay {
    id: Id,
    schema_version: Option<String>,
    execution: Option<Execution>,
    /// The actions that the snapshot holds, beginning with its header if that was not drained.
    held: Vec<Vec<u8>>,
    prev: [u8; 32],
    first: i64,
    taken: usize,
}

impl Execution {
    /// The records that were not drained yet, the header first.
    pub fn drain(&mut self) -> Drained {
        let mut pending = std::mem::take(&mut self.pending);
        let count = pending.len();
        let mut drained = Drained {
            text: Vec::with_capacity(USUAL * count.min(FEW)),
            rows: Vec::with_capacity(count + 1),
        };
        let mut prev = self.head.unwrap_or(NO_DIGEST);
        let mut seq = self.status.version - pending.len() as i64;
        if self.head.is_none() {
            drained.add(&mut prev, seq, |text| self.write_header(text));
        }
        for position in 0..pending.len() {
            seq += 1;
            drained.add(&mut prev, seq, |text| pending.write(position, text, &self.steps));
        }
        if !drained.rows.is_empty() {
            self.head = Some(prev);
        }
        pending.clear();
        self.pending = pending;
        drained
    }

    fn write_header(&self, out: &mut Vec<u8>) -> (i64, Kind) {
        write_action(out, self.status.created, &self.header_fields());
        (self.status.created, Kind::Created)
    }
}

impl Replay {
    /// A replay of this execution; the header must have the schema version, if one is asked for.
    pub fn new(id: Id, schema_version: Option<String>) -> Replay {
        Replay {
            id,
            schema_version,
            execution: None,
            held: Vec::new(),
            prev: NO_DIGEST,
            first: 0,
            taken: 0,
        }
    }

    /// The same from where a snapshot stands: the records are those after the last one that it says was drained.
    pub fn resume(
        id: Id,
        schema_version: Option<String>,
        execution: Execution,
    ) -> Result<Replay, ReplayFault> {
        let mut replay = Replay::new(id, schema_version);
        replay.compare(execution.header())?;
        let mut text = Vec::new();
        if let Some(head) = execution.head {
            replay.prev = head;
            replay.first = execution.status.version - execution.pending.len() as i64 + 1;
        } else {
            execution.write_header(&mut text);
            replay.held.push(std::mem::take(&mut text));
        }
        for position in 0..execution.pending.len() {
            execution.pending.write(position, &mut text, &execution.steps);
            replay.held.push(std::mem::take(&mut text));
        }
        replay.execution = Some(execution);
        Ok(replay)
    }

    /// How many records were taken, which is the position of the next one.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Takes the next record; `beside` is what stands beside it in a store, or that nothing sensible does.
    pub fn take(&mut self, body: &[u8], beside: Option<Option<Beside>>) -> Result<(), ReplayFault> {
        let digest = Digest::begin(body);
        let mut reader = Reader::new(body)?;
        let mut fields = Fields::new(Kind::Created);
        let found = read_record(&mut reader, &mut fields, &self.prev)?;
        reader.end()?;
        let said = Beside { seq: found.seq, at: found.at, kind: fields.kind };
        if beside.is_some_and(|beside| beside != Some(said)) {
            return Err(ReplayFault::ColumnsDiffer);
        }
        self.apply(body, digest, found, &fields)
    }

    /// Takes all records of a buffer, each of which has a newline after it; the last one need not.
    pub fn take_all(&mut self, buffer: &[u8]) -> Result<(), ReplayFault> {
        // What follows a byte that is no UTF-8 is looked at no more, but what comes before it is.
        let sound = std::str::from_utf8(buffer).or_else(|error| {
            std::str::from_utf8(buffer.get(..error.valid_up_to()).unwrap_or_default())
        });
        let sound = sound.unwrap_or_default();
        let whole = sound.len() == buffer.len();
        let mut reader = Reader { text: sound, position: 0 };
        while !whole || reader.end().is_err() {
            let start = reader.position;
            let mut fields = Fields::new(Kind::Created);
            let found = read_record(&mut reader, &mut fields, &self.prev)?;
            let body = reader.since(start)?;
            let at_end = whole && reader.end().is_ok();
            if !at_end && !reader.take("\n") {
                return Err(ReplayFault::NotARecord);
            }
            let digest = Digest::begin(body.as_bytes());
            self.apply(body.as_bytes(), digest, found, &fields)?;
        }
        Ok(())
    }

    fn apply(
        &mut self,
        body: &[u8],
        digest: Digest,
        found: FoundRecord,
        fields: &Fields<'_>,
    ) -> Result<(), ReplayFault> {
        let expected = self.first + self.taken as i64;
        if found.seq != expected {
            return Err(ReplayFault::Seq { expected, found: found.seq });
        }
        if !found.linked {
            return Err(ReplayFault::Digest);
        }
        if (fields.kind == Kind::Created) != (expected == 0) {
            return Err(ReplayFault::HeaderPlace);
        }
        if let Some(held) = self.held.get(self.taken) {
            let mut expected = Vec::new();
            begin(&mut expected, found.seq, &self.prev);
            expected.extend_from_slice(held);
            if body != expected {
                return Err(ReplayFault::SnapshotDiffers);
            }
        } else if let Some(problem) = found.problem {
            return Err(ReplayFault::Refused(*problem));
        } else if let Some(execution) = &mut self.execution {
            execution.replay(found.at, fields)?;
        } else {
            let header = Header::read(fields).ok_or(ReplayFault::NotARecord)?;
            self.compare(&header)?;
            self.execution = Some(Execution::new(header, found.at, None));
        }
        digest.finish(body, &mut self.prev);
        self.taken += 1;
        Ok(())
    }

    /// Whether the record is of the execution and the schema that were asked for.
    fn compare(&self, header: &Header) -> Result<(), ReplayFault> {
        if header.id != self.id {
            return Err(ReplayFault::OtherExecution { found: header.id });
        }
        let recorded = header.schema_version.as_deref();
        if self.schema_version.is_some() && self.schema_version.as_deref() != recorded {
            return Err(ReplayFault::Schema { recorded: recorded.map(Into::into) });
        }
        Ok(())
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
        if self.taken > 0 {
            let header = usize::from(execution.head.is_none());
            execution.pending.forget((self.taken - header).min(execution.pending.len()));
            execution.head = Some(self.prev);
        }
        Ok(execution)
    }
}

/// Writes what a record begins with.
fn begin(text: &mut Vec<u8>, seq: i64, prev: &[u8; 32]) {
    text.extend_from_slice(b"{\"seq\":");
    push_int(text, seq);
    text.extend_from_slice(b",\"prev\":\"");
    text.extend_from_slice(prev);
    text.extend_from_slice(b"\",");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_sha_256() {
        use sha2::Digest;
        for len in 0..300 {
            let body: Vec<u8> = (0..len).map(|byte| (byte * 7) as u8).collect();
            let mut text = [0; 32];
            digest(&body, &mut text);
            let whole = sha2::Sha256::digest(&body);
            let hex: String = whole.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(text, hex.as_bytes(), "{len}");
        }
    }
}
