//! kmirror copies a Kafka cluster to another one, live, from inside a program.
#![forbid(unsafe_code)]

mod batch;
pub mod config;
mod control;
mod error;
mod event;
mod identity;
mod machine;
mod mirror;
mod shared;
mod status;
mod stream;
mod wire;

pub use config::Config;
pub use error::{Error, ErrorKind, Result};
pub use event::{Event, EventKind};
pub use mirror::Mirror;
pub use status::{Lag, PartitionStatus, State, Status, TopicStatus};
