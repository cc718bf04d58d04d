//! All integration tests, one binary, ordered by purity: the repository's own files, then mock clusters, then real Kafka.
//! A missing tool fails them with a sentence that says what to install; nothing is skipped.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics says what is wrong; it has no caller to hand an error to"
)]

mod bindings;
mod cli;
mod kafka;
mod support;
mod tidy;
