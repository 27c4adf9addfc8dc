//! The fields of an action, borrowed from whoever has them, and the checks that each must pass.

use std::borrow::Cow;

use crate::bulk::{Each, Many, Targets};
use crate::error::Error;
use crate::id::{Id, Run};
use crate::spec::{
    Kind, MAX_LABEL_CHARS, MAX_NOTE_CHARS, MAX_PATH_CHARS, ParentType, StepType, WaitReason,
};

pub type Text<'a> = Cow<'a, str>;

/// The fields of an action. Which ones a kind has says `spec::record`; the others stay unset. Payloads are JSON text.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    pub kind: Kind,
    pub step: Option<Id>,
    pub name: Option<Text<'a>>,
    pub step_type: StepType,
    pub key: Option<Text<'a>>,
    pub parent: Option<Id>,
    pub input: Option<&'a str>,
    pub source: Option<&'a str>,
    pub callable_id: Option<Text<'a>>,
    pub place: Option<Text<'a>>,
    pub counter: Option<Text<'a>>,
    pub amount_micros: i64,
    /// `output`, and `payload` of `input_received`.
    pub output: Option<&'a str>,
    pub error: Option<&'a str>,
    pub retry_at: Option<i64>,
    pub reason: Option<Text<'a>>,
    pub wait: Option<WaitReason>,
    pub bulk: Option<Box<Bulk<'a>>>,
    pub header: Option<Box<HeaderFields<'a>>>,
}

/// What a bulk action has for each of its steps.
#[derive(Clone, Debug, Default)]
pub struct Bulk<'a> {
    pub steps: Vec<Run>,
    pub names: Option<Vec<Text<'a>>>,
    pub keys: Option<Vec<Text<'a>>>,
    pub places: Option<Vec<Text<'a>>>,
    pub inputs: Option<Vec<Option<&'a str>>>,
    pub outputs: Option<Vec<Option<&'a str>>>,
    pub errors: Option<Vec<Option<&'a str>>>,
}

/// What only a journal's header has.
#[derive(Clone, Debug, Default)]
pub struct HeaderFields<'a> {
    pub id: Option<Id>,
    pub tenant: Option<Text<'a>>,
    pub parent_type: Option<ParentType>,
    pub parent_id: Option<Text<'a>>,
    pub schema_version: Option<Text<'a>>,
    pub blueprint: Option<Text<'a>>,
}

impl<'a> Fields<'a> {
    pub const fn new(kind: Kind) -> Fields<'a> {
        Fields {
            kind,
            step: None,
            name: None,
            step_type: StepType::Function,
            key: None,
            parent: None,
            input: None,
            source: None,
            callable_id: None,
            place: None,
            counter: None,
            amount_micros: 0,
            output: None,
            error: None,
            retry_at: None,
            reason: None,
            wait: None,
            bulk: None,
            header: None,
        }
    }

    /// Whether more than the id and the name of a step is given.
    pub fn describes(&self) -> bool {
        self.step_type != StepType::Function || self.describes_more()
    }

    /// Whether anything is given that most steps do not have.
    pub(crate) fn describes_more(&self) -> bool {
        self.key.is_some()
            || self.parent.is_some()
            || self.input.is_some()
            || self.source.is_some()
            || self.callable_id.is_some()
            || self.place.is_some()
    }

    /// The lengths of the lists of a bulk action, the required fields, and nothing said twice.
    pub(crate) fn complete(&self) -> Result<(), Error> {
        let Some(bulk) = &self.bulk else {
            return Ok(());
        };
        let given: i64 = bulk.steps.iter().map(|(_, count)| i64::from(*count)).sum();
        if given > crate::spec::MAX_BULK_STEPS as i64 {
            return Err(Error::BulkTooLarge { given });
        }
        let expected = bulk.count();
        let lists = [
            ("names", "name", bulk.names.as_ref().map(Vec::len), self.name.is_some()),
            ("keys", "key", bulk.keys.as_ref().map(Vec::len), self.key.is_some()),
            ("inputs", "input", bulk.inputs.as_ref().map(Vec::len), self.input.is_some()),
            ("outputs", "output", bulk.outputs.as_ref().map(Vec::len), self.output.is_some()),
            ("errors", "error", bulk.errors.as_ref().map(Vec::len), self.error.is_some()),
            ("places", "place", bulk.places.as_ref().map(Vec::len), self.place.is_some()),
        ];
        for (many, one, length, twice) in lists {
            let Some(given) = length else { continue };
            if twice {
                return Err(Error::OneOrMany { one, many });
            }
            if given != expected {
                return Err(Error::LengthDiffers { what: many, expected, given });
            }
        }
        if self.kind == Kind::StepsFailed && self.error.is_none() {
            let Some(errors) = &bulk.errors else {
                return Err(Error::MissingField { kind: self.kind, field: "error" });
            };
            if let Some(index) = errors.iter().position(Option::is_none) {
                return Err(
                    Error::MissingField { kind: Kind::StepFailed, field: "error" }.at(index, None)
                );
            }
        }
        Ok(())
    }
}

impl<'a> Bulk<'a> {
    /// The action as the reducer takes it; `fields` are those that all its steps share.
    pub(crate) fn with<T>(&self, fields: &Fields<'a>, use_it: impl FnOnce(&Many<'_>) -> T) -> T {
        fn texts<'b>(all: &'b Option<Vec<Text<'_>>>) -> Option<Vec<Option<&'b str>>> {
            all.as_ref().map(|all| all.iter().map(|text| Some(&**text)).collect())
        }
        fn each<'b>(one: Option<&'b str>, many: Option<&'b [Option<&'b str>]>) -> Each<'b> {
            many.map_or(one.map_or(Each::None, Each::One), Each::Many)
        }
        let (names, keys, places) = (texts(&self.names), texts(&self.keys), texts(&self.places));
        let mut many = Many::new(fields.kind, Targets::Ids(self.steps.clone()));
        many.names = each(fields.name.as_deref(), names.as_deref());
        many.step_type = fields.step_type;
        many.keys = each(fields.key.as_deref(), keys.as_deref());
        many.parent = fields.parent;
        many.inputs = each(fields.input, self.inputs.as_deref());
        many.source = fields.source;
        many.callable_id = fields.callable_id.as_deref();
        many.places = each(fields.place.as_deref(), places.as_deref());
        many.outputs = each(fields.output, self.outputs.as_deref());
        many.errors = each(fields.error, self.errors.as_deref());
        many.reason = fields.reason.as_deref();
        use_it(&many)
    }

    /// How many steps it is about.
    pub fn count(&self) -> usize {
        self.steps.iter().map(|(_, count)| *count as usize).sum()
    }
}

/// Names, keys, tenants and versions: 1 to 255 characters, none of them a control character.
pub fn check_label(what: impl FnOnce() -> String, text: &str) -> Result<(), Error> {
    check_text(what, text, MAX_LABEL_CHARS)
}

/// The same for a step's place, with more room.
pub fn check_path(what: impl FnOnce() -> String, text: &str) -> Result<(), Error> {
    check_text(what, text, MAX_PATH_CHARS)
}

fn check_text(what: impl FnOnce() -> String, text: &str, limit: usize) -> Result<(), Error> {
    let is_plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if is_plain && (1..=limit).contains(&text.len()) {
        return Ok(());
    }
    let fits = !text.is_empty() && (text.len() <= limit || text.chars().count() <= limit);
    if fits && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Error::BadLabel { what: what(), limit })
}

/// Free text, of limited length.
pub fn check_note(what: &'static str, text: &str) -> Result<(), Error> {
    if text.len() <= MAX_NOTE_CHARS || text.chars().count() <= MAX_NOTE_CHARS {
        return Ok(());
    }
    Err(Error::BadNote { what })
}
