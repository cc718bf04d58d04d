//! What a mirror has to tell, as Python objects that do not change.
//!
//! Their names are those of the events and fields of every other interface.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors;

/// How far the target is behind.
#[pyclass(frozen, get_all, eq, module = "kmirror")]
#[derive(Clone, PartialEq)]
pub(crate) struct Lag {
    /// Offsets that the source has and the target has not.
    records: u64,
    /// Bytes of them, estimated.
    bytes: u64,
    /// Milliseconds since the newest replicated record was produced, 0 when nothing is behind.
    ms: u64,
}

#[pymethods]
impl Lag {
    #[new]
    #[pyo3(signature = (records, bytes, ms))]
    fn new(records: u64, bytes: u64, ms: u64) -> Self {
        Lag { records, bytes, ms }
    }

    /// The fields by name.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let fields = PyDict::new(py);
        fields.set_item("records", self.records)?;
        fields.set_item("bytes", self.bytes)?;
        fields.set_item("ms", self.ms)?;
        Ok(fields)
    }

    fn __repr__(&self) -> String {
        format!("Lag(records={}, bytes={}, ms={})", self.records, self.bytes, self.ms)
    }
}

/// Something a mirror has to tell.
#[pyclass(frozen, get_all, module = "kmirror")]
pub(crate) struct Event {
    /// What it tells, for example "lag".
    kind: &'static str,
    /// When it happened, in milliseconds since 1970.
    timestamp_ms: i64,
    /// The event as a sentence.
    message: String,
    /// The state, if it is about another state.
    state: Option<&'static str>,
    /// The topic it is about; None for all.
    topic: Option<String>,
    /// The partition it is about.
    partition: Option<i32>,
    /// The consumer group it is about.
    group: Option<String>,
    /// The lag, if it is about lag.
    lag: Option<Py<Lag>>,
    /// The exception that tells the reason, if there is one.
    error: Option<Py<PyAny>>,
}

impl Event {
    pub(crate) fn new(py: Python<'_>, event: &engine::Event) -> PyResult<Self> {
        let lag = |lag: engine::Lag| Py::new(py, Lag { records: lag.records, bytes: lag.bytes, ms: lag.ms });
        let error = |error: &engine::Error| errors::exception(py, error).map(Bound::unbind);
        Ok(Event {
            kind: event.kind.name(),
            timestamp_ms: event.timestamp_ms,
            message: event.message.clone(),
            state: event.state.map(engine::State::name),
            topic: event.topic.as_deref().map(str::to_owned),
            partition: event.partition,
            group: event.group.as_deref().map(str::to_owned),
            lag: event.lag.map(lag).transpose()?,
            error: event.error.as_ref().map(error).transpose()?,
        })
    }
}

#[pymethods]
impl Event {
    fn __repr__(&self) -> String {
        format!("<kmirror.Event {}: {}>", self.kind, self.message)
    }
}
