//! The boundary between C and the engine: what every entry point goes through.
//!
//! No panic leaves it, because that would end the host's process; no NULL and no text that is not UTF-8 gets through it. It
//! cannot tell a pointer that was freed already from a good one: that is the caller's part, told in the header.

use std::any::Any;
use std::cell::OnceCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::time::Duration;

use engine::{Error, ErrorKind, Result};

use crate::error::kmirror_error_t;

/// The body of every entry point.
///
/// `boundary!({ ... })` for those that can fail: the body is a `Result<()>`, which becomes NULL or an error object.
/// `boundary!(else value, { ... })` for the others: the value is returned should there be a bug.
macro_rules! boundary {
    (else $otherwise:expr, $body:block) => {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| $body)).unwrap_or($otherwise)
    };
    ($body:block) => {
        $crate::boundary::fallible(|| $body)
    };
}
pub(crate) use boundary;

/// What is handed out as usable from any thread has to be that.
pub(crate) const fn may_be_used_from_any_thread<T: Send + Sync>() {}

/// More than anybody waits, and no overflow when it is added to a time.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

pub(crate) fn fallible(body: impl FnOnce() -> Result<()>) -> *mut kmirror_error_t {
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(bug(panic.as_ref())));
    outcome.map_or_else(|error| hand_out(kmirror_error_t::new(&error)), |()| ptr::null_mut())
}

fn bug(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Error::new(ErrorKind::Internal, format!("a bug in kmirror: {}", text.unwrap_or("panic")))
}

/// Gives an object to the caller, until it comes back to [`take_back`].
pub(crate) fn hand_out<T>(object: T) -> *mut T {
    Box::into_raw(Box::new(object))
}

/// Ends the life of an object; NULL is none.
///
/// # Safety
/// The pointer is NULL, or came from [`hand_out`] and did not come back yet.
pub(crate) unsafe fn take_back<T>(object: *mut T) {
    if !object.is_null() {
        // SAFETY: the caller vouches that it came from `hand_out`, so from a box, and that it comes back only once.
        drop(unsafe { Box::from_raw(object) });
    }
}

/// What a pointer points to, or an error of this kind that says which argument is NULL.
///
/// # Safety
/// The pointer is NULL, or what it points to lives as long as the call and is not changed by another thread meanwhile.
pub(crate) unsafe fn argument<'a, T>(pointer: *const T, kind: ErrorKind, name: &str) -> Result<&'a T> {
    // SAFETY: the caller vouches for it.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(kind, name))
}

/// As [`argument`], to be changed.
///
/// # Safety
/// The pointer is NULL, or what it points to lives as long as the call and nobody else uses it meanwhile.
pub(crate) unsafe fn argument_mut<'a, T>(pointer: *mut T, kind: ErrorKind, name: &str) -> Result<&'a mut T> {
    // SAFETY: the caller vouches for it.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(kind, name))
}

/// The text of a string.
///
/// # Safety
/// The pointer is NULL, or a string that ends with a NUL and lives unchanged as long as the call.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    if pointer.is_null() {
        return Err(null(ErrorKind::Config, name));
    }
    // SAFETY: it is not NULL, and the caller vouches for the rest.
    let text = unsafe { CStr::from_ptr(pointer) };
    // The text itself may be a secret.
    text.to_str().map_err(|_| Error::new(ErrorKind::Config, format!("{name} is not UTF-8")))
}

/// Gives what `make` makes to the caller through a pointer, which is looked at before anything is done.
///
/// # Safety
/// The pointer is NULL, or there is room for a pointer where it points to.
pub(crate) unsafe fn write<T>(place: *mut *mut T, name: &str, make: impl FnOnce() -> Result<T>) -> Result<()> {
    if place.is_null() {
        return Err(Error::new(ErrorKind::Config, format!("{name} is NULL: it takes the address of a pointer")));
    }
    let made = make()?;
    // SAFETY: it is not NULL, and the caller vouches for the rest.
    unsafe { place.write(hand_out(made)) };
    Ok(())
}

/// Asks an object that only C asks, or says what holds for NULL.
///
/// # Safety
/// The pointer is NULL, or what it points to lives as long as the call and is not used by another thread meanwhile.
pub(crate) unsafe fn ask<T, R>(object: *const T, of_null: R, question: impl FnOnce(&T) -> R) -> R {
    // SAFETY: the caller vouches for it.
    match unsafe { object.as_ref() } {
        Some(object) => question(object),
        None => of_null,
    }
}

/// A part of an object that C may ask as long as the object lives; NULL for none.
pub(crate) fn part_of<T>(part: Option<&T>) -> *const T {
    part.map_or(ptr::null(), ptr::from_ref)
}

fn null(kind: ErrorKind, name: &str) -> Error {
    Error::new(kind, format!("{name} is NULL"))
}

/// Milliseconds as C counts them: below 0 is without limit.
pub(crate) fn timeout(ms: i64) -> Duration {
    u64::try_from(ms).map_or(FOR_EVER, |ms| Duration::from_millis(ms).min(FOR_EVER))
}

/// A string for C. A NUL would end it early, so there is none in it.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// NULL for none.
pub(crate) fn pointer_to(text: Option<&CString>) -> *const c_char {
    text.map_or(ptr::null(), |text| text.as_ptr())
}

/// A number as C counts them: there are negative ones, and -1 is often none.
pub(crate) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that may not be known: -1 then.
pub(crate) fn known(number: Option<u64>) -> i64 {
    number.map_or(-1, count)
}

/// A JSON document, written when it is asked for: most hosts never do.
pub(crate) struct Json {
    write: Box<dyn Fn() -> String>,
    text: OnceCell<CString>,
}

impl Json {
    pub(crate) fn of<T: serde::Serialize + Clone + 'static>(value: &T) -> Self {
        let value = value.clone();
        let write = move || serde_json::to_string(&value).unwrap_or_default();
        Json { write: Box::new(write), text: OnceCell::new() }
    }

    pub(crate) fn as_ptr(&self) -> *const c_char {
        self.text.get_or_init(|| c_string(&(self.write)())).as_ptr()
    }
}
