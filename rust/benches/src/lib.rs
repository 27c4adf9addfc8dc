//! The work that the benchmarks of the domain crate do: what `benches/workload.py` does, without Python.

use stepwell_core::spec::Kind;
use stepwell_core::{Drained, Error, Execution, Fields, Header, Id, IdSource, Replay, ReplayFault};

/// How many steps an execution of the benchmarks has.
pub const STEPS: usize = 100_000;

const START: i64 = 1_700_000_000_000_000_000;
const STEP_NS: i64 = 1_000;

/// An execution with a clock and an id source of its own, both without a system call.
#[derive(Debug)]
pub struct Recorder {
    pub execution: Execution,
    ids: IdSource,
    now: i64,
}

impl Recorder {
    /// An execution that runs.
    pub fn new() -> Result<Recorder, Box<Error>> {
        let mut ids = IdSource::default();
        let header = Header {
            id: ids.next(START / 1_000_000, |bytes| bytes.fill(7)),
            tenant: Some("acme".into()),
            parent: None,
            schema_version: None,
            blueprint: None,
            key: None,
            input: None,
        };
        let mut recorder =
            Recorder { execution: Execution::new(header, START, None), ids, now: START };
        recorder.apply(&Fields::new(Kind::Start))?;
        Ok(recorder)
    }

    fn apply(&mut self, fields: &Fields<'_>) -> Result<(), Box<Error>> {
        self.now += STEP_NS;
        self.execution.apply(fields, None, self.now).map(|_| ())
    }

    /// Starts a step.
    pub fn start(&mut self) -> Result<Id, Box<Error>> {
        let id = self.ids.next(self.now / 1_000_000, |bytes| bytes.fill(7));
        let mut fields = Fields::new(Kind::StepStarted);
        fields.step = Some(id);
        fields.name = Some("fetch".into());
        self.apply(&fields)?;
        Ok(id)
    }

    /// Completes a step with a short text.
    pub fn complete(&mut self, id: Id) -> Result<(), Box<Error>> {
        let mut fields = Fields::new(Kind::StepCompleted);
        fields.step = Some(id);
        fields.output = Some("\"ok 12345\"");
        self.apply(&fields)
    }

    /// Starts and completes so many steps, one by one.
    pub fn steps(&mut self, count: usize) -> Result<(), Box<Error>> {
        for _ in 0..count {
            let id = self.start()?;
            self.complete(id)?;
        }
        Ok(())
    }

    /// Pauses and resumes.
    pub fn pause_and_resume(&mut self) -> Result<(), Box<Error>> {
        self.apply(&Fields::new(Kind::Pause))?;
        self.apply(&Fields::new(Kind::Resume))
    }
}

/// An execution with all its steps, not drained yet.
pub fn recorded() -> Result<Recorder, Box<Error>> {
    let mut recorder = Recorder::new()?;
    recorder.steps(STEPS)?;
    Ok(recorder)
}

/// The execution that wrote these records.
pub fn replayed(id: Id, records: &Drained) -> Result<Execution, ReplayFault> {
    let mut replay = Replay::new(id, None);
    for (beside, body) in records.iter() {
        replay.take(body, Some(Some(beside)))?;
    }
    replay.finish(None)
}
