//! A running mirror: start, poll, wait, pause, stop.
//!
//! The handle may be used from any number of threads at once, because the engine's may; only its end is the caller's to
//! order: nothing may use it while or after it is freed.

use std::ffi::{CStr, c_char};
use std::ptr;

use engine::{Error, ErrorKind, Mirror, Result};

use crate::boundary::{argument, boundary, hand_out, take_back, timeout};
use crate::config::kmirror_config_t;
use crate::error::kmirror_error_t;
use crate::event::kmirror_event_t;

/// A running mirror. Use it from any thread.
pub struct kmirror_t {
    mirror: Mirror,
}

const _: () = {
    const fn may_be_used_from_any_thread<T: Send + Sync>() {}
    may_be_used_from_any_thread::<kmirror_t>();
};

/// # Safety
/// As for [`argument`].
unsafe fn mirror_of<'a>(mirror: *const kmirror_t) -> Result<&'a Mirror> {
    // SAFETY: the caller vouches for it.
    unsafe { argument(mirror, ErrorKind::State, "mirror") }.map(|mirror| &mirror.mirror)
}

/// Starts a mirror, and gives it to the caller in *mirror. Returns when copying has begun, or with what keeps it from
/// beginning; *mirror is written only in the first case. Later trouble is told by events. The configuration is
/// copied and stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_start(
    config: *const kmirror_config_t,
    mirror: *mut *mut kmirror_t,
) -> *mut kmirror_error_t {
    boundary!({
        // SAFETY: the header asks for a configuration that lives and that no other thread changes.
        let config = unsafe { argument(config, ErrorKind::Config, "config") }?;
        if mirror.is_null() {
            return Err(Error::new(ErrorKind::Config, "mirror is NULL: it takes the address of a kmirror_t *"));
        }
        let (config, _warnings) = config.properties.build()?;
        let started = Mirror::start(config)?;
        // SAFETY: it is not NULL, and the header asks for room for a pointer.
        unsafe { mirror.write(hand_out(kmirror_t { mirror: started })) };
        Ok(())
    })
}

/// The next event, to be freed with kmirror_event_free; NULL if there was none in the given time. Several threads may
/// call this; each event goes to one of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_poll(mirror: *const kmirror_t, timeout_ms: i64) -> *mut kmirror_event_t {
    boundary!(else ptr::null_mut(), {
        // SAFETY: the header asks for a mirror that lives, or NULL.
        let event = unsafe { mirror_of(mirror) }.ok().and_then(|mirror| mirror.poll(timeout(timeout_ms)));
        event.map_or(ptr::null_mut(), |event| hand_out(kmirror_event_t::new(&event)))
    })
}

/// Waits until every selected partition has reached the source's end as it is at the time of this call. Fails with the
/// error of a partition that never will, with KMIRROR_ERROR_TIMED_OUT when the time has passed, and with
/// KMIRROR_ERROR_STATE when the mirror ends meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_wait_until_caught_up(
    mirror: *const kmirror_t,
    timeout_ms: i64,
) -> *mut kmirror_error_t {
    boundary!({
        // SAFETY: the header asks for a mirror that lives, or NULL.
        unsafe { mirror_of(mirror) }?.wait_until_caught_up(timeout(timeout_ms))
    })
}

/// Stops fetching. What is under way is finished; connections stay open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_pause(mirror: *const kmirror_t) -> *mut kmirror_error_t {
    boundary!({
        // SAFETY: the header asks for a mirror that lives, or NULL.
        unsafe { mirror_of(mirror) }?.pause()
    })
}

/// Goes on after kmirror_pause.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_resume(mirror: *const kmirror_t) -> *mut kmirror_error_t {
    boundary!({
        // SAFETY: the header asks for a mirror that lives, or NULL.
        unsafe { mirror_of(mirror) }?.resume()
    })
}

/// Stops the mirror: nothing more is fetched or sent, and answers under way are waited for at most so long. The target is
/// exact at any moment; what was not sent is copied by the next start. Stopping twice is no error. Events that wait can
/// still be polled.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_stop(mirror: *const kmirror_t, timeout_ms: i64) -> *mut kmirror_error_t {
    boundary!({
        // SAFETY: the header asks for a mirror that lives, or NULL.
        unsafe { mirror_of(mirror) }?.stop(timeout(timeout_ms))
    })
}

/// Frees a mirror. One that still runs is stopped first, which takes ten seconds at most.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_free(mirror: *mut kmirror_t) {
    boundary!(else (), {
        // SAFETY: the header asks for an object that was not freed yet, or NULL.
        unsafe { take_back(mirror) }
    })
}

/// The version of the library that runs, which may be another than KMIRROR_VERSION, that of the header.
#[unsafe(no_mangle)]
pub extern "C" fn kmirror_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };
    VERSION.as_ptr()
}
