//! What talks: connections to brokers, and the requests a mirror makes on them.

pub mod errors;
