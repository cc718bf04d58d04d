//! What consumer groups are, and where they have come to.
//! What is copied of them is decided in `machine::groups`.

use std::collections::BTreeMap;

use super::topic::TopicPartition;

/// The committed offset of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to be read.
    pub offset: i64,
    /// The text that was committed with it.
    pub metadata: String,
}

/// The committed offsets of one group.
pub type Offsets = BTreeMap<TopicPartition, Committed>;

/// What kind of group it is, as far as that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// With committed offsets: classic ones, and those of KIP-848.
    Consumer,
    /// KIP-932.
    Share,
    /// KIP-1071.
    Streams,
}

/// Whether a group has members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Members {
    /// It has none: Empty or Dead.
    None,
    /// It has some, or is just getting them.
    Some,
    /// The broker is too old to tell.
    Unknown,
}

/// A group as its coordinator lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// The broker that coordinates it.
    pub coordinator: i32,
    /// What it is.
    pub kind: Type,
    /// Whether it has members.
    pub members: Members,
}
