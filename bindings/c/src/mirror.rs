//! A running mirror: start, poll, wait, pause, look, verify, promote, stop.
//!
//! The handle may be used from any number of threads at once, because the engine's may; only its end is the caller's to
//! order: nothing may use it while or after it is freed.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;
use std::time::Instant;

use engine::{ErrorKind, Mirror, PromoteOptions, Result, State, VerifyOptions};

use crate::boundary::{argument, boundary, hand_out, may_be_used_from_any_thread, take_back, timeout, write};
use crate::cancellation::{given_up, kmirror_cancellation_t};
use crate::config::{kmirror_config_t, make_of};
use crate::error::kmirror_error_t;
use crate::event::kmirror_event_t;
use crate::report::kmirror_report_t;
use crate::status::kmirror_status_t;

/// A running mirror. Use it from any thread.
pub struct kmirror_t {
    mirror: Mirror,
}

const _: () = may_be_used_from_any_thread::<kmirror_t>();

/// The mirror, if it is one of this process.
///
/// # Safety
/// As for [`argument`].
pub(crate) unsafe fn mirror_of<'a>(mirror: *const kmirror_t) -> Result<&'a Mirror> {
    // SAFETY: the caller vouches for it.
    let mirror = unsafe { argument(mirror, ErrorKind::State, "mirror") }.map(|mirror| &mirror.mirror)?;
    mirror.check_process()?;
    Ok(mirror)
}

/// Starts a mirror, and gives it to the caller in *mirror. Returns when copying has begun, or with what keeps it from
/// beginning; *mirror is written only in the first case. Later trouble is told by events. The configuration is
/// copied and stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_start(
    config: *const kmirror_config_t,
    mirror: *mut *mut kmirror_t,
) -> *mut kmirror_error_t {
    // SAFETY: as asked for by the header.
    unsafe { kmirror_start_cancellable(config, ptr::null(), mirror) }
}

/// As kmirror_start, until it is cancelled: then what had begun to start is stopped. cancellation may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_start_cancellable(
    config: *const kmirror_config_t,
    cancellation: *const kmirror_cancellation_t,
    mirror: *mut *mut kmirror_t,
) -> *mut kmirror_error_t {
    boundary!({
        let start = |config: &kmirror_config_t, give_up: &mut dyn FnMut() -> bool| {
            Ok(kmirror_t { mirror: Mirror::start_or(config.build()?, config.callbacks()?, give_up)? })
        };
        // SAFETY: as asked for by the header.
        unsafe { make_of(config, cancellation, mirror, "mirror", start) }
    })
}

/// The next event, to be freed with kmirror_event_free; NULL if there was none in the given time, and at once if the mirror has ended
/// and none is left. Several threads may call this; each event goes to one of them. In a child after fork() it is always one of
/// the kind KMIRROR_EVENT_ERROR, whose error is KMIRROR_ERROR_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_poll(mirror: *const kmirror_t, timeout_ms: i64) -> *mut kmirror_event_t {
    boundary!(else ptr::null_mut(), {
        // SAFETY: the header asks for a mirror that lives, or NULL.
        let event = match unsafe { mirror_of(mirror) } {
            Ok(mirror) => mirror.poll(timeout(timeout_ms)).map(|event| kmirror_event_t::new(&event)),
            Err(error) => (error.kind() == ErrorKind::Forked).then(|| kmirror_event_t::of_error(&error)),
        };
        event.map_or(ptr::null_mut(), hand_out)
    })
}

/// A file descriptor that is readable while events wait for kmirror_poll, for those who wait for other things at the same time: poll
/// with a timeout of 0 until there is none, then wait again. It lives as long as the mirror; nothing but waiting may be done with
/// it. -1 if there is none: for NULL, in a child after fork(), and where the process may have no more descriptors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_fd(mirror: *const kmirror_t) -> c_int {
    boundary!(else -1, {
        // SAFETY: the header asks for a mirror that lives, or NULL.
        unsafe { mirror_of(mirror) }.and_then(Mirror::event_fd).unwrap_or(-1)
    })
}

/// The mirror's state, for example "in_sync". It is never to be freed. Empty for NULL and in a child after fork().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_state(mirror: *const kmirror_t) -> *const c_char {
    const NOTHING: &CStr = c"";
    boundary!(else NOTHING.as_ptr(), {
        // SAFETY: the header asks for a mirror that lives, or NULL.
        unsafe { mirror_of(mirror) }.map_or(NOTHING, |mirror| state_name(mirror.state())).as_ptr()
    })
}

/// The name of a state as C reads it.
fn state_name(state: State) -> &'static CStr {
    match state {
        State::Starting => c"starting",
        State::CatchingUp => c"catching_up",
        State::InSync => c"in_sync",
        State::Degraded => c"degraded",
        State::Stalled => c"stalled",
        State::Paused => c"paused",
        State::Stopping => c"stopping",
        State::Stopped => c"stopped",
        State::Promoted => c"promoted",
        State::Failed => c"failed",
        _ => c"unknown",
    }
}

/// What keeps the mirror, or a part of it, from going on now: the error that it has failed with, or that of the first partition or topic
/// that is not copied, and how many there are. NULL if everything goes on. To be freed with kmirror_error_free. Ask before
/// kmirror_stop: whoever leaves a mirror does not hear of what it could not copy any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_trouble(mirror: *const kmirror_t) -> *mut kmirror_error_t {
    boundary!({
        // SAFETY: the header asks for a mirror that lives, or NULL.
        unsafe { mirror_of(mirror) }?.status().trouble().map_or(Ok(()), Err)
    })
}

/// Gives everything the mirror knows of itself now to the caller in *status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status(
    mirror: *const kmirror_t,
    status: *mut *mut kmirror_status_t,
) -> *mut kmirror_error_t {
    boundary!({
        // SAFETY: the header asks for a mirror that lives, or NULL.
        let mirror = unsafe { mirror_of(mirror) }?;
        // SAFETY: the header asks for room for a pointer.
        unsafe { write(status, "status", || Ok(kmirror_status_t::new(mirror.status()))) }
    })
}

/// Changes throttle.bytes.per.second for the mirror as it runs; 0 and below are without limit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_set_throttle(mirror: *const kmirror_t, bytes_per_second: i64) -> *mut kmirror_error_t {
    boundary!({
        let limit = u64::try_from(bytes_per_second).ok().filter(|limit| *limit > 0);
        // SAFETY: the header asks for a mirror that lives, or NULL.
        unsafe { mirror_of(mirror) }?.set_throttle(limit)
    })
}

/// Compares what consumers would read from both clusters, for the topics of this mirror, while it runs or later, and gives it to the
/// caller in *report; that there are differences is no error. Fails with KMIRROR_ERROR_TIMED_OUT when the time has passed. cancellation
/// may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_verify(
    mirror: *const kmirror_t,
    timeout_ms: i64,
    cancellation: *const kmirror_cancellation_t,
    report: *mut *mut kmirror_report_t,
) -> *mut kmirror_error_t {
    boundary!({
        // SAFETY: the header asks for a mirror that lives, or NULL.
        let mirror = unsafe { mirror_of(mirror) }?;
        // SAFETY: the header asks for a cancellation that lives as long as the call, or NULL.
        let mut give_up = unsafe { given_up(cancellation) };
        let (started, limit) = (Instant::now(), timeout(timeout_ms));
        let verify = || {
            let found = mirror.verify_or(VerifyOptions::default(), |_| give_up() || started.elapsed() > limit)?;
            Ok(kmirror_report_t::of_verification(found))
        };
        // SAFETY: the header asks for room for a pointer.
        unsafe { write(report, "report", verify) }
    })
}

/// Ends the mirror for a switch-over: copies what the source has, marks the mirror on the target so that no process of it writes again,
/// and gives what was and was not copied to the caller in *report. Fails with KMIRROR_ERROR_TIMED_OUT if the source is there and not
/// everything was copied in time: then the mirror goes on, and nothing is marked. cancellation may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_promote(
    mirror: *const kmirror_t,
    timeout_ms: i64,
    cancellation: *const kmirror_cancellation_t,
    report: *mut *mut kmirror_report_t,
) -> *mut kmirror_error_t {
    boundary!({
        // SAFETY: the header asks for a mirror that lives, or NULL.
        let mirror = unsafe { mirror_of(mirror) }?;
        // SAFETY: the header asks for a cancellation that lives as long as the call, or NULL.
        let give_up = unsafe { given_up(cancellation) };
        let promote = || {
            let mut options = PromoteOptions::default();
            options.timeout = timeout(timeout_ms);
            Ok(kmirror_report_t::of_promotion(&mirror.promote_or(options, give_up)?))
        };
        // SAFETY: the header asks for room for a pointer.
        unsafe { write(report, "report", promote) }
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
    // SAFETY: as asked for by the header.
    unsafe { kmirror_wait_until_caught_up_cancellable(mirror, timeout_ms, ptr::null()) }
}

/// As kmirror_wait_until_caught_up, until it is cancelled. cancellation may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_wait_until_caught_up_cancellable(
    mirror: *const kmirror_t,
    timeout_ms: i64,
    cancellation: *const kmirror_cancellation_t,
) -> *mut kmirror_error_t {
    boundary!({
        // SAFETY: the header asks for a cancellation that lives as long as the call, or NULL.
        let give_up = unsafe { given_up(cancellation) };
        // SAFETY: the header asks for a mirror that lives, or NULL.
        unsafe { mirror_of(mirror) }?.wait_until_caught_up_or(timeout(timeout_ms), give_up)
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

/// Frees a mirror. One that still runs is stopped first, and callbacks that run are waited for, both for ten seconds at most. In a child
/// after fork() nothing is stopped, and what the mirror holds stays allocated.
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
