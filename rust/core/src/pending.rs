//! The actions that were not drained yet. Most of them are all in the steps that they made or changed, for these fields
//! never change again: their JSON is written when somebody wants it.

use crate::bulk::Many;
use crate::chunks::Chunks;
use crate::fields::Fields;
use crate::places::Places;
use crate::reducer::Touched;
use crate::spec::{Kind, record, single, step_created};
use crate::step::StepView;
use crate::steps::Steps;
use crate::write::{open_action, push_jsons, push_runs, push_texts, write_action, write_field};

/// The actions that were applied and not drained, in order.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    entries: Chunks<Entry>,
    series: Vec<Series>,
    texts: Vec<Box<[u8]>>,
}

/// One of them; its number is the position of the step, or of the series or the text.
#[derive(Clone, Copy, Debug)]
struct Entry {
    at: i64,
    number: u32,
    kind: Kind,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// The kind says it all.
    Plain,
    /// A step has every field.
    Step,
    /// Steps have every field.
    Series,
    /// Its JSON, from behind the opening brace on.
    Text,
}

/// A bulk action: the steps, and which fields have one entry each.
#[derive(Debug)]
struct Series {
    places: Places,
    names: bool,
    keys: bool,
    inputs: bool,
    paths: bool,
    outputs: bool,
    errors: bool,
}

/// How many there were.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingMark(usize, usize, usize);

impl Pending {
    /// Takes everything out.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.series = Vec::new();
        self.texts = Vec::new();
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    fn push(&mut self, at: i64, kind: Kind, what: What, number: usize) {
        self.entries.push(Entry { at, number: number as u32, kind, what });
    }

    /// An action that was applied and touched these steps.
    pub fn add(&mut self, at: i64, fields: &Fields<'_>, touched: &Touched) {
        let kind = fields.kind;
        let ends = matches!(
            kind,
            Kind::StepCompleted | Kind::StepFailed | Kind::StepSkipped | Kind::StepCancelled
        );
        match touched {
            Touched::New(index) => self.push(at, kind, What::Step, *index as usize),
            Touched::One(index) if ends => self.push(at, kind, What::Step, *index as usize),
            Touched::None if is_bare(fields) => self.push(at, kind, What::Plain, 0),
            _ => self.add_text(at, fields),
        }
    }

    /// An action that is kept as it is written.
    pub fn add_text(&mut self, at: i64, fields: &Fields<'_>) {
        let mut text = Vec::new();
        write_action(&mut text, at, fields);
        self.push(at, fields.kind, What::Text, self.texts.len());
        self.texts.push(text.into());
    }

    /// A bulk action with at least one step, whose lists were folded.
    pub fn add_many(&mut self, at: i64, many: &Many<'_>, places: Places) {
        self.push(at, many.kind, What::Series, self.series.len());
        self.series.push(Series {
            places,
            names: many.names.is_plural(),
            keys: many.keys.is_plural(),
            inputs: many.inputs.is_plural(),
            paths: many.places.is_plural(),
            outputs: many.outputs.is_plural(),
            errors: many.errors.is_plural(),
        });
    }

    /// Writes the JSON of the action at this position from behind its opening brace on, and says its time and kind.
    pub fn write(&self, position: usize, out: &mut Vec<u8>, steps: &Steps) -> (i64, Kind) {
        let Some(Entry { at, number, kind, what }) = self.entries.get(position) else {
            return (0, Kind::Created);
        };
        let number = number as usize;
        match what {
            What::Text => {
                out.extend_from_slice(self.texts.get(number).map_or(b"", |text| text));
            }
            What::Plain => write_action(out, at, &Fields::new(kind)),
            What::Series => {
                if let Some(series) = self.series.get(number) {
                    series.write(out, at, kind, steps);
                }
            }
            What::Step => {
                if let Some(step) = steps.get(number) {
                    write_action(out, at, &fields_of(kind, step));
                }
            }
        }
        (at, kind)
    }

    /// Forgets the first ones.
    pub fn forget(&mut self, count: usize) {
        let left: Vec<Entry> = self.entries.iter().skip(count).collect();
        self.entries = Chunks::default();
        left.into_iter().for_each(|entry| self.entries.push(entry));
    }

    pub fn mark(&self) -> PendingMark {
        PendingMark(self.entries.len(), self.series.len(), self.texts.len())
    }

    /// Forgets what has come since the mark.
    pub fn restore(&mut self, mark: PendingMark) {
        self.entries.truncate(mark.0);
        self.series.truncate(mark.1);
        self.texts.truncate(mark.2);
    }
}

fn is_bare(fields: &Fields<'_>) -> bool {
    fields.reason.is_none()
        && fields.wait.is_none()
        && fields.step.is_none()
        && fields.output.is_none()
        && fields.error.is_none()
        && fields.bulk.is_none()
}

/// The fields of the action of one step, as the step has them.
fn fields_of(kind: Kind, step: StepView<'_>) -> Fields<'_> {
    let mut fields = Fields::new(kind);
    fields.step = Some(step.id());
    let one = single(kind).unwrap_or(kind);
    if step_created(one).is_some() {
        fields.name = Some(step.name().into());
        fields.step_type = step.step_type();
        fields.key = step.key().map(Into::into);
        fields.parent = step.parent();
        fields.input = step.input();
        fields.source = step.source();
        fields.callable_id = step.callable_id().map(Into::into);
        fields.place = step.place().map(Into::into);
    } else {
        match one {
            Kind::StepCompleted => fields.output = step.output(),
            Kind::StepFailed => fields.error = step.error(),
            _ => fields.reason = step.reason().map(Into::into),
        }
    }
    fields
}

impl Series {
    fn write(&self, out: &mut Vec<u8>, at: i64, kind: Kind, steps: &Steps) {
        use crate::spec::Field;
        let Some(first) = self.places.get(0).and_then(|index| steps.get(index)) else { return };
        let shared = fields_of(kind, first);
        let each = || self.places.iter().filter_map(|index| steps.get(index));
        open_action(out, at, kind);
        for (field, literal, _, _) in record(kind) {
            match field {
                Field::Steps => push_runs(out, literal, &steps.runs(&self.places)),
                Field::Names if self.names => push_texts(out, literal, each().map(StepView::name)),
                Field::Keys if self.keys => {
                    push_texts(out, literal, each().filter_map(StepView::key));
                }
                Field::Places if self.paths => {
                    push_texts(out, literal, each().filter_map(StepView::place));
                }
                Field::Inputs if self.inputs => {
                    push_jsons(out, literal, each().map(StepView::input));
                }
                Field::Outputs if self.outputs => {
                    push_jsons(out, literal, each().map(StepView::output));
                }
                Field::Errors if self.errors => {
                    push_jsons(out, literal, each().map(StepView::error));
                }
                Field::Name if self.names => {}
                Field::Key if self.keys => {}
                Field::Place if self.paths => {}
                Field::Input if self.inputs => {}
                Field::Output if self.outputs => {}
                Field::Error if self.errors => {}
                _ => write_field(out, *field, literal, &shared),
            }
        }
        out.push(b'}');
    }
}
