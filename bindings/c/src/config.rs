//! A configuration on its way: properties from calls and files, judged all together when a mirror starts.
//!
//! Nothing is judged here, so that a host hears of all problems at once and with the same words as from the command line.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::time::Instant;

use engine::config::{Properties, Side, TopicSelection};
use engine::{Callbacks, Error, ErrorKind, LogLevel, PromoteOptions, Result, VerifyOptions};

use crate::boundary::{argument, argument_mut, ask, boundary, c_string, hand_out, take_back, text, timeout, write};
use crate::callbacks::{Log, owned, warn};
use crate::cancellation::{given_up, kmirror_cancellation_t};
use crate::error::kmirror_error_t;
use crate::report::kmirror_report_t;

/// Where records are read.
pub const KMIRROR_SOURCE: c_int = 0;
/// Where records are written.
pub const KMIRROR_TARGET: c_int = 1;
/// Both, and the mirror itself: keys of a cluster begin with "source." or "target.".
pub const KMIRROR_MIRROR: c_int = 2;

/// Properties for a mirror. Use it from one thread at a time.
pub struct kmirror_config_t {
    pub(crate) properties: Properties,
    warnings: CString,
    log: Log,
}

impl kmirror_config_t {
    pub(crate) fn build(&self) -> Result<engine::Config> {
        self.properties.build().map(|(config, _warnings)| config)
    }

    /// Has mirrors log there.
    pub(crate) fn log_to(&mut self, log: Log) {
        self.log = log;
    }

    /// What a mirror calls from its beginning.
    pub(crate) fn callbacks(&self) -> Result<Callbacks> {
        let callbacks = Callbacks::new();
        match &self.log {
            Log::Unset => callbacks.set_log(LogLevel::Warn, Some(Box::new(warn)))?,
            Log::Nowhere => {}
            Log::To(level, logging) => callbacks.set_log(*level, Some(owned(logging.clone())))?,
        }
        Ok(callbacks)
    }
}

/// Gives what `make` makes of a configuration, until it is cancelled, to the caller through a pointer.
///
/// # Safety
/// The configuration and the cancellation live as long as the call, or are NULL, and no other thread changes the configuration; the
/// place is as for [`write`].
pub(crate) unsafe fn make_of<T>(
    config: *const kmirror_config_t,
    cancellation: *const kmirror_cancellation_t,
    place: *mut *mut T,
    name: &str,
    make: impl FnOnce(&kmirror_config_t, &mut dyn FnMut() -> bool) -> Result<T>,
) -> Result<()> {
    // SAFETY: the caller vouches for it.
    let config = unsafe { argument(config, ErrorKind::Config, "config") }?;
    // SAFETY: the caller vouches for it.
    let mut give_up = unsafe { given_up(cancellation) };
    // SAFETY: the caller vouches for it.
    unsafe { write(place, name, || make(config, &mut give_up)) }
}

/// An empty configuration. Free it with kmirror_config_free; it may go as soon as the mirror has started.
#[unsafe(no_mangle)]
pub extern "C" fn kmirror_config_new() -> *mut kmirror_config_t {
    boundary!(else ptr::null_mut(), {
       hand_out(kmirror_config_t { properties: Properties::new(), warnings: CString::default(), log: Log::Unset })
    })
}

/// Sets a property, for example "source.bootstrap.servers" or "topics". The last value of a key counts, and it counts
/// before what a file says. Whether key and value are right is told by kmirror_start, for all of them at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_config_set(
    config: *mut kmirror_config_t,
    key: *const c_char,
    value: *const c_char,
) -> *mut kmirror_error_t {
    boundary!({
        // SAFETY: the header asks for a configuration that lives and that no other thread uses.
        let config = unsafe { argument_mut(config, ErrorKind::Config, "config") }?;
        // SAFETY: the header asks for strings that end with a NUL.
        let (key, value) = unsafe { (text(key, "key")?, text(value, "value")?) };
        config.properties.set(key, value);
        Ok(())
    })
}

/// Reads a properties file: of a consumer for KMIRROR_SOURCE and of a producer for KMIRROR_TARGET, whose keys have no "source." or
/// "target." before them, or of a mirror for KMIRROR_MIRROR, whose keys have.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_config_load(
    config: *mut kmirror_config_t,
    side: c_int,
    path: *const c_char,
) -> *mut kmirror_error_t {
    boundary!({
        // SAFETY: the header asks for a configuration that lives and that no other thread uses.
        let config = unsafe { argument_mut(config, ErrorKind::Config, "config") }?;
        // SAFETY: the header asks for a string that ends with a NUL.
        let path = unsafe { text(path, "path") }?;
        match side {
            KMIRROR_SOURCE => config.properties.load_client_file(Side::Source, path).map(|_| ()),
            KMIRROR_TARGET => config.properties.load_client_file(Side::Target, path).map(|_| ()),
            KMIRROR_MIRROR => config.properties.load_file(path).map(|_| ()),
            _ => {
                let message = format!("side is {side}: it takes KMIRROR_SOURCE or KMIRROR_TARGET, or KMIRROR_MIRROR");
                Err(Error::new(ErrorKind::Config, message))
            }
        }
    })
}

/// Tells all problems at once, as kmirror_start would before it connects, and keeps the warnings for kmirror_config_warnings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_config_check(config: *mut kmirror_config_t) -> *mut kmirror_error_t {
    boundary!({
        // SAFETY: the header asks for a configuration that lives and that no other thread uses.
        let config = unsafe { argument_mut(config, ErrorKind::Config, "config") }?;
        let (_, warnings) = config.properties.build()?;
        let lines: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        config.warnings = c_string(&lines.join("\n"));
        Ok(())
    })
}

/// What kmirror_config_check has found that works, but perhaps not as meant, a line each; empty if there is nothing. It lives until the
/// next check.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_config_warnings(config: *const kmirror_config_t) -> *const c_char {
    const NOTHING: &CStr = c"";
    boundary!(else NOTHING.as_ptr(), {
        // SAFETY: the header asks for a configuration that lives, or NULL.
        unsafe { ask(config, NOTHING.as_ptr(), |config| config.warnings.as_ptr()) }
    })
}

/// Looks whether a mirror would run, and gives what was found to the caller in *report: connections to every broker, permissions, topics,
/// clocks; that something is wrong is no error. Writes nothing. cancellation may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_check(
    config: *const kmirror_config_t,
    cancellation: *const kmirror_cancellation_t,
    report: *mut *mut kmirror_report_t,
) -> *mut kmirror_error_t {
    boundary!({
        let check = |config: &kmirror_config_t, give_up: &mut dyn FnMut() -> bool| {
            Ok(kmirror_report_t::of_check(&engine::check_or(config.build()?, give_up)?))
        };
        // SAFETY: as asked for by the header.
        unsafe { make_of(config, cancellation, report, "report", check) }
    })
}

/// Works out what a mirror would do, also what it could not, and gives it to the caller in *report. Connects to both clusters and
/// writes nothing. cancellation may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_plan(
    config: *const kmirror_config_t,
    cancellation: *const kmirror_cancellation_t,
    report: *mut *mut kmirror_report_t,
) -> *mut kmirror_error_t {
    boundary!({
        let plan = |config: &kmirror_config_t, give_up: &mut dyn FnMut() -> bool| {
            Ok(kmirror_report_t::of_plan(&engine::plan_or(config.build()?, give_up)?))
        };
        // SAFETY: as asked for by the header.
        unsafe { make_of(config, cancellation, report, "report", plan) }
    })
}

/// Compares what consumers would read from both clusters, without a mirror, and gives it to the caller in *report; that there are
/// differences is no error. topics are patterns that select from the configured ones, NULL is all; sample is how much of a partition,
/// as "5%" or as a number of offsets, NULL is everything; cancellation may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_config_verify(
    config: *const kmirror_config_t,
    topics: *const c_char,
    sample: *const c_char,
    timeout_ms: i64,
    cancellation: *const kmirror_cancellation_t,
    report: *mut *mut kmirror_report_t,
) -> *mut kmirror_error_t {
    boundary!({
        // SAFETY: the header asks for a configuration that lives and that no other thread changes.
        let config = unsafe { argument(config, ErrorKind::Config, "config") }?;
        let mut options = VerifyOptions::default();
        if !topics.is_null() {
            // SAFETY: the header asks for a string that ends with a NUL.
            options.topics = Some(TopicSelection::new(unsafe { text(topics, "topics") }?, "")?);
        }
        if !sample.is_null() {
            // SAFETY: the header asks for a string that ends with a NUL.
            let sample = unsafe { text(sample, "sample") }?;
            options.sample = sample.parse().map_err(|wrong: String| Error::new(ErrorKind::Config, wrong))?;
        }
        // SAFETY: the header asks for a cancellation that lives as long as the call, or NULL.
        let mut give_up = unsafe { given_up(cancellation) };
        let (started, limit) = (Instant::now(), timeout(timeout_ms));
        let verify = || {
            let found = engine::verify_or(config.build()?, options, |_| give_up() || started.elapsed() > limit)?;
            Ok(kmirror_report_t::of_verification(found))
        };
        // SAFETY: the header asks for room for a pointer.
        unsafe { write(report, "report", verify) }
    })
}

/// Ends the mirror of this configuration for a switch-over from outside, as kmirror_promote does for one that runs here: it has to be
/// stopped, or its process to be gone. With force also when not everything can be copied in time; the report says what is missing.
/// cancellation may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_config_promote(
    config: *const kmirror_config_t,
    force: bool,
    timeout_ms: i64,
    cancellation: *const kmirror_cancellation_t,
    report: *mut *mut kmirror_report_t,
) -> *mut kmirror_error_t {
    boundary!({
        let promote = |config: &kmirror_config_t, give_up: &mut dyn FnMut() -> bool| {
            let mut options = PromoteOptions::default();
            (options.timeout, options.force) = (timeout(timeout_ms), force);
            Ok(kmirror_report_t::of_promotion(&engine::promote_or(config.build()?, options, give_up)?))
        };
        // SAFETY: as asked for by the header.
        unsafe { make_of(config, cancellation, report, "report", promote) }
    })
}

/// Frees a configuration. Mirrors that were started with it go on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_config_free(config: *mut kmirror_config_t) {
    boundary!(else (), {
        // SAFETY: the header asks for an object that was not freed yet, or NULL.
        unsafe { take_back(config) }
    })
}
