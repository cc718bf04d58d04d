//! kmirror copies a Kafka cluster to another one, live, from inside a program: same offsets, exactly once.
//!
//! Begin with [`config::Properties`], which makes a [`Config`], and with [`Mirror`], which runs it. Every public name is
//! listed in this file; how the parts fit together is told in `src/manual/architecture.md`, and what a mirror does that MirrorMaker 2
//! is tested for in `src/manual/scenarios.md`.
#![forbid(unsafe_code)]
// What the README and the manual show has to compile.
#![cfg_attr(doctest, doc = include_str!("../README.md"))]
#![cfg_attr(doctest, doc = include_str!("manual/architecture.md"))]

/// Counts what tests take.
#[cfg(test)]
#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

mod batch;
mod check;
mod clock;
pub mod config;
mod control;
mod error;
mod event;
mod identity;
mod lease;
mod limits;
mod logs;
mod machine;
mod mirror;
mod plan;
mod planted;
mod promote;
mod repeat;
mod shared;
mod signals;
#[cfg(test)]
mod simulation;
mod status;
mod stream;
mod tasks;
mod terms;
pub mod text;
mod throttle;
mod verify;
mod waiting;
mod wire;

pub use check::{CheckLine, CheckOutcome, CheckReport, CheckSubject, check, check_or};
pub use config::Config;
pub use error::{Error, ErrorKind, Result};
pub use event::{Callbacks, Event, EventKind, Told};
pub use logs::{LogLevel, LogRecord};
pub use machine::groups::OffsetReason;
pub use mirror::Mirror;
pub use plan::{
    AclAction, AclPlan, ConfigChange, ConfigPlan, DeletionsPlan, EmittedTopicPlan, GroupPlan, InternalTopicPlan,
    MarkerPermission, MissingPermission, OffsetPlan, Plan, PrefixPlan, TopicAction, TopicPlan, plan, plan_or,
};
pub use plan::{ReversePartition, ReversePlan, ReverseTopic, ReverseTopicAction, plan_reverse};
pub use promote::{
    MovedEnd, PromoteOptions, PromoteReport, PromotedGroups, PromotedPartition, PromotedTopic, PromotionUndone,
    promote, promote_or, undo_promotion,
};
pub use status::{BrokerThrottle, GroupsStatus, PartitionStatus, Status, Subject, TopicStatus, Trouble};
pub use terms::acl::{Acl, AclOperation, AclPattern, AclPermission, AclResource};
pub use terms::state::{AsOf, Lag, State};
pub use verify::{
    Difference, DifferenceKind, FieldDifference, Finding, FindingKind, Sample, Unread, VerifiedPartition, VerifyCounts,
    VerifyOptions, VerifyOutcome, VerifyProgress, VerifyReport, verify, verify_or,
};
