//! What went wrong, as an object that C can ask.
//!
//! NULL stands for success everywhere, so every question has an answer for NULL too.

use std::ffi::{CStr, CString, c_char};

use engine::Error;

use crate::boundary::{ask, boundary, c_string, pointer_to, take_back};

/// What went wrong. NULL is success.
pub struct kmirror_error_t {
    error: Error,
    name: CString,
    message: CString,
    topic: Option<CString>,
}

impl kmirror_error_t {
    pub(crate) fn new(error: &Error) -> Self {
        kmirror_error_t {
            name: c_string(error.kind().name()),
            message: c_string(error.message()),
            topic: error.topic().map(c_string),
            error: error.clone(),
        }
    }
}

const NO_ERROR: &CStr = c"success";
const NOTHING: &CStr = c"";

/// One of KMIRROR_ERROR_*; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_error_code(error: *const kmirror_error_t) -> i32 {
    boundary!(else 0, {
        // SAFETY: the header asks for an error that lives, or NULL.
        unsafe { ask(error, 0, |error| error.error.kind().code()) }
    })
}

/// The name of the code, for example "connect"; "success" for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_error_name(error: *const kmirror_error_t) -> *const c_char {
    boundary!(else NO_ERROR.as_ptr(), {
        // SAFETY: the header asks for an error that lives, or NULL.
        unsafe { ask(error, NO_ERROR.as_ptr(), |error| error.name.as_ptr()) }
    })
}

/// What happened, where, and what to do, for a person to read; empty for NULL. Secrets are never in it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_error_message(error: *const kmirror_error_t) -> *const c_char {
    boundary!(else NOTHING.as_ptr(), {
        // SAFETY: the header asks for an error that lives, or NULL.
        unsafe { ask(error, NOTHING.as_ptr(), |error| error.message.as_ptr()) }
    })
}

/// Whether the same call may succeed later without anybody changing anything.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_error_is_retriable(error: *const kmirror_error_t) -> bool {
    boundary!(else false, {
        // SAFETY: the header asks for an error that lives, or NULL.
        unsafe { ask(error, false, |error| error.error.is_retriable()) }
    })
}

/// Whether the mirror, or the partition it is about, cannot go on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_error_is_fatal(error: *const kmirror_error_t) -> bool {
    boundary!(else false, {
        // SAFETY: the header asks for an error that lives, or NULL.
        unsafe { ask(error, false, |error| error.error.is_fatal()) }
    })
}

/// The topic it is about; NULL if it is about none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_error_topic(error: *const kmirror_error_t) -> *const c_char {
    boundary!(else std::ptr::null(), {
        // SAFETY: the header asks for an error that lives, or NULL.
        unsafe { ask(error, std::ptr::null(), |error| pointer_to(error.topic.as_ref())) }
    })
}

/// The partition it is about; -1 if it is about none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_error_partition(error: *const kmirror_error_t) -> i32 {
    boundary!(else -1, {
        // SAFETY: the header asks for an error that lives, or NULL.
        unsafe { ask(error, -1, |error| error.error.partition().unwrap_or(-1)) }
    })
}

/// The source offset it is about; -1 if it is about none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_error_offset(error: *const kmirror_error_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for an error that lives, or NULL.
        unsafe { ask(error, -1, |error| error.error.offset().unwrap_or(-1)) }
    })
}

/// The code a broker has answered with, see https://kafka.apache.org/protocol#protocol_error_codes; 0 if that is not the cause.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_error_kafka_code(error: *const kmirror_error_t) -> i16 {
    boundary!(else 0, {
        // SAFETY: the header asks for an error that lives, or NULL.
        unsafe { ask(error, 0, |error| error.error.kafka_code().unwrap_or(0)) }
    })
}

/// Frees an error, and the strings that were asked of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_error_free(error: *mut kmirror_error_t) {
    boundary!(else (), {
        // SAFETY: the header asks for an object that was not freed yet, or NULL.
        unsafe { take_back(error) }
    })
}
