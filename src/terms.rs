//! Plain values that both sides of the house speak: what decides, and what talks.
//! Nothing in here asks, waits or decides.

pub mod acl;
pub mod broker_error;
pub mod group;
pub mod settings;
pub mod state;
pub mod topic;
