//! What talks: connections to brokers, and the requests a mirror makes on them.
//! Decides nothing: an answer becomes plain values or a classified error, and goes to whoever asked.

pub mod acls;
pub mod admin;
pub mod append;
pub mod clock;
pub mod cluster;
pub mod configs;
pub mod connection;
pub mod decoding;
pub mod dialer;
pub mod fetch;
pub mod groups;
pub mod log_ends;
pub mod markers;
pub mod memory;
pub mod mirror_maker_2;
pub mod permissions;
pub mod portions;
pub mod positions;
pub mod produce;
pub mod quotas;
pub mod reach;
pub mod record_times;
pub mod releases;
pub mod removal;
mod resolve;
pub mod rope;
pub mod seen;
pub mod together;
pub mod transactions;
pub mod transport;
#[cfg(test)]
mod versions;
