//! What a mirror has to tell, as Python objects that do not change.
//!
//! Their names are those of the events and fields of every other interface.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors;

/// How far the target is behind, as far as both clusters were heard. What is not known is None, also in sums.
#[pyclass(frozen, get_all, eq, module = "kmirror")]
#[derive(Clone, PartialEq)]
pub(crate) struct Lag {
    /// Offsets that the source has and the target has not.
    records: Option<u64>,
    /// Bytes of them, estimated.
    bytes: Option<u64>,
    /// How old the oldest record is that the source has and the target has not, in milliseconds, as far as that is known; 0 when
    /// nothing is behind.
    ms: Option<u64>,
    /// When the source was heard last, of the partition that was heard the longest ago, in milliseconds since 1970.
    source_as_of_ms: Option<i64>,
    /// When the target was heard last.
    target_as_of_ms: Option<i64>,
}

#[pymethods]
impl Lag {
    #[new]
    #[pyo3(signature = (records, bytes, ms, source_as_of_ms = None, target_as_of_ms = None))]
    fn new(
        records: Option<u64>,
        bytes: Option<u64>,
        ms: Option<u64>,
        source_as_of_ms: Option<i64>,
        target_as_of_ms: Option<i64>,
    ) -> Self {
        Lag { records, bytes, ms, source_as_of_ms, target_as_of_ms }
    }

    /// The fields by name.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let fields = PyDict::new(py);
        fields.set_item("records", self.records)?;
        fields.set_item("bytes", self.bytes)?;
        fields.set_item("ms", self.ms)?;
        fields.set_item("source_as_of_ms", self.source_as_of_ms)?;
        fields.set_item("target_as_of_ms", self.target_as_of_ms)?;
        Ok(fields)
    }

    fn __repr__(&self) -> String {
        let text = |number: Option<u64>| number.map_or_else(|| "None".to_owned(), |number| number.to_string());
        format!("Lag(records={}, bytes={}, ms={})", text(self.records), text(self.bytes), text(self.ms))
    }
}

impl Lag {
    fn of(lag: engine::Lag) -> Self {
        let engine::AsOf { source_ms, target_ms, .. } = lag.as_of;
        Lag::new(lag.records, lag.bytes, lag.ms, source_ms, target_ms)
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
        let lag = |lag: engine::Lag| Py::new(py, Lag::of(lag));
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
