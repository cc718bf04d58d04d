//! From the arguments of a call to properties: only how a Python value is written as text is decided here.
//!
//! Whether keys and values are right is told by the engine, for all of them at once.

use std::path::PathBuf;

use engine::config::Properties;
use engine::config::properties::{self, Scope};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

/// Puts the properties of a client into the flat set, behind the prefix of its side.
pub(crate) fn set_client(properties: &mut Properties, side: &str, given: &Bound<'_, PyDict>) -> PyResult<()> {
    for (key, value) in given {
        let key = key.extract::<String>().map_err(|_| wrong_type(&format!("a key of {side}"), "str", &key))?;
        let key = format!("{side}.{key}");
        if let Some(text) = text(&key, &value)? {
            properties.set(key, text);
        }
    }
    Ok(())
}

/// Sets a property by its keyword, which is its key with underscores for dots, and for the few dashes.
pub(crate) fn set(properties: &mut Properties, keyword: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Some(text) = text(keyword, value)? {
        properties.set(key_of(keyword), text);
    }
    Ok(())
}

fn key_of(keyword: &str) -> String {
    let mut dashed = properties::table().map(|property| property.key).filter(|key| key.contains('-'));
    let key = dashed.find(|key| key.replace(['.', '-'], "_") == keyword);
    key.map_or_else(|| keyword.replace('_', "."), str::to_owned)
}

/// The text of a value; `None` for Python's, which leaves a property as it is by default.
pub(crate) fn text(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if value.is_none() {
        return Ok(None);
    }
    if let Ok(items) = value.cast::<PyList>() {
        return list(name, items.iter()).map(Some);
    }
    if let Ok(items) = value.cast::<PyTuple>() {
        return list(name, items.iter()).map(Some);
    }
    if let Ok(pairs) = value.cast::<PyDict>() {
        let pair = |(key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
            Ok(format!("{}={}", item(name, &key)?, item(name, &value)?))
        };
        return Ok(Some(pairs.iter().map(pair).collect::<PyResult<Vec<_>>>()?.join(",")));
    }
    plain(name, value).map(Some)
}

fn list<'py>(name: &str, items: impl Iterator<Item = Bound<'py, PyAny>>) -> PyResult<String> {
    Ok(items.map(|value| item(name, &value)).collect::<PyResult<Vec<_>>>()?.join(","))
}

/// One of several values, which are written with commas between them.
fn item(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = plain(name, value)?;
    if text.contains(',') {
        // The text itself may be a secret.
        return Err(PyValueError::new_err(format!(
            "{name}: commas separate entries, so there can be none in an entry"
        )));
    }
    Ok(text)
}

/// A text that is not shown: a password. Where a property takes a text it takes this, too.
#[pyclass(frozen, module = "kmirror")]
pub(crate) struct Secret(String);

#[pymethods]
impl Secret {
    #[new]
    fn new(text: String) -> Self {
        Secret(text)
    }

    /// The text itself.
    fn reveal(&self) -> &str {
        &self.0
    }

    fn __repr__(&self) -> &'static str {
        "Secret([hidden])"
    }
}

fn plain(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(secret) = value.cast::<Secret>() {
        return Ok(secret.get().0.clone());
    }
    if let Ok(truth) = value.cast::<PyBool>() {
        return Ok(truth.is_true().to_string());
    }
    if value.is_instance_of::<PyString>() || value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>() {
        return Ok(value.str()?.to_string());
    }
    if let Ok(path) = value.extract::<PathBuf>() {
        return Ok(path.to_string_lossy().into_owned());
    }
    Err(wrong_type(name, "str, int, float, bool, or a list, tuple or dict of them", value))
}

fn wrong_type(name: &str, takes: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let given = value.get_type().name().map_or_else(|_| "something else".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("{name} takes {takes}, not {given}"))
}

/// The keywords of a mirror, each with its key and its meaning: the engine's table of properties.
#[pyfunction]
#[pyo3(name = "properties")]
pub(crate) fn properties_of_mirror() -> Vec<(String, &'static str, &'static str)> {
    let of_mirror = properties::table().filter(|property| property.scope == Scope::Mirror);
    of_mirror.map(|property| (property.key.replace(['.', '-'], "_"), property.key, property.meaning)).collect()
}
