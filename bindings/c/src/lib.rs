//! The C library: `include/kmirror.h` is generated from these files, in the order of `modules` below.
//!
//! Each function turns pointers into Rust values, calls the engine, and turns what comes back into pointers; nothing is
//! decided here. Documentation comments are the header's, so they speak C. This is the only crate with `unsafe` code,
//! and [`boundary`] has nearly all of it.
#![allow(non_camel_case_types, reason = "these are the names C knows them by")]
#![allow(clippy::missing_safety_doc, reason = "the head of the header says once what holds for all pointers")]

mod boundary;
mod config;
mod error;
mod event;
mod mirror;
