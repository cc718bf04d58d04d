//! kmirror copies a Kafka cluster to another one, live, from inside a program.
#![forbid(unsafe_code)]

pub mod config;
mod error;

pub use config::Config;
pub use error::{Error, ErrorKind, Result};
