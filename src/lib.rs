//! kmirror copies a Kafka cluster to another one, live, from inside a program.
#![forbid(unsafe_code)]

mod batch;
pub mod config;
mod error;
mod event;
mod machine;
mod status;
mod wire;

pub use config::Config;
pub use error::{Error, ErrorKind, Result};
pub use event::{Event, EventKind};
pub use status::{Lag, PartitionStatus, State, Status, TopicStatus};
