//! What a mirror has to tell, as an object that C can ask.
//!
//! An event is taken from the mirror's queue by kmirror_poll and belongs to whoever took it; one that a callback gets is lent to it.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use engine::{Error, Event, EventKind, Lag};

use crate::boundary::{Json, ask, boundary, c_string, known, part_of, pointer_to, take_back};
use crate::error::kmirror_error_t;

/// Something a mirror has to tell.
pub struct kmirror_event_t {
    kind: EventKind,
    name: CString,
    timestamp_ms: i64,
    state: Option<CString>,
    topic: Option<CString>,
    partition: i32,
    group: Option<CString>,
    lag: Option<Lag>,
    message: CString,
    error: Option<kmirror_error_t>,
    json: Json,
}

impl kmirror_event_t {
    pub(crate) fn new(event: &Event) -> Self {
        kmirror_event_t {
            kind: event.kind,
            name: c_string(event.kind.name()),
            timestamp_ms: event.timestamp_ms,
            state: event.state.map(|state| c_string(state.name())),
            topic: event.topic.as_deref().map(c_string),
            partition: event.partition.unwrap_or(-1),
            group: event.group.as_deref().map(c_string),
            lag: event.lag,
            message: c_string(&event.message),
            error: event.error.as_ref().map(kmirror_error_t::new),
            json: Json::of(event),
        }
    }

    /// What keeps somebody from getting events at all, where there is no other way to tell it.
    pub(crate) fn of_error(error: &Error) -> Self {
        kmirror_event_t::new(&Event::of_error(EventKind::Error, error))
    }

    fn lag(&self, of: impl FnOnce(Lag) -> Option<u64>) -> i64 {
        known(self.lag.and_then(of))
    }
}

const NOTHING: &CStr = c"";

/// One of KMIRROR_EVENT_*; 0 for NULL. Later versions may have more kinds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_kind(event: *const kmirror_event_t) -> i32 {
    boundary!(else 0, {
        // SAFETY: the header asks for an event that lives, or NULL.
        unsafe { ask(event, 0, |event| event.kind.code()) }
    })
}

/// The name of the kind, for example "lag_above"; empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_name(event: *const kmirror_event_t) -> *const c_char {
    boundary!(else NOTHING.as_ptr(), {
        // SAFETY: the header asks for an event that lives, or NULL.
        unsafe { ask(event, NOTHING.as_ptr(), |event| event.name.as_ptr()) }
    })
}

/// When it happened, in milliseconds since 1970; -1 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_timestamp_ms(event: *const kmirror_event_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for an event that lives, or NULL.
        unsafe { ask(event, -1, |event| event.timestamp_ms) }
    })
}

/// The state the mirror is in now, for example "in_sync", if the event is KMIRROR_EVENT_STATE_CHANGED; otherwise NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_state(event: *const kmirror_event_t) -> *const c_char {
    boundary!(else ptr::null(), {
        // SAFETY: the header asks for an event that lives, or NULL.
        unsafe { ask(event, ptr::null(), |event| pointer_to(event.state.as_ref())) }
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

/// The consumer group it is about; NULL if it is about none, or about all.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_group(event: *const kmirror_event_t) -> *const c_char {
    boundary!(else ptr::null(), {
        // SAFETY: the header asks for an event that lives, or NULL.
        unsafe { ask(event, ptr::null(), |event| pointer_to(event.group.as_ref())) }
    })
}

/// How many records the target is behind; -1 if that is not known, or the event is not about lag.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_lag_records(event: *const kmirror_event_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for an event that lives, or NULL.
        unsafe { ask(event, -1, |event| event.lag(|lag| lag.records)) }
    })
}

/// How many bytes the target is behind, estimated; -1 if that is not known, or the event is not about lag.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_lag_bytes(event: *const kmirror_event_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for an event that lives, or NULL.
        unsafe { ask(event, -1, |event| event.lag(|lag| lag.bytes)) }
    })
}

/// How old the oldest record is that the target lacks, in milliseconds; -1 if that is not known, or the event is not about lag.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_lag_ms(event: *const kmirror_event_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for an event that lives, or NULL.
        unsafe { ask(event, -1, |event| event.lag(|lag| lag.ms)) }
    })
}

/// When the source was heard last, for an event about lag, in milliseconds since 1970; -1 if it was not, or for other events.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_source_as_of_ms(event: *const kmirror_event_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for an event that lives, or NULL.
        unsafe { ask(event, -1, |event| event.lag.and_then(|lag| lag.as_of.source_ms).unwrap_or(-1)) }
    })
}

/// When the target was heard last, for an event about lag, in milliseconds since 1970; -1 if it was not, or for other events.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_target_as_of_ms(event: *const kmirror_event_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for an event that lives, or NULL.
        unsafe { ask(event, -1, |event| event.lag.and_then(|lag| lag.as_of.target_ms).unwrap_or(-1)) }
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

/// The error that is the reason; NULL if there is none. It belongs to the event and is not to be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_error(event: *const kmirror_event_t) -> *const kmirror_error_t {
    boundary!(else ptr::null(), {
        // SAFETY: the header asks for an event that lives, or NULL.
        unsafe { ask(event, ptr::null(), |event| part_of(event.error.as_ref())) }
    })
}

/// All of it as a JSON document; empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_json(event: *const kmirror_event_t) -> *const c_char {
    boundary!(else NOTHING.as_ptr(), {
        // SAFETY: the header asks for an event that lives, or NULL.
        unsafe { ask(event, NOTHING.as_ptr(), |event| event.json.as_ptr()) }
    })
}

/// Frees an event that kmirror_poll has returned, and the strings and errors that were asked of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_event_free(event: *mut kmirror_event_t) {
    boundary!(else (), {
        // SAFETY: the header asks for an object that was not freed yet, or NULL.
        unsafe { take_back(event) }
    })
}
