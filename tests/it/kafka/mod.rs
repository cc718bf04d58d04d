//! Tests on real Kafka brokers, which they start themselves; see `support` for what that needs.
//! They are what shows that brokers do what the engine takes for granted.

mod acls;
mod bad_input;
mod bench;
mod chaos;
mod check;
mod configs;
mod damage;
mod deletions;
mod denied;
mod exact;
mod faults;
mod few_brokers;
mod fill_faults;
mod groups;
mod harness;
mod mirror;
mod mirror_maker_2;
mod open_transactions;
mod permissions;
mod prefix;
mod promote;
mod reads;
mod releases;
mod renamed;
mod resets;
mod scale;
mod scenarios;
mod shapes;
mod throttle;
mod tiered;
mod topics;
mod translated;
mod truth;
mod two_processes;
mod verify;
