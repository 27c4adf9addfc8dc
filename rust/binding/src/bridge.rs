//! What the binding takes from the Python side: the words of refusals, encoding, and the shared classes.

use std::borrow::Cow;

use arrayvec::ArrayString;
use pyo3::exceptions::{PyAttributeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyInt, PyString, PyTuple};
use stepwell_core::spec::{Kind, MAX_PAYLOAD_BYTES};
use stepwell_core::{Error, Id, push_string};

/// A function or class of the package, imported once.
pub struct Import {
    module: &'static str,
    name: &'static str,
    cell: PyOnceLock<Py<PyAny>>,
}

impl Import {
    pub const fn new(module: &'static str, name: &'static str) -> Import {
        Import { module, name, cell: PyOnceLock::new() }
    }

    pub fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let found = self.cell.get_or_try_init(py, || {
            py.import(self.module)?.getattr(self.name).map(Bound::unbind)
        })?;
        Ok(found.bind(py))
    }
}

pub static ENCODE: Import = Import::new("stepwell.encoding", "encode");
pub static DECODE: Import = Import::new("stepwell.encoding", "decode");
pub static ENCODED: Import = Import::new("stepwell.fields", "encoded");
pub static FROM_NS: Import = Import::new("stepwell.clock", "from_ns");
pub static TO_NS: Import = Import::new("stepwell.clock", "to_ns");
pub static ERROR_FROM_JSON: Import = Import::new("stepwell.fields", "shown_error");

/// Raises by the function of `stepwell.errors` with this name.
pub fn refuse<'py>(py: Python<'py>, name: &str, args: impl pyo3::call::PyCallArgs<'py>) -> PyErr {
    let raised = py
        .import("stepwell.errors")
        .and_then(|errors| errors.getattr(name))
        .and_then(|function| function.call1(args));
    match raised {
        Err(error) => error,
        Ok(_) => PyAttributeError::new_err(format!("stepwell.errors.{name} did not raise")),
    }
}

/// The id of a step as text.
pub fn step_text(id: Id) -> String {
    id.text("step")
}

/// The same as Python has it.
pub fn step_id(py: Python<'_>, id: Id) -> PyResult<Bound<'_, PyString>> {
    PyString::from_bytes(py, &id.step_text())
}

/// A text argument that can be read, or the refusal for one that cannot.
pub fn label<'a>(what: &'static str, value: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, str>> {
    text(what, value, stepwell_core::spec::MAX_LABEL_CHARS)
}

/// The same with the limit of a step's place.
pub fn path<'a>(what: &'static str, value: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, str>> {
    text(what, value, stepwell_core::spec::MAX_PATH_CHARS)
}

fn text<'a>(
    what: &'static str,
    value: &'a Bound<'_, PyAny>,
    limit: usize,
) -> PyResult<Cow<'a, str>> {
    let py = value.py();
    let Ok(string) = value.cast::<PyString>() else {
        return Err(refuse(py, "not_text", (what, value)));
    };
    let Ok(text) = string.to_str() else {
        return Err(refuse(py, "bad_label", (what, limit)));
    };
    let checked = if limit == stepwell_core::spec::MAX_PATH_CHARS {
        stepwell_core::check_path(|| what.to_owned(), text)
    } else {
        stepwell_core::check_label(|| what.to_owned(), text)
    };
    checked.map_err(|error| crate::errors::raise(py, &error))?;
    Ok(Cow::Borrowed(text))
}

/// A reason.
pub fn note<'a>(what: &'static str, value: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, str>> {
    let py = value.py();
    let Ok(string) = value.cast::<PyString>() else {
        return Err(refuse(py, "not_text", (what, value)));
    };
    let Ok(text) = string.to_str() else {
        return Err(crate::errors::raise(py, &Error::BadNote { what }));
    };
    stepwell_core::check_note(what, text).map_err(|error| crate::errors::raise(py, &error))?;
    Ok(Cow::Borrowed(text))
}

/// An id of the wanted kind.
pub fn id(value: &Bound<'_, PyAny>, prefix: &'static str) -> PyResult<Id> {
    value
        .cast::<PyString>()
        .ok()
        .and_then(|string| string.to_str().ok())
        .and_then(|text| Id::parse(text, prefix))
        .ok_or_else(|| refuse(value.py(), "invalid_id", (value, prefix)))
}

/// A value that is one of an enumeration's.
pub fn choice<T>(
    what: &'static str,
    value: &Bound<'_, PyAny>,
    names: &'static [&'static str],
    parse: impl Fn(&str) -> Option<T>,
) -> PyResult<T> {
    value
        .cast::<PyString>()
        .ok()
        .and_then(|string| string.to_str().ok())
        .and_then(parse)
        .ok_or_else(|| refuse(value.py(), "not_a_choice", (what, value, names.to_vec())))
}

/// A payload as JSON text.
pub enum Payload<'py> {
    Short(ArrayString<SHORT>),
    Own(String),
    Shared(Bound<'py, PyBytes>),
}

/// What short text and its quotes have room in: it needs no memory of its own on its way.
const SHORT: usize = 62;

impl Payload<'_> {
    pub fn text(&self) -> PyResult<&str> {
        match self {
            Payload::Short(text) => Ok(text),
            Payload::Own(text) => Ok(text),
            Payload::Shared(bytes) => utf8(bytes.as_bytes()),
        }
    }
}

fn utf8(json: &[u8]) -> PyResult<&str> {
    std::str::from_utf8(json).map_err(|_| PyValueError::new_err("a payload that is not UTF-8"))
}

/// The JSON of a value; `None` for none. The commonest kinds are written here, the rest by `stepwell.encoding`.
pub fn payload<'py>(value: Option<&Bound<'py, PyAny>>) -> PyResult<Option<Payload<'py>>> {
    let Some(value) = value.filter(|value| !value.is_none()) else {
        return Ok(None);
    };
    if let Ok(string) = value.cast_exact::<PyString>() {
        if let Ok(text) = string.to_str()
            && text.len() < MAX_PAYLOAD_BYTES / 6
        {
            return quoted(text).map(Some);
        }
    } else if let Ok(flag) = value.cast_exact::<PyBool>() {
        let word = if flag.is_true() { "true" } else { "false" };
        return Ok(Some(Payload::Own(word.to_owned())));
    } else if value.is_exact_instance_of::<PyInt>()
        && let Ok(number) = value.extract::<i64>()
    {
        return Ok(Some(Payload::Own(number.to_string())));
    }
    shared(ENCODE.get(value.py())?.call1((value,))?).map(Some)
}

/// What `encode` gave; `None` for none.
pub fn written<'py>(value: Option<&Bound<'py, PyAny>>) -> PyResult<Option<Payload<'py>>> {
    value.map(|json| shared(json.clone())).transpose()
}

/// The JSON of a value, as `stepwell.encoding.encode` has it; of a tuple of the commonest kinds it is written here.
#[pyfunction]
pub fn encode<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    if let Ok(items) = value.cast_exact::<PyTuple>() {
        let mut json = Vec::with_capacity(64);
        json.push(b'[');
        let all = items.iter_borrowed().enumerate().all(|(index, item)| {
            if index > 0 {
                json.push(b',');
            }
            push_plain(&mut json, item)
        });
        json.push(b']');
        if all && json.len() <= MAX_PAYLOAD_BYTES {
            return Ok(PyBytes::new(py, &json).into_any());
        }
    }
    ENCODE.get(py)?.call1((value,))
}

/// Writes a value of one of the commonest kinds, and says whether it was one.
fn push_plain(json: &mut Vec<u8>, value: Borrowed<'_, '_, PyAny>) -> bool {
    if value.is_none() {
        json.extend_from_slice(b"null");
    } else if let Ok(string) = value.cast_exact::<PyString>() {
        let Ok(text) = string.to_str() else { return false };
        push_string(json, text);
    } else if let Ok(flag) = value.cast_exact::<PyBool>() {
        json.extend_from_slice(if flag.is_true() { b"true" } else { b"false" });
    } else if value.is_exact_instance_of::<PyInt>()
        && let Ok(number) = value.extract::<i64>()
    {
        json.extend_from_slice(number.to_string().as_bytes());
    } else {
        return false;
    }
    true
}

fn quoted<'py>(text: &str) -> PyResult<Payload<'py>> {
    if text.len() + 2 <= SHORT && stepwell_core::is_plain(text) {
        let mut json = ArrayString::new();
        json.push('"');
        json.push_str(text);
        json.push('"');
        return Ok(Payload::Short(json));
    }
    let mut json = Vec::with_capacity(text.len() + 16);
    push_string(&mut json, text);
    Ok(Payload::Own(String::from_utf8(json)?))
}

/// The JSON of an `error` or of a `source`.
pub fn encoded<'py>(what: &'static str, value: &Bound<'py, PyAny>) -> PyResult<Payload<'py>> {
    shared(ENCODED.get(value.py())?.call1((what, value))?)
}

fn shared(json: Bound<'_, PyAny>) -> PyResult<Payload<'_>> {
    Ok(Payload::Shared(json.cast_into::<PyBytes>()?))
}

/// A payload as a user sees it, decoded afresh.
pub fn decoded<'py>(py: Python<'py>, json: Option<String>) -> PyResult<Option<Bound<'py, PyAny>>> {
    json.map(|json| DECODE.get(py)?.call1((PyBytes::new(py, json.as_bytes()),))).transpose()
}

/// An error as a user sees it.
pub fn shown_error<'py>(
    py: Python<'py>,
    json: Option<String>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    json.map(|json| ERROR_FROM_JSON.get(py)?.call1((PyBytes::new(py, json.as_bytes()),)))
        .transpose()
}

/// A time as an aware datetime.
pub fn datetime<'py>(py: Python<'py>, at: Option<i64>) -> PyResult<Option<Bound<'py, PyAny>>> {
    at.map(|at| FROM_NS.get(py)?.call1((at,))).transpose()
}

/// The members of an enumeration of `stepwell._spec`, by position.
pub struct Members {
    name: &'static str,
    names: &'static [&'static str],
    cell: PyOnceLock<Vec<Py<PyAny>>>,
}

impl Members {
    pub const fn new(name: &'static str, names: &'static [&'static str]) -> Members {
        Members { name, names, cell: PyOnceLock::new() }
    }

    pub fn all(&self, py: Python<'_>) -> PyResult<&[Py<PyAny>]> {
        let members = self.cell.get_or_try_init(py, || {
            let class = py.import("stepwell._spec")?.getattr(self.name)?;
            let members = self.names.iter().map(|name| class.call1((*name,)).map(Bound::unbind));
            members.collect::<PyResult<Vec<_>>>()
        });
        members.map(Vec::as_slice)
    }

    pub fn get<'py>(&self, py: Python<'py>, position: usize) -> PyResult<Bound<'py, PyAny>> {
        let member = self.all(py)?.get(position);
        member
            .map(|member| member.bind(py).clone())
            .ok_or_else(|| refuse(py, "internal", ("a member",)))
    }
}

/// The kind's name for a message.
pub fn missing(py: Python<'_>, kind: Kind, field: &str) -> PyErr {
    refuse(py, "missing_field", (kind.name(), field))
}
