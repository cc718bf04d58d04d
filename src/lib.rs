//! kmirror copies a Kafka cluster to another one, live, from inside a program.
#![forbid(unsafe_code)]

mod batch;
pub mod config;
mod error;
mod machine;
mod wire;

pub use config::Config;
pub use error::{Error, ErrorKind, Result};
