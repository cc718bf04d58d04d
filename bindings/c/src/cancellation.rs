//! Gives up calls that wait, from another thread or from a signal handler.
//!
//! The calls look at it every 50 ms. Cancelling only sets a flag: nothing is woken up, allocated or locked, which is what a signal
//! handler may do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::boundary::{boundary, hand_out, may_be_used_from_any_thread, take_back};

/// Ends the waiting of calls that it was given to. One may be given to any number of calls; once cancelled it stays so.
pub struct kmirror_cancellation_t {
    cancelled: Arc<AtomicBool>,
}

const _: () = may_be_used_from_any_thread::<kmirror_cancellation_t>();

/// What a call asks while it waits; the answer of NULL is always no.
///
/// # Safety
/// The pointer is NULL, or the cancellation lives as long as this call.
pub(crate) unsafe fn given_up(cancellation: *const kmirror_cancellation_t) -> impl FnMut() -> bool {
    // SAFETY: the caller vouches for it.
    let cancelled = unsafe { cancellation.as_ref() }.map(|cancellation| cancellation.cancelled.clone());
    move || cancelled.as_ref().is_some_and(|cancelled| cancelled.load(Ordering::Relaxed))
}

/// A cancellation for calls that wait. Free it with kmirror_cancellation_free when none of them runs any more.
#[unsafe(no_mangle)]
pub extern "C" fn kmirror_cancellation_new() -> *mut kmirror_cancellation_t {
    boundary!(else std::ptr::null_mut(), { hand_out(kmirror_cancellation_t { cancelled: Arc::default() }) })
}

/// Has the calls that it was given to give up, from any thread or from a signal handler. They look at it every 50 ms and return
/// KMIRROR_ERROR_TIMED_OUT: a start stops what it has begun, a check, a plan and a verification break off, a wait leaves the mirror as
/// it is, and a switch-over ends where nothing is marked yet; when it is too late for that it comes to its end. NULL is no error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_cancellation_cancel(cancellation: *const kmirror_cancellation_t) {
    // No boundary: what catches panics is nothing for a signal handler, and a flag that is set cannot panic.
    // SAFETY: the header asks for a cancellation that lives, or NULL.
    if let Some(cancellation) = unsafe { cancellation.as_ref() } {
        cancellation.cancelled.store(true, Ordering::Relaxed);
    }
}

/// Frees a cancellation.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_cancellation_free(cancellation: *mut kmirror_cancellation_t) {
    boundary!(else (), {
        // SAFETY: the header asks for an object that was not freed yet, or NULL.
        unsafe { take_back(cancellation) }
    })
}
