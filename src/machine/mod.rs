//! What decides: pure state machines, without I/O, clock or randomness.
//!
//! `handle_*` takes what happened, `poll_*` says what to do next; time comes in as an argument. Everything here is
//! tried by simulation before it meets a broker.

pub mod acls;
pub mod configs;
pub mod deletions;
pub mod fill_settings;
pub mod groups;
pub mod lease;
pub mod lifecycle;
pub mod mirror_maker_2;
pub(crate) mod opening;
pub mod partition;
pub mod prefix;
pub mod promotion;
pub mod start;
pub mod topics;
pub mod translation;

#[cfg(test)]
mod simulation;
