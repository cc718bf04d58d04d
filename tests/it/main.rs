//! All integration tests, one binary, ordered by purity: simulated, then mock clusters, then real Kafka.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics says what is wrong; it has no caller to hand an error to"
)]

mod cli;
mod kafka;
mod support;
