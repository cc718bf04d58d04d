//! The C library: `include/kmirror.h` is generated from these files, in the order that `tests/it/tidy/c_header.rs` gives.
//!
//! Each function turns pointers into Rust values, calls the engine, and turns what comes back into pointers; nothing is
//! decided here. Documentation comments are the header's, so they speak C. Of the `unsafe` code here
//! [`boundary`] has nearly all.
#![allow(non_camel_case_types, reason = "these are the names C knows them by")]
#![allow(clippy::missing_safety_doc, reason = "the head of the header says once what holds for all pointers")]

mod boundary;
mod callbacks;
mod cancellation;
mod config;
mod error;
mod event;
mod mirror;
mod report;
mod status;
