//! The engine as other languages have it: real programs in C, Go and Python mirror between real clusters; and the README's
//! examples, those in Rust and for the command line too.
//!
//! What they copied is compared by the ledger, as everywhere. The libraries are built first, by the tests themselves.

mod airflow;
mod c;
mod go;
mod python;
mod quickstarts;
