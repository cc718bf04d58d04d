//! `kmirror.Mirror`: a configuration that was checked when it was made, and the mirror that runs with it.
//!
//! The configuration stays, so a mirror that was stopped can be started again. The lock is held for a moment only and never
//! while the interpreter or the engine is waited for.

use std::ffi::CString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::config::{Config, Properties, Warning};
use engine::{Error, ErrorKind, State};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::errors::to_python;
use crate::event::Event;
use crate::{config, enter};

/// Copies topics of one Kafka cluster to another: same offsets, exactly once.
///
/// source and target are the properties of the clients, with the dotted keys that every Kafka client has; every property of the
/// mirror is a keyword, with underscores for dots. All problems are told at once, by a ConfigError.
///
/// In a with statement it starts at the beginning and stops at the end.
#[pyclass(frozen, module = "kmirror")]
pub(crate) struct Mirror {
    config: Config,
    phase: Mutex<Phase>,
}

enum Phase {
    NotStarted,
    Starting,
    Started(Arc<engine::Mirror>),
}

impl Mirror {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn started(&self, py: Python<'_>) -> PyResult<Arc<engine::Mirror>> {
        match &*self.phase() {
            Phase::Started(mirror) => Ok(mirror.clone()),
            Phase::NotStarted | Phase::Starting => Err(wrong_state(py, "the mirror has not been started")),
        }
    }

    /// Goes on to starting, and returns what there was before.
    fn begin(&self, py: Python<'_>) -> PyResult<Phase> {
        let mut phase = self.phase();
        let running = match &*phase {
            Phase::NotStarted => false,
            Phase::Starting => true,
            Phase::Started(mirror) => !matches!(mirror.state(), State::Stopped | State::Promoted | State::Failed),
        };
        if running {
            return Err(wrong_state(py, "the mirror has been started already"));
        }
        Ok(std::mem::replace(&mut *phase, Phase::Starting))
    }
}

fn wrong_state(py: Python<'_>, message: &str) -> PyErr {
    to_python(py, &Error::new(ErrorKind::State, message))
}

fn warn(py: Python<'_>, warnings: &[Warning]) -> PyResult<()> {
    let category = py.import("kmirror.errors")?.getattr("KmirrorWarning")?;
    for warning in warnings {
        let text = CString::new(warning.to_string().replace('\0', "\u{fffd}")).unwrap_or_default();
        PyErr::warn(py, &category, &text, 1)?;
    }
    Ok(())
}

#[pymethods]
impl Mirror {
    #[new]
    #[pyo3(signature = (*, source = None, target = None, **properties))]
    fn new(
        py: Python<'_>,
        source: Option<&Bound<'_, PyDict>>,
        target: Option<&Bound<'_, PyDict>>,
        properties: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let mut gathered = Properties::new();
        for (side, given) in [("source", source), ("target", target)] {
            if let Some(given) = given {
                config::set_client(&mut gathered, side, given)?;
            }
        }
        for (keyword, value) in properties.into_iter().flatten() {
            config::set(&mut gathered, &keyword.extract::<String>()?, &value)?;
        }
        let (config, warnings) = enter::call(py, || gathered.build())?;
        warn(py, &warnings)?;
        Ok(Mirror { config, phase: Mutex::new(Phase::NotStarted) })
    }

    /// Connects to both clusters, prepares the topics and begins to copy; returns when copying has begun.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        let before = self.begin(py)?;
        let config = self.config.clone();
        match enter::interruptible(py, move || engine::Mirror::start(config)) {
            Ok(mirror) => *self.phase() = Phase::Started(Arc::new(mirror)),
            Err(error) => {
                *self.phase() = before;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Stops fetching and sending, and waits so many seconds at most for answers under way. What was not sent is copied by the
    /// next start. Stopping twice is no error.
    #[pyo3(signature = (timeout = 10.0))]
    fn stop(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let timeout = enter::timeout(timeout)?;
        let mirror = self.started(py)?;
        enter::interruptible(py, move || mirror.stop(timeout))
    }

    /// Stops fetching. What is under way is finished; connections stay open.
    fn pause(&self, py: Python<'_>) -> PyResult<()> {
        let mirror = self.started(py)?;
        enter::call(py, || mirror.pause())
    }

    /// Goes on after pause().
    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        let mirror = self.started(py)?;
        enter::call(py, || mirror.resume())
    }

    /// Waits until every selected partition has reached the source's end as it is at the time of this call. Raises the error of a
    /// partition that never will, and TimedOut after so many seconds.
    #[pyo3(signature = (timeout = None))]
    fn wait_until_caught_up(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let timeout = enter::timeout(timeout)?;
        let mirror = self.started(py)?;
        enter::wait(py, |give_up| mirror.wait_until_caught_up_or(timeout, give_up))
    }

    /// The next event, or None if there is none within so many seconds. Each event goes to one caller.
    #[pyo3(signature = (timeout = 0.0))]
    fn poll(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Event>> {
        let timeout = enter::timeout(timeout)?;
        let mirror = self.started(py)?;
        let event = enter::poll(py, timeout, |slice| mirror.poll(slice))?;
        event.map(|event| Event::new(py, event)).transpose()
    }

    /// Everything the mirror knows of itself, now.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let mirror = self.started(py)?;
        let status = enter::call(py, || {
            serde_json::to_string(&mirror.status())
                .map_err(|error| Error::new(ErrorKind::Internal, format!("the status cannot be written: {error}")))
        })?;
        py.import("json")?.call_method1("loads", (status,))
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().start(slf.py())?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.stop(py, Some(10.0))
    }

    fn __repr__(&self) -> String {
        let state = match &*self.phase() {
            Phase::NotStarted => "not started",
            Phase::Starting => State::Starting.name(),
            Phase::Started(mirror) => mirror.state().name(),
        };
        let name = self.config.name.as_deref().or(self.config.group_id.as_deref());
        format!("<kmirror.Mirror {} {state}>", name.unwrap_or("without a name"))
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        let Phase::Started(mirror) = std::mem::replace(&mut *self.phase(), Phase::NotStarted) else { return };
        let mut mirror = Some(mirror);
        // Its end is waited for, and that must not stop other Python threads.
        Python::try_attach(|py| py.detach(|| drop(mirror.take())));
        // An interpreter that is ending takes the engine's threads with it.
        std::mem::forget(mirror);
    }
}
