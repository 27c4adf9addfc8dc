//! One execution: what it is, where it stands, its steps, and the records that were not drained yet.

use std::collections::{BTreeMap, HashMap};

use crate::bulk::Many;
use crate::error::Error;
use crate::fields::{Fields, HeaderFields};
use crate::id::Id;
use crate::limits::{Guard, Limits, Warning};
use crate::pending::{Pending, PendingMark};
use crate::places::Places;
use crate::reducer::{Touched, reduce, reduce_many};
use crate::spec::{ExecutionState, INITIAL, Kind, ParentType, WaitReason, single, step_created};
use crate::steps::{Before, Mark, Steps};

/// What started an execution.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    pub parent_type: ParentType,
    pub parent_id: Box<str>,
}

/// What an execution is from its creation on.
#[derive(Clone, Debug)]
pub struct Header {
    pub id: Id,
    pub tenant: Option<Box<str>>,
    pub parent: Option<Link>,
    pub schema_version: Option<Box<str>>,
    pub blueprint: Option<Box<str>>,
    pub key: Option<Box<str>>,
    pub input: Option<Box<str>>,
}

/// Where an execution stands.
#[derive(Clone, Debug)]
pub struct Status {
    pub state: ExecutionState,
    pub wait: Option<WaitReason>,
    pub paused_from: Option<ExecutionState>,
    pub reason: Option<Box<str>>,
    pub created: i64,
    pub last: i64,
    pub started: Option<i64>,
    pub ended: Option<i64>,
    pub output: Option<Box<str>>,
    pub error: Option<Box<str>>,
    /// How many actions were applied.
    pub version: i64,
}

/// What `apply_many` needs to take back what it did.
#[derive(Debug)]
pub(crate) struct Undo {
    status: Status,
    usage: BTreeMap<Box<str>, i64>,
    guard: Guard,
    mark: Mark,
    changed: HashMap<usize, Before>,
    pending: PendingMark,
}

/// The record of one run of a blueprint.
#[derive(Debug)]
pub struct Execution {
    pub(crate) header: Header,
    pub(crate) status: Status,
    pub(crate) steps: Steps,
    pub(crate) usage: BTreeMap<Box<str>, i64>,
    /// The actions that were not drained yet.
    pub(crate) pending: Pending,
    /// The digest of the last drained record, in hex.
    pub(crate) head: Option<[u8; 32]>,
    pub(crate) guard: Guard,
    pub(crate) undo: Option<Box<Undo>>,
}

impl Execution {
    pub fn new(header: Header, at: i64, limits: Option<Limits>) -> Execution {
        Execution {
            header,
            status: Status {
                state: INITIAL,
                wait: None,
                paused_from: None,
                reason: None,
                created: at,
                last: at,
                started: None,
                ended: None,
                output: None,
                error: None,
                version: 0,
            },
            steps: Steps::default(),
            usage: BTreeMap::new(),
            pending: Pending::default(),
            head: None,
            guard: Guard { limits, ..Guard::default() },
            undo: None,
        }
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    pub fn status(&self) -> &Status {
        &self.status
    }

    pub fn steps(&self) -> &Steps {
        &self.steps
    }

    /// What all steps used, by counter, in millionths.
    pub fn usage(&self) -> &BTreeMap<Box<str>, i64> {
        &self.usage
    }

    /// The digest of the last drained record, in hex.
    pub fn head(&self) -> Option<&str> {
        self.head.as_ref().and_then(|digest| std::str::from_utf8(digest).ok())
    }

    /// The reason of the wait, while it waits.
    pub fn wait_reason(&self) -> Option<WaitReason> {
        self.status.wait.filter(|_| self.status.state == ExecutionState::Waiting)
    }

    /// Limits are not part of the journal: whoever holds the execution sets them.
    pub fn set_limits(&mut self, limits: Option<Limits>) {
        self.guard.limits = limits;
    }

    /// The same limits, and the same warnings already given, as another execution.
    pub fn share_limits(&mut self, other: &Execution) {
        self.guard = Guard { warnings: Vec::new(), ..other.guard.clone() };
    }

    /// Refuses an input over the limit.
    pub fn check_input(&mut self) -> Result<(), Box<Error>> {
        let used = self.header.input.as_ref().map_or(0, |input| input.len());
        let maximum = self.guard.limits.and_then(|limits| limits.max_payload_bytes);
        if used > 0 {
            self.guard.check("max_payload_bytes", used as f64, maximum)?;
        }
        Ok(())
    }

    /// Whether warnings are due.
    pub fn has_warnings(&self) -> bool {
        !self.guard.warnings.is_empty()
    }

    /// The warnings that are due.
    pub fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.guard.warnings)
    }

    /// Applies an action: at `at`, or at the clock's `now` but never before the last one. Changes nothing if refused.
    pub fn apply(
        &mut self,
        fields: &Fields<'_>,
        at: Option<i64>,
        now: i64,
    ) -> Result<(i64, Touched), Box<Error>> {
        let at = self.time(at, now)?;
        let warned = self.guard.warnings.len();
        match reduce(self, at, fields) {
            Ok(touched) => {
                self.applied(at);
                self.pending.add(at, fields, &touched);
                Ok((at, touched))
            }
            Err(error) => {
                self.guard.forget(warned);
                Err(error.into())
            }
        }
    }

    /// The same for a bulk action with at least one step.
    pub fn apply_bulk(&mut self, mut many: Many<'_>, now: i64) -> Result<Places, Box<Error>> {
        let at = self.time(None, now)?;
        for list in [
            &mut many.names,
            &mut many.keys,
            &mut many.inputs,
            &mut many.places,
            &mut many.outputs,
            &mut many.errors,
        ] {
            *list = list.folded();
        }
        let (warned, count) = (self.guard.warnings.len(), self.steps.len());
        let places = reduce_many(self, at, &many).inspect_err(|_| self.guard.forget(warned))?;
        let all_new = places == Places::Range(count..self.steps.len());
        self.applied(at);
        if all_new || single(many.kind).and_then(step_created).is_none() {
            self.pending.add_many(at, &many, places.clone());
        } else {
            self.pending.add_text(at, &many.fields(&self.steps));
        }
        Ok(places)
    }

    fn time(&self, at: Option<i64>, now: i64) -> Result<i64, Error> {
        let last = self.status.last;
        match at {
            None => Ok(now.max(last)),
            Some(at) if at < last => Err(Error::TimeBackwards { at, last }),
            Some(at) => Ok(at),
        }
    }

    fn applied(&mut self, at: i64) {
        self.status.last = at;
        self.status.version += 1;
    }

    /// Applies actions, all or none, and returns their times.
    pub fn apply_many<'a>(
        &mut self,
        actions: impl Iterator<Item = (Fields<'a>, Option<i64>)>,
        now: i64,
    ) -> Result<Vec<i64>, Box<Error>> {
        self.undo = Some(Box::new(Undo {
            status: self.status.clone(),
            usage: self.usage.clone(),
            guard: self.guard.clone(),
            mark: self.steps.mark(),
            changed: HashMap::new(),
            pending: self.pending.mark(),
        }));
        let mut times = Vec::new();
        for (index, (fields, at)) in actions.enumerate() {
            match self.apply(&fields, at, now) {
                Ok((at, _)) => times.push(at),
                Err(error) => {
                    self.restore();
                    return Err(error.at(index, None).into());
                }
            }
        }
        self.undo = None;
        Ok(times)
    }

    /// To be called before a step changes.
    pub(crate) fn touch(&mut self, index: usize) {
        if let Some(undo) = &mut self.undo
            && !undo.changed.contains_key(&index)
            && let Some(before) = self.steps.before(&undo.mark, index)
        {
            undo.changed.insert(index, before);
        }
    }

    fn restore(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        self.status = undo.status;
        self.usage = undo.usage;
        self.guard = undo.guard;
        self.steps.restore(&undo.mark, undo.changed);
        self.pending.restore(undo.pending);
    }

    /// The fields of the header record.
    pub(crate) fn header_fields(&self) -> Fields<'_> {
        let header = &self.header;
        let mut fields = Fields::new(Kind::Created);
        fields.key = header.key.as_deref().map(Into::into);
        fields.input = header.input.as_deref();
        fields.header = Some(Box::new(HeaderFields {
            id: Some(header.id),
            tenant: header.tenant.as_deref().map(Into::into),
            parent_type: header.parent.as_ref().map(|link| link.parent_type),
            parent_id: header.parent.as_ref().map(|link| (&*link.parent_id).into()),
            schema_version: header.schema_version.as_deref().map(Into::into),
            blueprint: header.blueprint.as_deref().map(Into::into),
        }));
        fields
    }
}
