//! A whole execution as one JSON object.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::error::Error;
use crate::execution::{Execution, Header, Link};
use crate::fields::{check_label, check_note, check_path};
use crate::id::Id;
use crate::json::{JsonFault, Read, Reader, push_id, push_int, push_string};
use crate::pending::Pending;
use crate::read::next_action;
use crate::spec::{ExecutionState, FORMAT, Kind, ParentType, StepState, StepType, WaitReason};
use crate::step::{More, Past, Rare, StepView};
use crate::steps::NewStep;
use crate::text::Span;
use crate::write::{push_array, push_json, push_number, push_optional_id, push_word};

const MALFORMED: JsonFault = JsonFault::Malformed;

impl Execution {
    /// `to_json`; without the journal it is what the journal determines, and two executions are equal when that is.
    pub fn to_json(&self, journal: bool) -> Vec<u8> {
        let (header, status) = (&self.header, &self.status);
        let mut out = Vec::with_capacity(512 + self.steps.len() * 256);
        out.extend_from_slice(b"{\"format\":");
        push_int(&mut out, FORMAT);
        push_number(&mut out, ",\"version\":", Some(status.version));
        if journal && let Some(head) = self.head() {
            push_word(&mut out, ",\"head\":", head);
        }
        out.extend_from_slice(b",\"id\":");
        push_id(&mut out, "exec", header.id);
        push_optional(&mut out, ",\"tenant\":", header.tenant.as_deref());
        if let Some(parent) = &header.parent {
            push_word(&mut out, ",\"parent_type\":", parent.parent_type.name());
            push_word(&mut out, ",\"parent_id\":", &parent.parent_id);
        }
        push_optional(&mut out, ",\"schema_version\":", header.schema_version.as_deref());
        push_optional(&mut out, ",\"blueprint\":", header.blueprint.as_deref());
        push_optional(&mut out, ",\"key\":", header.key.as_deref());
        push_json(&mut out, ",\"input\":", header.input.as_deref());
        push_word(&mut out, ",\"state\":", status.state.name());
        push_optional(&mut out, ",\"wait_reason\":", status.wait.map(WaitReason::name));
        push_optional(&mut out, ",\"paused_from\":", status.paused_from.map(ExecutionState::name));
        push_optional(&mut out, ",\"reason\":", status.reason.as_deref());
        push_number(&mut out, ",\"created_at\":", Some(status.created));
        push_number(&mut out, ",\"last_at\":", Some(status.last));
        push_number(&mut out, ",\"started_at\":", status.started);
        push_number(&mut out, ",\"ended_at\":", status.ended);
        push_json(&mut out, ",\"output\":", status.output.as_deref());
        push_json(&mut out, ",\"error\":", status.error.as_deref());
        out.extend_from_slice(b",\"steps\":[");
        for (index, step) in self.steps.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_step(&mut out, step);
        }
        out.extend_from_slice(b"],\"pending\":[");
        if journal {
            for position in 0..self.pending.len() {
                out.extend_from_slice(if position > 0 { &b",{"[..] } else { b"{" });
                self.pending.write(position, &mut out, &self.steps);
            }
        }
        out.extend_from_slice(b"]}");
        out
    }

    /// `from_json`.
    pub fn from_json(data: &[u8]) -> Result<Execution, Error> {
        read(data).map_err(|fault| match fault {
            JsonFault::Newer(found) => Error::NewerExecution { found },
            JsonFault::Malformed => Error::NotAnExecution,
        })
    }
}

fn push_optional(out: &mut Vec<u8>, literal: &str, text: Option<&str>) {
    if let Some(text) = text {
        push_word(out, literal, text);
    }
}

fn push_step(out: &mut Vec<u8>, step: StepView<'_>) {
    out.extend_from_slice(b"{\"id\":");
    push_id(out, "step", step.id());
    push_word(out, ",\"name\":", step.name());
    push_optional(
        out,
        ",\"type\":",
        (step.step_type() != StepType::Function).then_some(step.step_type().name()),
    );
    out.extend_from_slice(b",\"state\":\"");
    out.extend_from_slice(step.state().name().as_bytes());
    out.push(b'"');
    push_number(out, ",\"attempt\":", Some(i64::from(step.attempt())));
    push_number(out, ",\"scheduled_at\":", Some(step.scheduled()));
    push_number(out, ",\"started_at\":", step.started());
    push_number(out, ",\"tried_at\":", step.tried());
    push_number(out, ",\"ended_at\":", step.ended());
    push_number(out, ",\"retry_at\":", step.retry_at());
    if step.more().is_none() {
        push_json(out, ",\"output\":", step.output());
        out.push(b'}');
        return;
    }
    push_optional(out, ",\"key\":", step.key());
    push_optional_id(out, ",\"parent_step_id\":", step.parent());
    push_json(out, ",\"input\":", step.input());
    push_json(out, ",\"output\":", step.output());
    push_json(out, ",\"error\":", step.error());
    push_json(out, ",\"source\":", step.source());
    push_optional(out, ",\"callable_id\":", step.callable_id());
    push_optional(out, ",\"place\":", step.place());
    push_optional(out, ",\"reason\":", step.reason());
    if !step.usage().is_empty() {
        out.extend_from_slice(b",\"usage\":");
        push_array(out, step.usage().iter(), |out, (counter, amount)| {
            out.push(b'[');
            push_string(out, counter);
            out.push(b',');
            push_int(out, *amount);
            out.push(b']');
        });
    }
    if !step.past().is_empty() {
        out.extend_from_slice(b",\"attempts\":");
        push_array(out, step.past().iter(), |out, past| {
            out.push(b'[');
            push_int(out, past.started);
            out.push(b',');
            push_int(out, past.ended);
            out.push(b',');
            out.extend_from_slice(past.error.as_bytes());
            out.push(b']');
        });
    }
    out.push(b'}');
}

// --- reading ---

fn sound<T>(checked: Result<T, Error>) -> Read<T> {
    checked.map_err(|_| MALFORMED)
}

/// An optional field, or a required one with `required`.
fn optional<'a, T>(
    reader: &mut Reader<'a>,
    literal: &str,
    read: impl FnOnce(&mut Reader<'a>) -> Read<T>,
) -> Read<Option<T>> {
    if reader.take(literal) { read(reader).map(Some) } else { Ok(None) }
}

fn required<'a, T>(
    reader: &mut Reader<'a>,
    literal: &str,
    read: impl FnOnce(&mut Reader<'a>) -> Read<T>,
) -> Read<T> {
    reader.expect(literal)?;
    read(reader)
}

fn label(reader: &mut Reader<'_>) -> Read<Box<str>> {
    short(reader).map(Into::into)
}

fn short<'a>(reader: &mut Reader<'a>) -> Read<Cow<'a, str>> {
    let text = reader.string()?;
    sound(check_label(String::new, &text))?;
    Ok(text)
}

fn path<'a>(reader: &mut Reader<'a>) -> Read<Cow<'a, str>> {
    let text = reader.string()?;
    sound(check_path(String::new, &text))?;
    Ok(text)
}

fn note(reader: &mut Reader<'_>) -> Read<Box<str>> {
    let text = reader.string()?;
    sound(check_note("", &text))?;
    Ok(text.into())
}

fn json(reader: &mut Reader<'_>) -> Read<Box<str>> {
    value(reader).map(Into::into)
}

fn value<'a>(reader: &mut Reader<'a>) -> Read<&'a str> {
    reader.payload()?.ok_or(MALFORMED)
}

fn time(reader: &mut Reader<'_>) -> Read<i64> {
    reader.integer().and_then(|at| if at >= 0 { Ok(at) } else { Err(MALFORMED) })
}

fn word<T>(parse: impl Fn(&str) -> Option<T>) -> impl Fn(&mut Reader<'_>) -> Read<T> {
    move |reader| parse(&reader.string()?).ok_or(MALFORMED)
}

fn id(prefix: &'static str) -> impl Fn(&mut Reader<'_>) -> Read<Id> {
    move |reader| reader.id(prefix).ok_or(MALFORMED)
}

fn read(data: &[u8]) -> Read<Execution> {
    let mut reader = Reader::new(data)?;
    let reader = &mut reader;
    reader.expect("{")?;
    reader.newer("\"format\":")?;
    required(reader, "\"format\":", Reader::integer)?;
    let version = required(reader, ",\"version\":", Reader::integer)?;
    let head = optional(reader, ",\"head\":", Reader::any_digest)?;
    let header = header(reader)?;
    let state = required(reader, ",\"state\":", word(ExecutionState::parse))?;
    let wait = optional(reader, ",\"wait_reason\":", word(WaitReason::parse))?;
    let paused_from = optional(reader, ",\"paused_from\":", word(ExecutionState::parse))?;
    let reason = optional(reader, ",\"reason\":", note)?;
    let created = required(reader, ",\"created_at\":", time)?;
    let mut execution = Execution::new(header, created, None);
    let status = &mut execution.status;
    (status.version, status.state, status.wait) = (version, state, wait);
    (status.paused_from, status.reason) = (paused_from, reason);
    status.last = required(reader, ",\"last_at\":", time)?;
    status.started = optional(reader, ",\"started_at\":", time)?;
    status.ended = optional(reader, ",\"ended_at\":", time)?;
    status.output = optional(reader, ",\"output\":", json)?;
    status.error = optional(reader, ",\"error\":", json)?;
    execution.head = head;
    reader.expect(",\"steps\":")?;
    steps(reader, &mut execution)?;
    reader.expect(",\"pending\":")?;
    execution.pending = pending(reader)?;
    reader.expect("}")?;
    reader.end()?;
    let left = i64::try_from(execution.pending.len()).map_err(|_| MALFORMED)?;
    if left > version || (head.is_none() && left != version) {
        return Err(MALFORMED);
    }
    Ok(execution)
}

fn header(reader: &mut Reader<'_>) -> Read<Header> {
    let id = required(reader, ",\"id\":", id("exec"))?;
    let tenant = optional(reader, ",\"tenant\":", label)?;
    let parent_type = optional(reader, ",\"parent_type\":", word(ParentType::parse))?;
    let parent_id = optional(reader, ",\"parent_id\":", label)?;
    let parent = match (parent_type, parent_id) {
        (Some(parent_type), Some(parent_id)) => Some(Link { parent_type, parent_id }),
        (None, None) => None,
        _ => return Err(MALFORMED),
    };
    Ok(Header {
        id,
        tenant,
        parent,
        schema_version: optional(reader, ",\"schema_version\":", label)?,
        blueprint: optional(reader, ",\"blueprint\":", label)?,
        key: optional(reader, ",\"key\":", label)?,
        input: optional(reader, ",\"input\":", json)?,
    })
}

fn steps(reader: &mut Reader<'_>, execution: &mut Execution) -> Read<()> {
    reader.each(|reader| step(reader, execution))
}

fn step(reader: &mut Reader<'_>, execution: &mut Execution) -> Read<()> {
    let steps = &mut execution.steps;
    let id_ = required(reader, "{\"id\":", id("step"))?;
    if steps.find(id_).is_some() {
        return Err(MALFORMED);
    }
    reader.expect(",\"name\":")?;
    let name = reader.string()?;
    if steps.name_number(&name).is_none() {
        sound(check_label(String::new, &name))?;
    }
    let step_type = optional(reader, ",\"type\":", word(StepType::parse))?;
    if step_type == Some(StepType::Function) {
        return Err(MALFORMED);
    }
    let state = required(reader, ",\"state\":", word(StepState::parse))?;
    let attempt = u32::try_from(required(reader, ",\"attempt\":", Reader::integer)?)
        .map_err(|_| MALFORMED)?;
    let scheduled = required(reader, ",\"scheduled_at\":", time)?;
    let started = optional(reader, ",\"started_at\":", time)?;
    let tried = optional(reader, ",\"tried_at\":", time)?;
    let ended = optional(reader, ",\"ended_at\":", time)?;
    let new = NewStep {
        name: steps.intern(&name),
        state,
        step_type: step_type.unwrap_or(StepType::Function),
        scheduled,
        started,
    };
    let index = steps.push(id_, new);
    steps.set_past(index, attempt, ended);
    if (attempt == 1 && started != tried) || ended.is_some() != state.is_terminal() {
        return Err(MALFORMED);
    }
    let retried = if reader.take("}") {
        0
    } else {
        rest(reader, execution, index, tried.filter(|_| started != tried))?
    };
    if started.is_none() != tried.is_none()
        || started.is_none() != (attempt == 0)
        || !attempts_fit(state, attempt, retried)
    {
        return Err(MALFORMED);
    }
    Ok(())
}

/// What most steps do not have; returns how many attempts were retried.
fn rest(
    reader: &mut Reader<'_>,
    execution: &mut Execution,
    index: usize,
    tried: Option<i64>,
) -> Read<usize> {
    let steps = &mut execution.steps;
    let retry_at = optional(reader, ",\"retry_at\":", time)?;
    let key = optional(reader, ",\"key\":", short)?;
    let parent = optional(reader, ",\"parent_step_id\":", id("step"))?;
    let input = optional(reader, ",\"input\":", value)?;
    let output = optional(reader, ",\"output\":", value)?;
    let error = optional(reader, ",\"error\":", value)?;
    let source = optional(reader, ",\"source\":", value)?;
    let callable_id = optional(reader, ",\"callable_id\":", short)?;
    let place = optional(reader, ",\"place\":", path)?;
    let reason = optional(reader, ",\"reason\":", note)?;
    let usage = optional(reader, ",\"usage\":", usage)?.unwrap_or_default();
    let past = optional(reader, ",\"attempts\":", past)?.unwrap_or_default();
    reader.expect("}")?;
    let state = steps.state(index).unwrap_or(StepState::Pending);
    let has_ended = output.is_some() || error.is_some() || reason.is_some();
    if parent.is_some_and(|parent| steps.find(parent).is_none())
        || (has_ended && !state.is_terminal())
        || (retry_at.is_some() && (state != StepState::Pending || past.is_empty()))
    {
        return Err(MALFORMED);
    }
    for (counter, amount) in &usage {
        let total = execution.usage.entry(counter.clone()).or_default();
        *total = total.checked_add(*amount).ok_or(MALFORMED)?;
    }
    let retried = past.len();
    let is_rare = retry_at.is_some() || tried.is_some() || !usage.is_empty() || retried > 0;
    let texts = &mut steps.texts;
    if let Some(output) = output {
        steps.outputs.set(index, texts.push(output));
    }
    let more = More {
        key: texts.push_some(key.as_deref()),
        parent,
        input: texts.push_some(input),
        source: texts.push_some(source),
        callable_id: texts.push_some(callable_id.as_deref()),
        place: texts.push_some(place.as_deref()),
        error: texts.push_some(error),
        reason: texts.push_some(reason.as_deref()),
        rare: is_rare.then(|| Box::new(Rare { retry_at, tried, usage, past })),
    };
    if more.is_used() {
        *steps.more_mut(index) = more;
    }
    Ok(retried)
}

/// Of all attempts one or none was not retried: one while the step runs, none while it is pending.
fn attempts_fit(state: StepState, attempt: u32, retried: usize) -> bool {
    match (attempt as usize).checked_sub(retried) {
        Some(0) => state != StepState::Running,
        Some(1) => state != StepState::Pending,
        _ => false,
    }
}

impl More {
    fn is_used(&self) -> bool {
        let texts = [
            self.key,
            self.input,
            self.source,
            self.callable_id,
            self.place,
            self.error,
            self.reason,
        ];
        texts.into_iter().any(|text| text != Span::NONE)
            || self.parent.is_some()
            || self.rare.is_some()
    }
}

fn usage(reader: &mut Reader<'_>) -> Read<BTreeMap<Box<str>, i64>> {
    let mut last: Option<Box<str>> = None;
    let mut found = BTreeMap::new();
    reader.array(|reader| {
        let counter = required(reader, "[", label)?;
        let amount = required(reader, ",", Reader::integer)?;
        reader.expect("]")?;
        if last.as_ref().is_some_and(|last| *last >= counter) {
            return Err(MALFORMED);
        }
        last = Some(counter.clone());
        found.insert(counter, amount);
        Ok(())
    })?;
    if found.is_empty() { Err(MALFORMED) } else { Ok(found) }
}

fn past(reader: &mut Reader<'_>) -> Read<Vec<Past>> {
    let found = reader.array(|reader| {
        let started = required(reader, "[", time)?;
        let ended = required(reader, ",", time)?;
        let error = required(reader, ",", json)?;
        reader.expect("]")?;
        Ok(Past { started, ended, error })
    })?;
    if found.is_empty() { Err(MALFORMED) } else { Ok(found) }
}

fn pending(reader: &mut Reader<'_>) -> Read<Pending> {
    let mut pending = Pending::default();
    reader.each(|reader| {
        let found = next_action(reader)?;
        let at = found.at.filter(|at| *at >= 0).ok_or(MALFORMED)?;
        if found.problem.is_some() || found.fields.kind == Kind::Created {
            return Err(MALFORMED);
        }
        pending.add_text(at, &found.fields);
        Ok(())
    })?;
    Ok(pending)
}
