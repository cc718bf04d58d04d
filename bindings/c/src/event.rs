//! What a mirror has to tell, as an object that C can ask.
//!
//! An event is taken from the mirror's queue by kmirror_poll and belongs to whoever took it.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use engine::{Event, Lag};

use crate::boundary::{boundary, c_string, pointer_to, take_back};

/// Something a mirror has to tell.
pub struct kmirror_event_t {
    kind: i32,
    topic: Option<CString>,
    partition: i32,
    lag: Option<Lag>,
    message: CString,
}

impl kmirror_event_t {
    pub(crate) fn new(event: &Event) -> Self {
        kmirror_event_t {
            kind: event.kind.code(),
            topic: event.topic.as_deref().map(c_string),
            partition: event.partition.unwrap_or(-1),
            lag: event.lag,
            message: c_string(&event.message),
        }
    }

    fn lag(&self, of: impl FnOnce(Lag) -> u64) -> i64 {
        self.lag.map_or(-1, |lag| i64::try_from(of(lag)).unwrap_or(i64::MAX))
    }
}

/// Asks an event, or says what holds for none.
///
/// # Safety
/// As for [`pointer::as_ref`]: NULL, or an object that lives.
unsafe fn ask<T>(event: *const kmirror_event_t, of_none: T, question: impl FnOnce(&kmirror_event_t) -> T) -> T {
    // SAFETY: the caller vouches for it.
    match unsafe { event.as_ref() } {
        Some(event) => question(event),
        None => of_none,
    }
}

const NOTHING: &CStr = c"";

/// One of KMIRROR_EVENT_*; 0 for NULL. Later versions may have more kinds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_kind(event: *const kmirror_event_t) -> i32 {
    boundary!(else 0, {
        // SAFETY: the header asks for an event that lives, or NULL.
        unsafe { ask(event, 0, |event| event.kind) }
    })
}

/// The topic it is about; NULL if it is about all, or none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_topic(event: *const kmirror_event_t) -> *const c_char {
    boundary!(else ptr::null(), {
        // SAFETY: the header asks for an event that lives, or NULL.
        unsafe { ask(event, ptr::null(), |event| pointer_to(event.topic.as_ref())) }
    })
}

/// The partition it is about; -1 if it is about none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_partition(event: *const kmirror_event_t) -> i32 {
    boundary!(else -1, {
        // SAFETY: the header asks for an event that lives, or NULL.
        unsafe { ask(event, -1, |event| event.partition) }
    })
}

/// How many records the target is behind; -1 if the event is not about lag.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_lag_records(event: *const kmirror_event_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for an event that lives, or NULL.
        unsafe { ask(event, -1, |event| event.lag(|lag| lag.records)) }
    })
}

/// How many bytes the target is behind, estimated; -1 if the event is not about lag.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_lag_bytes(event: *const kmirror_event_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for an event that lives, or NULL.
        unsafe { ask(event, -1, |event| event.lag(|lag| lag.bytes)) }
    })
}

/// How many milliseconds the target is behind; -1 if the event is not about lag.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_lag_ms(event: *const kmirror_event_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for an event that lives, or NULL.
        unsafe { ask(event, -1, |event| event.lag(|lag| lag.ms)) }
    })
}

/// The event as a sentence; empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_message(event: *const kmirror_event_t) -> *const c_char {
    boundary!(else NOTHING.as_ptr(), {
        // SAFETY: the header asks for an event that lives, or NULL.
        unsafe { ask(event, NOTHING.as_ptr(), |event| event.message.as_ptr()) }
    })
}

/// Frees an event, and the strings that were asked of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_free(event: *mut kmirror_event_t) {
    boundary!(else (), {
        // SAFETY: the header asks for an object that was not freed yet, or NULL.
        unsafe { take_back(event) }
    })
}
