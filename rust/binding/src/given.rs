//! The arguments of bulk calls, taken straight from Python's lists: what most of them hold is plain text and plain
//! values. Where anything is out of the ordinary this says `None`, and the package looks at everything in its own way,
//! which is the one that words the refusals.

use std::borrow::Cow;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};
use stepwell_core::{Each, Id, Run, push_string, runs_of};

use crate::bridge::{self, Import};
use crate::execution::Execution;
use crate::step::Step;

static LISTED: Import = Import::new("stepwell.sequences", "listed");
static REFUSAL: Import = Import::new("stepwell.errors", "StepwellError");

pub type Given<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

/// What was found of an argument, or that somebody else has to look at it.
pub type Quick<T> = Option<T>;

/// A list or tuple as it is, anything else that can be gone through as a list, and what cannot as it is.
pub fn listed<'py>(what: &str, value: Given<'_, 'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(value) = value.filter(|value| !value.is_none()) else {
        return Ok(None);
    };
    let py = value.py();
    if value.is_exact_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        return Ok(Some(value.clone()));
    }
    match LISTED.get(py)?.call1((what, value)) {
        Ok(list) => Ok(Some(list)),
        Err(error) if error.value(py).is_instance(REFUSAL.get(py)?)? => Ok(Some(value.clone())),
        Err(error) => Err(error),
    }
}

/// Goes through a list or a tuple.
fn each<'py>(
    value: &Bound<'py, PyAny>,
    mut see: impl FnMut(Bound<'py, PyAny>) -> Quick<()>,
) -> Quick<usize> {
    if let Ok(list) = value.cast::<PyList>() {
        list.iter().try_for_each(&mut see)?;
        Some(list.len())
    } else if let Ok(tuple) = value.cast::<PyTuple>() {
        tuple.iter().try_for_each(&mut see)?;
        Some(tuple.len())
    } else {
        None
    }
}

fn text<'a>(value: &'a Bound<'_, PyAny>) -> Quick<&'a str> {
    value.cast_exact::<PyString>().ok()?.to_str().ok()
}

/// Names, keys or places.
#[derive(Default)]
pub enum Labels<'py> {
    #[default]
    None,
    One(Bound<'py, PyString>),
    /// Texts, and which of them each step has.
    Many(Vec<Bound<'py, PyString>>, Vec<u32>),
}

impl<'py> Labels<'py> {
    /// One text for all, or one each.
    pub fn names(value: Given<'_, 'py>) -> Quick<Labels<'py>> {
        let fits = |text: &str| stepwell_core::check_label(String::new, text).is_ok();
        match value.and_then(|value| value.cast_exact::<PyString>().ok()) {
            Some(name) => fits(name.to_str().ok()?).then(|| Labels::One(name.clone())),
            None => Labels::many(value, fits),
        }
    }

    pub fn many(value: Given<'_, 'py>, fits: impl Fn(&str) -> bool) -> Quick<Labels<'py>> {
        let Some(value) = value.filter(|value| !value.is_none()) else {
            return Some(Labels::None);
        };
        let mut texts: Vec<Bound<'py, PyString>> = Vec::new();
        let mut codes = Vec::with_capacity(value.len().unwrap_or(0));
        // Most lists of names hold the same few objects again and again.
        let mut near = [(std::ptr::null_mut(), 0); 64];
        each(value, |item| {
            let seen = &mut near[(item.as_ptr() as usize >> 4) % 64];
            if seen.0 != item.as_ptr() {
                let text = item.cast_into_exact::<PyString>().ok()?;
                fits(text.to_str().ok()?).then_some(())?;
                *seen = (text.as_ptr(), texts.len() as u32);
                texts.push(text);
            }
            codes.push(seen.1);
            Some(())
        })?;
        Some(Labels::Many(texts, codes))
    }

    pub fn count(&self) -> Option<usize> {
        match self {
            Labels::Many(_, codes) => Some(codes.len()),
            _ => None,
        }
    }

    /// The texts of the list, for `each` to borrow.
    pub fn texts(&self) -> PyResult<Vec<&str>> {
        match self {
            Labels::Many(texts, _) => texts.iter().map(|text| text.to_str()).collect(),
            _ => Ok(Vec::new()),
        }
    }

    pub fn each<'a>(&'a self, texts: &'a [&'a str]) -> PyResult<Each<'a>> {
        Ok(match self {
            Labels::None => Each::None,
            Labels::One(text) => Each::One(text.to_str()?),
            Labels::Many(_, codes) => Each::Coded(texts, codes),
        })
    }
}

/// Payloads as JSON.
#[derive(Default)]
pub enum Payloads {
    #[default]
    None,
    One(String),
    /// End to end, and where each one ends; an empty one is none.
    Many(String, Vec<usize>),
}

impl Payloads {
    /// One value for all, or one each; `encode` makes the JSON of what is not plain.
    pub fn of(
        one: Given<'_, '_>,
        many: Given<'_, '_>,
        encode: impl Fn(&Bound<'_, PyAny>, &mut Vec<u8>) -> Quick<()>,
    ) -> Quick<Payloads> {
        let one = one.filter(|value| !value.is_none());
        let Some(many) = many.filter(|value| !value.is_none()) else {
            let Some(one) = one else { return Some(Payloads::None) };
            let mut json = Vec::new();
            encode(one, &mut json)?;
            return String::from_utf8(json).ok().map(Payloads::One);
        };
        if one.is_some() {
            return None;
        }
        let count = many.len().unwrap_or(0);
        let mut all = Vec::with_capacity(count * 16);
        let mut ends = Vec::with_capacity(count);
        each(many, |item| {
            if !item.is_none() {
                encode(&item, &mut all)?;
            }
            ends.push(all.len());
            Some(())
        })?;
        Some(Payloads::Many(String::from_utf8(all).ok()?, ends))
    }

    pub fn count(&self) -> Option<usize> {
        match self {
            Payloads::Many(_, ends) => Some(ends.len()),
            _ => None,
        }
    }

    pub fn each(&self) -> Each<'_> {
        match self {
            Payloads::None => Each::None,
            Payloads::One(json) => Each::One(json),
            Payloads::Many(all, ends) => Each::Joined(all, ends),
        }
    }
}

/// The JSON of a value.
pub fn value(value: &Bound<'_, PyAny>, json: &mut Vec<u8>) -> Quick<()> {
    match value.cast_exact::<PyString>() {
        Ok(string) => {
            let text = string.to_str().ok()?;
            (text.len() < stepwell_core::spec::MAX_PAYLOAD_BYTES / 6).then_some(())?;
            push_string(json, text);
        }
        Err(_) => {
            json.extend_from_slice(bridge::payload(Some(value)).ok()??.text().ok()?.as_bytes());
        }
    }
    Some(())
}

/// The JSON of an error.
pub fn error(value: &Bound<'_, PyAny>, json: &mut Vec<u8>) -> Quick<()> {
    json.extend_from_slice(bridge::encoded("error", value).ok()?.text().ok()?.as_bytes());
    Some(())
}

/// The ids of steps given by their ids or as views of this execution.
pub fn ids(slf: &Bound<'_, Execution>, steps: &Bound<'_, PyAny>) -> Quick<Vec<Run>> {
    let mut found: Vec<Id> = Vec::with_capacity(steps.len().unwrap_or(0));
    each(steps, |item| {
        found.push(match item.cast::<Step>() {
            Ok(step) => Some(step.get()).filter(|step| step.execution.is(slf))?.id,
            Err(_) => Id::parse(text(&item)?, "step")?,
        });
        Some(())
    })?;
    Some(runs_of(found.into_iter()))
}

/// A text of its own, if there is one and it is fine.
pub fn note<'a>(
    value: Given<'a, '_>,
    fits: impl FnOnce(&str) -> bool,
) -> Quick<Option<Cow<'a, str>>> {
    match value.filter(|value| !value.is_none()) {
        None => Some(None),
        Some(value) => text(value).filter(|text| fits(text)).map(|text| Some(text.into())),
    }
}
