//! Tests on real Kafka brokers, which they start themselves; see `support` for what that needs.

mod faults;
mod harness;
mod mirror;
