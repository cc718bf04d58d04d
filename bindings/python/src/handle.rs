//! What `kmirror.Mirror` holds: a configuration that was checked when it was made, and the mirror that runs with it.
//!
//! The configuration stays, so a mirror that was stopped can be started again. The lock is held for a moment only and never
//! while the interpreter or the engine is waited for. Results are JSON, of which Python makes its objects.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use engine::config::{Config, Properties, Side, TopicSelection};
use engine::{Error, ErrorKind, PromoteOptions, Sample, State, VerifyOptions, VerifyProgress};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde::Serialize;

use crate::cancel::{Cancel, flag};
use crate::config;
use crate::enter::{self, Polled};
use crate::errors::{self, to_python};
use crate::event::Event;
use crate::feed::Feed;

/// A configuration, and the mirror that runs with it.
#[pyclass(frozen, module = "kmirror._kmirror")]
pub(crate) struct Handle {
    config: Config,
    /// What the configuration has that works, but perhaps not as meant.
    #[pyo3(get)]
    warnings: Vec<String>,
    phase: Mutex<Phase>,
    /// The process that has started it last; 0 if none has. Looked at before the lock, which a fork may leave locked.
    process: AtomicU32,
}

enum Phase {
    NotStarted,
    Starting,
    Started(Arc<engine::Mirror>),
}

impl Handle {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error in a fork of the process that has started it.
    fn check_process(&self, py: Python<'_>) -> PyResult<()> {
        let (process, here) = (self.process.load(Ordering::Relaxed), std::process::id());
        if process == 0 || process == here {
            return Ok(());
        }
        let message = format!(
            "the mirror belongs to process {process}, and this is process {here}, which was forked from it: start a mirror in the \
             process that uses it, and let multiprocessing spawn instead of fork"
        );
        Err(to_python(py, &Error::new(ErrorKind::Forked, message)))
    }

    fn started(&self, py: Python<'_>) -> PyResult<Arc<engine::Mirror>> {
        self.check_process(py)?;
        match &*self.phase() {
            Phase::Started(mirror) => Ok(mirror.clone()),
            Phase::NotStarted | Phase::Starting => Err(wrong_state(py, "the mirror has not been started")),
        }
    }

    /// Goes on to starting, and returns what there was before.
    fn begin(&self, py: Python<'_>) -> PyResult<Phase> {
        self.check_process(py)?;
        let mut phase = self.phase();
        let running = match &*phase {
            Phase::NotStarted => false,
            Phase::Starting => true,
            Phase::Started(mirror) => !mirror.has_ended(),
        };
        if running {
            return Err(wrong_state(py, "the mirror has been started already"));
        }
        self.process.store(std::process::id(), Ordering::Relaxed);
        Ok(std::mem::replace(&mut *phase, Phase::Starting))
    }
}

fn wrong_state(py: Python<'_>, message: &str) -> PyErr {
    to_python(py, &Error::new(ErrorKind::State, message))
}

fn json(result: &impl Serialize) -> engine::Result<String> {
    serde_json::to_string(result)
        .map_err(|error| Error::new(ErrorKind::Internal, format!("the result cannot be written: {error}")))
}

/// Calls what watches a wait, if something does.
fn tell(py: Python<'_>, watch: Option<&Py<PyAny>>, progress: &impl Serialize) -> PyResult<()> {
    let Some(watch) = watch else { return Ok(()) };
    let text = json(progress).map_err(|error| to_python(py, &error))?;
    watch.call1(py, (text,)).map(drop)
}

#[pymethods]
impl Handle {
    #[new]
    fn new(
        py: Python<'_>,
        files: Vec<(String, PathBuf)>,
        source: &Bound<'_, PyDict>,
        target: &Bound<'_, PyDict>,
        properties: &Bound<'_, PyDict>,
    ) -> PyResult<Self> {
        let mut gathered = Properties::new();
        for (side, path) in files {
            let loaded = match side.as_str() {
                "source" => gathered.load_client_file(Side::Source, path),
                "target" => gathered.load_client_file(Side::Target, path),
                _ => gathered.load_file(path),
            };
            loaded.map_err(|error| to_python(py, &error))?;
        }
        config::set_client(&mut gathered, "source", source)?;
        config::set_client(&mut gathered, "target", target)?;
        for (keyword, value) in properties {
            config::set(&mut gathered, &keyword.extract::<String>()?, &value)?;
        }
        let (config, warnings) = enter::call(py, || gathered.build())?;
        let warnings = warnings.iter().map(ToString::to_string).collect();
        Ok(Handle { config, warnings, phase: Mutex::new(Phase::NotStarted), process: AtomicU32::new(0) })
    }

    /// Its name as it is configured.
    #[getter]
    fn name(&self) -> Option<&str> {
        self.config.name.as_deref().or(self.config.group_id.as_deref())
    }

    /// Its state.
    #[getter]
    fn state(&self, py: Python<'_>) -> PyResult<&'static str> {
        self.check_process(py)?;
        Ok(match &*self.phase() {
            Phase::NotStarted => "not started",
            Phase::Starting => State::Starting.name(),
            Phase::Started(mirror) => mirror.state().name(),
        })
    }

    /// Its state, and the exception of what keeps it or a part of it from going on, if something does.
    fn trouble<'py>(&self, py: Python<'py>) -> PyResult<(&'static str, Option<Bound<'py, PyAny>>)> {
        let mirror = self.started(py)?;
        let (state, trouble) = enter::call(py, || {
            let status = mirror.status();
            Ok((status.state.name(), status.trouble()))
        })?;
        Ok((state, trouble.map(|error| errors::exception(py, &error)).transpose()?))
    }

    /// Whether it was started and nothing more happens.
    fn has_ended(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.started(py)?.has_ended())
    }

    fn start(&self, py: Python<'_>, feed: &Feed, cancel: Option<&Cancel>) -> PyResult<()> {
        let before = self.begin(py)?;
        let (config, callbacks) = (self.config.clone(), feed.callbacks.clone());
        let start = move |give_up: &mut dyn FnMut() -> bool| engine::Mirror::start_or(config, callbacks, give_up);
        match enter::interruptible(py, cancel, start) {
            Ok(mirror) => *self.phase() = Phase::Started(Arc::new(mirror)),
            Err(error) => {
                *self.phase() = before;
                return Err(error);
            }
        }
        Ok(())
    }

    fn stop(&self, py: Python<'_>, timeout: Option<f64>, cancel: Option<&Cancel>) -> PyResult<()> {
        let timeout = enter::timeout(timeout)?;
        let mirror = self.started(py)?;
        enter::interruptible(py, cancel, move |_| mirror.stop(timeout))
    }

    fn pause(&self, py: Python<'_>) -> PyResult<()> {
        let mirror = self.started(py)?;
        enter::call(py, || mirror.pause())
    }

    fn resume(&self, py: Python<'_>) -> PyResult<()> {
        let mirror = self.started(py)?;
        enter::call(py, || mirror.resume())
    }

    fn set_throttle(&self, py: Python<'_>, bytes_per_second: Option<u64>) -> PyResult<()> {
        let mirror = self.started(py)?;
        enter::call(py, || mirror.set_throttle(bytes_per_second))
    }

    fn wait_until_caught_up(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        cancel: Option<&Cancel>,
        watch: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let timeout = enter::timeout(timeout)?;
        let mirror = self.started(py)?;
        let watched = |py: Python<'_>| watch.as_ref().map_or(Ok(()), |watch| watch.call0(py).map(drop));
        enter::wait(py, &flag(cancel), watched, |give_up| mirror.wait_until_caught_up_or(timeout, give_up))
    }

    fn poll(&self, py: Python<'_>, timeout: Option<f64>, cancel: Option<&Cancel>) -> PyResult<Option<Event>> {
        let timeout = enter::timeout(timeout)?;
        let mirror = self.started(py)?;
        let ask = |slice| {
            let has_ended = mirror.has_ended();
            match mirror.poll(slice) {
                Some(event) => Polled::Found(event),
                None if has_ended => Polled::Never,
                None => Polled::NotYet,
            }
        };
        let event = enter::poll(py, timeout, &flag(cancel), ask)?;
        event.map(|event| Event::new(py, &event)).transpose()
    }

    /// A file descriptor that is readable while events wait.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        let mirror = self.started(py)?;
        enter::call(py, || mirror.event_fd())
    }

    fn status(&self, py: Python<'_>) -> PyResult<String> {
        let mirror = self.started(py)?;
        enter::call(py, || json(&mirror.status()))
    }

    /// The report, and the error that says what is wrong if something is.
    fn check<'py>(&self, py: Python<'py>, cancel: Option<&Cancel>) -> PyResult<(String, Option<Bound<'py, PyAny>>)> {
        self.check_process(py)?;
        let config = self.config.clone();
        let (report, error) = enter::interruptible(py, cancel, move |give_up| {
            let report = engine::check_or(config, give_up)?;
            Ok((json(&report)?, report.error()))
        })?;
        Ok((report, error.map(|error| errors::exception(py, &error)).transpose()?))
    }

    fn plan(&self, py: Python<'_>, cancel: Option<&Cancel>) -> PyResult<String> {
        self.check_process(py)?;
        let config = self.config.clone();
        enter::interruptible(py, cancel, move |give_up| json(&engine::plan_or(config, give_up)?))
    }

    /// The report, and the error that says what is wrong if something is.
    #[pyo3(signature = (topics, sample, sample_seed, max_differences, wait, allow, timeout, cancel, watch))]
    #[allow(clippy::too_many_arguments, reason = "they have names in Python")]
    fn verify<'py>(
        &self,
        py: Python<'py>,
        topics: Option<&Bound<'py, PyAny>>,
        sample: Option<&str>,
        sample_seed: Option<u64>,
        max_differences: usize,
        wait: f64,
        allow: (bool, bool),
        timeout: Option<f64>,
        cancel: Option<&Cancel>,
        watch: Option<Py<PyAny>>,
    ) -> PyResult<(String, Option<Bound<'py, PyAny>>)> {
        self.check_process(py)?;
        let (started, timeout) = (Instant::now(), enter::timeout(timeout)?);
        let mut options = VerifyOptions::default();
        if let Some(topics) = topics {
            let patterns = config::text("topics", topics)?.unwrap_or_default();
            options.topics = Some(enter::call(py, || TopicSelection::new(&patterns, ""))?);
        }
        if let Some(sample) = sample {
            let wrong = |text| Error::new(ErrorKind::Config, format!("sample: {text}"));
            options.sample = enter::call(py, || sample.parse::<Sample>().map_err(wrong))?;
        }
        options.sample_seed = sample_seed;
        options.max_differences = max_differences;
        options.wait = enter::timeout(Some(wait))?;
        (options.allow_behind, options.allow_expired) = allow;
        // A mirror that was started knows which partitions are parked.
        let mirror = match &*self.phase() {
            Phase::Started(mirror) => Some(mirror.clone()),
            _ => None,
        };
        let config = self.config.clone();
        let latest = Mutex::new(VerifyProgress::default());
        let of = || latest.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = |py: Python<'_>| tell(py, watch.as_ref(), &*of());
        let verify = |give_up: &mut dyn FnMut() -> bool| {
            let give_up = |now: &VerifyProgress| {
                *of() = *now;
                give_up() || started.elapsed() > timeout
            };
            let report = match mirror {
                Some(mirror) => mirror.verify_or(options, give_up),
                None => engine::verify_or(config, options, give_up),
            }?;
            Ok((json(&report)?, report.error()))
        };
        let (report, error) = enter::wait(py, &flag(cancel), watched, verify)?;
        Ok((report, error.map(|error| errors::exception(py, &error)).transpose()?))
    }

    fn promote(&self, py: Python<'_>, timeout: f64, force: bool, cancel: Option<&Cancel>) -> PyResult<String> {
        self.check_process(py)?;
        let mut options = PromoteOptions::default();
        options.timeout = enter::timeout(Some(timeout))?;
        options.force = force;
        let running = match &*self.phase() {
            Phase::Started(mirror) if !mirror.has_ended() => Some(mirror.clone()),
            _ => None,
        };
        let config = self.config.clone();
        enter::interruptible(py, cancel, move |give_up| {
            let report = match running {
                Some(mirror) => mirror.promote_or(options, give_up),
                None => engine::promote_or(config, options, give_up),
            };
            json(&report?)
        })
    }

    fn undo_promotion(&self, py: Python<'_>, cancel: Option<&Cancel>) -> PyResult<String> {
        self.check_process(py)?;
        let config = self.config.clone();
        enter::interruptible(py, cancel, move |_| json(&engine::undo_promotion(config)?))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.process.load(Ordering::Relaxed) != std::process::id() {
            // The lock may be held for ever by a thread that is not here.
            let phase = std::mem::replace(&mut self.phase, Mutex::new(Phase::NotStarted));
            if self.process.load(Ordering::Relaxed) != 0 {
                std::mem::forget(phase);
            }
            return;
        }
        let Phase::Started(mirror) = std::mem::replace(&mut *self.phase(), Phase::NotStarted) else { return };
        let mut mirror = Some(mirror);
        // Its end is waited for, and that must not stop other Python threads.
        Python::try_attach(|py| py.detach(|| drop(mirror.take())));
        // An interpreter that is ending takes the engine's threads with it.
        std::mem::forget(mirror);
    }
}
