//! Settings of topics that a mirror knows by name.
//! What follows from them is decided in `machine::configs` and `machine::fill_settings`.

use std::collections::BTreeMap;
use std::rc::Rc;

/// How many replicas have to be in sync for records to be taken.
pub const MIN_IN_SYNC: &str = "min.insync.replicas";
/// What decides which records a topic takes and keeps, and how long: it matters as it counts, wherever it is set. First what is not stricter
/// or less strict.
pub const COUNTING: [&str; 11] = [
    MIN_IN_SYNC,
    TIMESTAMP_TYPE,
    "cleanup.policy",
    "retention.ms",
    "retention.bytes",
    "delete.retention.ms",
    "min.compaction.lag.ms",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "message.timestamp.before.max.ms",
    "message.timestamp.after.max.ms",
];
/// Whose times records carry.
pub const TIMESTAMP_TYPE: &str = "message.timestamp.type";

/// Values of [`COUNTING`], as far as they are known.
pub type Counting = BTreeMap<&'static str, Rc<str>>;

/// What happens to old records.
pub const POLICY: &str = "cleanup.policy";
/// How long and how much is kept.
pub const RETENTION: [&str; 2] = ["retention.ms", "retention.bytes"];

/// Settings, and whether they were set on the topic itself.
pub type Settings = BTreeMap<String, (String, bool)>;
/// What is to be set, or with `None` to be left to the default.
pub type Changes<K> = Vec<(K, Option<String>)>;
