//! Tests on real Kafka brokers, which they start themselves; see `support` for what that needs.
//! They are what shows that brokers do what the engine takes for granted.

mod bench;
mod faults;
mod harness;
mod mirror;
mod verify;
