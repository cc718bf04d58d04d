//! Errors of the engine as exceptions.
//!
//! The classes are written in Python, because there a class can have two bases (`ConfigError` is a `ValueError` too). What
//! they know of their kinds comes from the engine's table, by [`error_kinds`].

use engine::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The table of errors: number, name, whether it is retriable, whether it is fatal, and a line of help.
#[pyfunction]
pub(crate) fn error_kinds() -> Vec<(i32, &'static str, bool, bool, &'static str)> {
    let row = |kind: &ErrorKind| (kind.code(), kind.name(), kind.is_retriable(), kind.is_fatal(), kind.help());
    ErrorKind::ALL.iter().map(row).collect()
}

/// The exception of an error.
pub(crate) fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    exception(py, error).map_or_else(|problem| problem, PyErr::from_value)
}

/// The exception as an object.
pub(crate) fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    let place = PyDict::new(py);
    place.set_item("kafka_code", error.kafka_code())?;
    place.set_item("topic", error.topic())?;
    place.set_item("partition", error.partition())?;
    place.set_item("offset", error.offset())?;
    let class = py.import("kmirror.errors")?.getattr("BY_NAME")?.get_item(error.kind().name())?;
    class.call((error.message(),), Some(&place))
}

/// Tells of an exception that nobody can catch, as `sys.unraisablehook` does.
#[pyfunction]
pub(crate) fn unraisable(error: Bound<'_, PyAny>, callback: &Bound<'_, PyAny>) {
    let py = callback.py();
    PyErr::from_value(error).write_unraisable(py, Some(callback));
}
