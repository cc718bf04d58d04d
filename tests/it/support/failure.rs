//! The one error of the harness: a sentence.
//!
//! A test returns [`Outcome`], so that every `?` ends it with that sentence instead of a Rust debug dump.
//! Anything that is a `std::error::Error` turns into it; context is added with [`Context::context`].

use std::fmt;

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// What went wrong, in words.
#[derive(Clone)]
pub(crate) struct Failure(pub(crate) String);

/// Shorthand for `Err(Failure(..))`.
pub(crate) fn fail<T>(sentence: impl Into<String>) -> Outcome<T> {
    Err(Failure(sentence.into()))
}

/// Says what was being tried when an error came.
pub(crate) trait Context<T> {
    fn context(self, doing: impl fmt::Display) -> Outcome<T>;
}

impl<T, E: Into<Failure>> Context<T> for Result<T, E> {
    fn context(self, doing: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| Failure(format!("{doing}: {}", error.into())))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// libtest prints the error of a test with `Debug`; escaped newlines in a broker's log would be unreadable.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}
