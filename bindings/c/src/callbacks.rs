//! Calls the host: for events, for lag, for what is logged. The engine does it, from one thread; here is only what C needs.
//!
//! An opaque pointer travels with its function, and the function that ends its life is called when nobody can call with it any more.

use std::ffi::{c_char, c_int, c_void};
use std::io::Write;
use std::sync::Arc;

use engine::{ErrorKind, Event, LogLevel, LogRecord, Result};

use crate::boundary::{argument_mut, boundary, c_string};
use crate::config::kmirror_config_t;
use crate::error::kmirror_error_t;
use crate::event::kmirror_event_t;
use crate::mirror::{kmirror_t, mirror_of};

/// Somebody has to do something.
pub const KMIRROR_LOG_ERROR: c_int = 1;
/// It may pass.
pub const KMIRROR_LOG_WARN: c_int = 2;
/// What happens.
pub const KMIRROR_LOG_INFO: c_int = 3;
/// For those who look for the cause of something.
pub const KMIRROR_LOG_DEBUG: c_int = 4;
/// Everything.
pub const KMIRROR_LOG_TRACE: c_int = 5;

const _: () = {
    // The numbers are the engine's.
    assert!(KMIRROR_LOG_ERROR == LogLevel::Error as c_int);
    assert!(KMIRROR_LOG_WARN == LogLevel::Warn as c_int);
    assert!(KMIRROR_LOG_INFO == LogLevel::Info as c_int);
    assert!(KMIRROR_LOG_DEBUG == LogLevel::Debug as c_int);
    assert!(KMIRROR_LOG_TRACE == LogLevel::Trace as c_int);
};

/// Called with an event, which is not the callback's to free and lives until it returns.
pub type kmirror_event_callback_t = Option<unsafe extern "C" fn(event: *const kmirror_event_t, opaque: *mut c_void)>;

/// Called with one of KMIRROR_LOG_* and a line, which lives until it returns.
pub type kmirror_log_callback_t =
    Option<unsafe extern "C" fn(level: c_int, message: *const c_char, opaque: *mut c_void)>;

/// Called once with an opaque pointer when no callback will be called with it any more.
pub type kmirror_opaque_free_t = Option<unsafe extern "C" fn(opaque: *mut c_void)>;

/// What the host wants to have back with each call.
struct Opaque {
    pointer: *mut c_void,
    free: kmirror_opaque_free_t,
}

// SAFETY: the header says that callbacks come from another thread than the one that sets them, so the host has given a pointer
// that may be used there. This library never looks at what it points to.
unsafe impl Send for Opaque {}
// SAFETY: it is used from one thread at a time, that of the callbacks; the end comes when nobody has it any more.
unsafe impl Sync for Opaque {}

impl Drop for Opaque {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            // SAFETY: the host has given this function for this pointer; it is called once, as a value is dropped once.
            unsafe { free(self.pointer) }
        }
    }
}

/// # Safety
/// As for [`mirror_of`]; the function may be called with the pointer from any thread.
unsafe fn set_event(
    mirror: *const kmirror_t,
    callback: kmirror_event_callback_t,
    opaque: Opaque,
    set: impl FnOnce(&engine::Callbacks, Option<Box<dyn Fn(&Event) + Send + Sync>>) -> Result<()>,
) -> Result<()> {
    // SAFETY: the caller vouches for it.
    let mirror = unsafe { mirror_of(mirror) }?;
    let Some(callback) = callback else { return set(mirror.callbacks(), None) };
    let call = move |event: &Event| {
        let event = kmirror_event_t::new(event);
        // All of it is the closure's, not only the pointer.
        let opaque = &opaque;
        // SAFETY: the host has given this function to be called like that; the event lives until it returns.
        unsafe { callback(&event, opaque.pointer) }
    };
    set(mirror.callbacks(), Some(Box::new(call)))
}

/// What the engine calls with what is logged.
pub(crate) type Logging = Arc<dyn Fn(&LogRecord) + Send + Sync>;

/// Where mirrors of a configuration log.
pub(crate) enum Log {
    /// The host has not said it: warnings and errors go to standard error, as a program that does not listen must not be silent
    /// about records that are not copied.
    Unset,
    /// The host wants to hear nothing.
    Nowhere,
    /// To a callback, from a level on.
    To(LogLevel, Logging),
}

/// Prints a line for whoever runs the host.
pub(crate) fn warn(record: &LogRecord) {
    // A host without a standard error has nobody who would read it.
    let _ = writeln!(std::io::stderr(), "kmirror: {}: {record}", record.level.name());
}

/// As the engine takes it.
pub(crate) fn owned(logging: Logging) -> Box<dyn Fn(&LogRecord) + Send + Sync> {
    Box::new(move |record| logging(record))
}

/// # Safety
/// The function may be called with the pointer from any thread.
unsafe fn logging(callback: kmirror_log_callback_t, opaque: Opaque) -> Option<Logging> {
    let callback = callback?;
    Some(Arc::new(move |record: &LogRecord| {
        let message = c_string(&record.to_string());
        // All of it is the closure's, not only the pointer.
        let opaque = &opaque;
        // SAFETY: the host has given this function to be called like that; the text lives until it returns.
        unsafe { callback(record.level.code(), message.as_ptr(), opaque.pointer) }
    }))
}

fn log_level(level: c_int) -> Result<LogLevel> {
    LogLevel::ALL.iter().copied().find(|known| known.code() == level).ok_or_else(|| {
        engine::Error::new(
            ErrorKind::Config,
            format!("level is {level}: it takes KMIRROR_LOG_ERROR to KMIRROR_LOG_TRACE"),
        )
    })
}

/// # Safety
/// As for [`set_event`].
unsafe fn set_log(
    mirror: *const kmirror_t,
    level: c_int,
    callback: kmirror_log_callback_t,
    opaque: Opaque,
) -> Result<()> {
    // SAFETY: the caller vouches for it.
    let mirror = unsafe { mirror_of(mirror) }?;
    // SAFETY: the caller vouches for it.
    mirror.callbacks().set_log(log_level(level)?, unsafe { logging(callback, opaque) }.map(owned))
}

/// Has callback called with every event, also with those before but for lag; NULL ends it. What is polled is not less for it.
/// See "Callbacks" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_set_event_callback(
    mirror: *const kmirror_t,
    callback: kmirror_event_callback_t,
    opaque: *mut c_void,
) -> *mut kmirror_error_t {
    // SAFETY: as asked for by the header.
    unsafe { kmirror_set_event_callback_full(mirror, callback, opaque, None) }
}

/// As kmirror_set_event_callback. opaque_free, unless it is NULL, is called once with opaque when callback will not be called any
/// more: after another one was set, after kmirror_free, or at once when this fails or callback is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_set_event_callback_full(
    mirror: *const kmirror_t,
    callback: kmirror_event_callback_t,
    opaque: *mut c_void,
    opaque_free: kmirror_opaque_free_t,
) -> *mut kmirror_error_t {
    let opaque = Opaque { pointer: opaque, free: opaque_free };
    boundary!({
        // SAFETY: the header asks for a mirror that lives, or NULL, and says from where callbacks come.
        unsafe { set_event(mirror, callback, opaque, |callbacks, callback| callbacks.set_event(callback)) }
    })
}

/// Has callback called with KMIRROR_EVENT_LAG, of each topic and without a topic of all, and with KMIRROR_EVENT_LAG_ABOVE and
/// KMIRROR_EVENT_LAG_BELOW; NULL ends it. What is polled is not less for it. See "Callbacks" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_set_lag_callback(
    mirror: *const kmirror_t,
    callback: kmirror_event_callback_t,
    opaque: *mut c_void,
) -> *mut kmirror_error_t {
    // SAFETY: as asked for by the header.
    unsafe { kmirror_set_lag_callback_full(mirror, callback, opaque, None) }
}

/// As kmirror_set_lag_callback, with opaque_free as in kmirror_set_event_callback_full.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_set_lag_callback_full(
    mirror: *const kmirror_t,
    callback: kmirror_event_callback_t,
    opaque: *mut c_void,
    opaque_free: kmirror_opaque_free_t,
) -> *mut kmirror_error_t {
    let opaque = Opaque { pointer: opaque, free: opaque_free };
    boundary!({
        // SAFETY: the header asks for a mirror that lives, or NULL, and says from where callbacks come.
        unsafe { set_event(mirror, callback, opaque, |callbacks, callback| callbacks.set_lag(callback)) }
    })
}

/// Has callback called with what the mirror logs at KMIRROR_LOG_INFO and above, also with what it has logged since its start; NULL
/// ends it. Without a callback, here or in its configuration, warnings and errors are written to standard error, and nothing is
/// after this was called, also with NULL. See "Callbacks" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_set_log_callback(
    mirror: *const kmirror_t,
    callback: kmirror_log_callback_t,
    opaque: *mut c_void,
) -> *mut kmirror_error_t {
    // SAFETY: as asked for by the header.
    unsafe { kmirror_set_log_callback_full(mirror, KMIRROR_LOG_INFO, callback, opaque, None) }
}

/// As kmirror_set_log_callback at another level, with opaque_free as in kmirror_set_event_callback_full.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_set_log_callback_full(
    mirror: *const kmirror_t,
    level: c_int,
    callback: kmirror_log_callback_t,
    opaque: *mut c_void,
    opaque_free: kmirror_opaque_free_t,
) -> *mut kmirror_error_t {
    let opaque = Opaque { pointer: opaque, free: opaque_free };
    boundary!({
        // SAFETY: the header asks for a mirror that lives, or NULL, and says from where callbacks come.
        unsafe { set_log(mirror, level, callback, opaque) }
    })
}

/// As kmirror_set_log_callback_full for mirrors that are started with this configuration: from the beginning, and also when they
/// cannot start; kmirror_start returns when the callback was told everything then. With NULL they log nowhere, not even warnings to
/// standard error. opaque_free is called when the configuration and all of them are freed, and at once when this fails or callback
/// is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_config_set_log_callback(
    config: *mut kmirror_config_t,
    level: c_int,
    callback: kmirror_log_callback_t,
    opaque: *mut c_void,
    opaque_free: kmirror_opaque_free_t,
) -> *mut kmirror_error_t {
    let opaque = Opaque { pointer: opaque, free: opaque_free };
    boundary!({
        // SAFETY: the header asks for a configuration that lives and that no other thread uses.
        let config = unsafe { argument_mut(config, ErrorKind::Config, "config") }?;
        let level = log_level(level)?;
        // SAFETY: the header says from where callbacks come.
        let logging = unsafe { logging(callback, opaque) };
        config.log_to(logging.map_or(Log::Nowhere, |logging| Log::To(level, logging)));
        Ok(())
    })
}
