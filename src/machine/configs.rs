//! Decides how the configuration of a topic on the target has to be changed to follow the source's: `plan(source, target, policy)`.
//!
//! What is set on the source's topics is set on the target's. What is default at the source is left to the default on the target, but for
//! copies that the mirror has made where that default would let records go sooner, refuse or change them ([`strictness`]).
//! [`NOT_COPIED`] is the one list of what stays as it is there, with the reasons.

mod adaptation;
mod insistence;
mod sameness;
mod strictness;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::fill_settings;
use crate::config::{Config, ConfigExclusion};
use crate::terms::settings::{Counting, MIN_IN_SYNC, Settings, TIMESTAMP_TYPE};

pub use adaptation::Adaptations;
pub use insistence::Insistence;
use sameness::is_same;

/// What was set on a topic itself.
pub type Configs = BTreeMap<String, String>;

/// Configurations of a source topic that the target's topic does not get, and why. The list of MirrorMaker 2, but for these:
/// `min.insync.replicas` is copied, at most as many as there are replicas, because without it the copy would be less safe than
/// the original; `message.timestamp.before.max.ms`, which MirrorMaker 2 means to exclude, is; and what one of two
/// releases does not know or only clusters with tiered storage take is not copied.
pub const NOT_COPIED: &[(&str, &str)] = &[
    ("follower.replication.throttled.replicas", "names brokers of the source"),
    ("leader.replication.throttled.replicas", "names brokers of the source"),
    (
        "message.timestamp.type",
        "records keep the time they have at the source, so the target's broker must not set its own",
    ),
    (
        "message.timestamp.before.max.ms",
        "records are older when they are copied than when they were written: the source's limit could refuse them",
    ),
    (
        "message.timestamp.difference.max.ms",
        "records are older when they are copied than when they were written: the source's limit could refuse them",
    ),
    ("message.format.version", "record batches keep the format they have, and Kafka 4 does not know it"),
    ("message.downconversion.enable", "says how old consumers are served, and Kafka 4 does not know it"),
    ("unclean.leader.election.enable", "how much the target may lose is decided there"),
    ("remote.storage.enable", TIERED),
    ("remote.log.copy.disable", TIERED),
    ("remote.log.delete.on.disable", TIERED),
    ("local.retention.ms", TIERED),
    ("local.retention.bytes", TIERED),
];
const TIERED: &str = "where old segments are kept is decided on the target, which may have no tiered storage";

/// Records carry the time at which they reached a broker.
pub const LOG_APPEND_TIME: &str = "LogAppendTime";
/// Records carry the time that their writer gave them.
const CREATE_TIME: &str = "CreateTime";
const AFTER_MAX: &str = "message.timestamp.after.max.ms";
/// The default of [`AFTER_MAX`].
const HOUR_MS: i64 = 3_600_000;

/// How the target's topics differ from the source's on purpose.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// `topic.configs.override`.
    pub overrides: &'a Configs,
    /// `topic.configs.exclude`.
    pub excluded: &'a ConfigExclusion,
    /// `topic.configs.target.defaults`: what nobody has set is left to the target's brokers.
    pub keeps_defaults: bool,
}

impl<'a> Policy<'a> {
    /// The one that is configured.
    pub fn of(config: &'a Config) -> Self {
        Policy {
            overrides: &config.topic_configs_override,
            excluded: &config.topic_configs_exclude,
            keeps_defaults: config.topic_configs_target_defaults,
        }
    }
}

/// A topic at the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceTopic {
    /// What was set on it.
    pub own: Configs,
    /// What counts for it, set on it or not.
    pub counting: Counting,
}

/// A topic on the target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetTopic {
    /// What was set on it.
    pub own: Configs,
    /// What of that the source's brokers do not know, so that its topics cannot say anything about it.
    pub only_there: BTreeSet<String>,
    /// What counts for it where nothing is set on it, as far as that is known.
    pub inherited: Counting,
    /// Its replicas.
    pub replication_factor: i16,
    /// Whether the mirror has created it.
    pub is_created: bool,
}

impl TargetTopic {
    fn inherited_minimum(&self) -> Option<i16> {
        self.inherited.get(MIN_IN_SYNC).and_then(|value| value.parse().ok())
    }
}

/// Something to be changed on a topic of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A value is set.
    Set {
        /// What is set.
        key: String,
        /// To what.
        value: String,
        /// What was set before.
        from: Option<String>,
        /// Why.
        reason: String,
    },
    /// It is left to the default.
    Delete {
        /// What is removed.
        key: String,
        /// What was set before.
        from: String,
        /// Why.
        reason: String,
    },
}

impl Change {
    /// What is changed.
    pub fn key(&self) -> &str {
        let (Change::Set { key, .. } | Change::Delete { key, .. }) = self;
        key
    }

    /// What it is to be, or `None` for the default.
    pub fn to(&self) -> Option<&str> {
        match self {
            Change::Set { value, .. } => Some(value),
            Change::Delete { .. } => None,
        }
    }

    /// What was set on the topic before.
    pub fn from(&self) -> Option<&str> {
        match self {
            Change::Set { from, .. } => from.as_deref(),
            Change::Delete { from, .. } => Some(from),
        }
    }

    /// Why.
    pub fn reason(&self) -> &str {
        let (Change::Set { reason, .. } | Change::Delete { reason, .. }) = self;
        reason
    }
}

/// The configurations with which a topic is created on the target, given what its brokers would do with one on which nothing is set.
pub fn for_new_topic(
    source: &SourceTopic,
    replication_factor: i16,
    inherited: &Counting,
    policy: Policy<'_>,
) -> Configs {
    let inherited = inherited.clone();
    let target = TargetTopic { replication_factor, inherited, is_created: true, ..TargetTopic::default() };
    let wanted = wanted_of(source, &target, policy);
    wanted.into_iter().map(|(key, (value, _))| (key, value)).collect()
}

/// What has to be changed on the target's topic so that it follows the source's.
pub fn plan(source: &SourceTopic, target: &TargetTopic, policy: Policy<'_>) -> Vec<Change> {
    if is_being_filled(&target.own) {
        return Vec::new();
    }
    let mut wanted = wanted_of(source, target, policy);
    if leaves_minimum(target, &wanted, policy)
        && target.replication_factor > 0
        && target.inherited_minimum().is_some_and(|minimum| minimum > target.replication_factor)
    {
        wanted.insert(MIN_IN_SYNC.to_owned(), at_most_replicas(target.replication_factor));
    }
    let superfluous = target.own.iter().filter(|(key, _)| {
        let stays = is_left_alone(key, policy) || key.as_str() == AFTER_MAX || target.only_there.contains(*key);
        !wanted.contains_key(*key) && !stays
    });
    let delete = |(key, from): (&String, &String)| Change::Delete {
        key: key.clone(),
        from: from.clone(),
        reason: "it is not set on the source".to_owned(),
    };
    let mut changes: Vec<Change> = superfluous.map(delete).collect();
    for (key, (value, reason)) in wanted {
        let from = target.own.get(&key).cloned();
        let is_loose = key == AFTER_MAX && !policy.overrides.contains_key(&key) && is_looser(from.as_deref(), &value);
        if !from.as_ref().is_some_and(|from| is_same(from, &value)) && !is_loose {
            changes.push(Change::Set { key, value, from, reason });
        }
    }
    changes.sort_by(|one, other| one.key().cmp(other.key()));
    changes
}

/// Whether it matters what the topic has without its own settings, and that is not known.
pub fn needs_inherited(source: &SourceTopic, target: &TargetTopic, policy: Policy<'_>) -> bool {
    let wanted = wanted_of(source, target, policy);
    let needs_minimum = target.inherited_minimum().is_none()
        && target.own.contains_key(MIN_IN_SYNC)
        && leaves_minimum(target, &wanted, policy);
    let is_open = |key: &&str| {
        let stays = is_left_alone(key, policy) || wanted.contains_key(*key);
        let is_known = target.inherited.contains_key(*key) || !source.counting.contains_key(*key);
        !stays && !is_known && target.own.contains_key(*key)
    };
    needs_minimum || (may_adjust(target, policy) && strictness::KEYS.iter().any(is_open))
}

/// What the target would do to records that the source does not do, as sentences: with these settings they go sooner there than at the
/// source, or are refused. What is overridden or excluded is as somebody wants it.
pub fn stricter(source: &SourceTopic, target: &TargetTopic, policy: Policy<'_>) -> Vec<String> {
    let wanted = wanted_of(source, target, policy);
    let counts = |key: &str| counts_there(key, target, &wanted, policy);
    let is_decided = |key: &&&str| !policy.overrides.contains_key(**key) && !policy.excluded.matches(key);
    let told = |key: &&str| {
        let (theirs, ours) = (counts(key)?, source.counting.get(key)?);
        let is_strict = strictness::is_stricter(key, &theirs, ours, &source.counting, counts);
        is_strict.then(|| format!("{key} is {theirs} on the target and {ours} at the source"))
    };
    strictness::KEYS.iter().filter(is_decided).filter_map(told).collect()
}

/// What counts for a topic on the target when it has what is wanted.
fn counts_there(key: &str, target: &TargetTopic, wanted: &Wanted, policy: Policy<'_>) -> Option<Rc<str>> {
    let stays = is_left_alone(key, policy) || key == AFTER_MAX;
    let own = target.own.get(key).filter(|_| stays).map(|value| Rc::from(value.as_str()));
    let wanted = wanted.get(key).map(|(value, _)| Rc::from(value.as_str()));
    let inherited = || target.inherited.iter().find(|(known, _)| **known == key).map(|(_, value)| value.clone());
    wanted.or(own).or_else(inherited)
}

/// Whether what nobody has set may be set on the target's topic.
fn may_adjust(target: &TargetTopic, policy: Policy<'_>) -> bool {
    target.is_created && !policy.keeps_defaults
}

/// Whether the topic is to have no `min.insync.replicas` of its own. One that an exclusion protects stays.
fn leaves_minimum(target: &TargetTopic, wanted: &Wanted, policy: Policy<'_>) -> bool {
    let is_protected = is_left_alone(MIN_IN_SYNC, policy) && target.own.contains_key(MIN_IN_SYNC);
    !wanted.contains_key(MIN_IN_SYNC) && !is_protected
}

/// What is to be set on a topic, and why.
type Wanted = BTreeMap<String, (String, String)>;

/// What is to be set on a topic: what is set on the source's, and what keeps a copy that the mirror has made from losing or changing
/// records because the target's brokers have other defaults.
fn wanted_of(source: &SourceTopic, target: &TargetTopic, policy: Policy<'_>) -> Wanted {
    let mut wanted = wanted(&source.own, target.replication_factor, policy);
    let is_free = |key: &str, wanted: &Wanted| {
        !wanted.contains_key(key) && !policy.overrides.contains_key(key) && !policy.excluded.matches(key)
    };
    // Without it every record would get another time, whatever the defaults are meant for.
    let restamps = counts_there(TIMESTAMP_TYPE, target, &wanted, policy).as_deref() == Some(LOG_APPEND_TIME);
    if target.is_created && restamps && is_free(TIMESTAMP_TYPE, &wanted) {
        let reason = "the target's brokers would give every record a time of their own".to_owned();
        wanted.insert(TIMESTAMP_TYPE.to_owned(), (CREATE_TIME.to_owned(), reason));
    }
    if !may_adjust(target, policy) {
        return wanted;
    }
    for &key in strictness::KEYS {
        let Some(ours) = source.counting.get(key).filter(|_| is_free(key, &wanted)) else { continue };
        // It was set for this reason before: what the brokers' default is does not matter as long as it is the source's value.
        let is_set_already = target.own.get(key).is_some_and(|own| is_same(own, ours));
        let theirs = counts_there(key, target, &wanted, policy);
        let counts = |key: &str| counts_there(key, target, &wanted, policy);
        let is_strict = |theirs: &Rc<str>| strictness::is_stricter(key, theirs, ours, &source.counting, counts);
        if is_set_already || theirs.as_ref().is_some_and(is_strict) {
            let reason = match &theirs {
                Some(theirs) => format!("it is the source's default, and the target's is {theirs}"),
                None => "it is the source's default, and the target's may be stricter".to_owned(),
            };
            wanted.insert(key.to_owned(), (ours.to_string(), reason));
        }
    }
    wanted
}

fn wanted(source: &Configs, replication_factor: i16, policy: Policy<'_>) -> Wanted {
    let mut wanted = Wanted::new();
    for (key, value) in before_fill(source) {
        if !is_left_alone(&key, policy) && !is_too_strict(&key, &value) {
            wanted.insert(key, (value, "it is set on the source".to_owned()));
        }
    }
    for (key, value) in policy.overrides {
        wanted.insert(key.clone(), (value.clone(), "topic.configs.override has it".to_owned()));
    }
    // More than all replicas can never be in sync: the topic would be dead.
    let minimum = wanted.get(MIN_IN_SYNC).and_then(|(value, _)| value.parse::<i16>().ok());
    // How many the target gives by default is not known before.
    if minimum.is_some_and(|minimum| replication_factor > 0 && minimum > replication_factor) {
        wanted.insert(MIN_IN_SYNC.to_owned(), at_most_replicas(replication_factor));
    }
    wanted
}

fn at_most_replicas(replication_factor: i16) -> (String, String) {
    let reason =
        format!("with more than its {replication_factor} replicas on the target the topic would take no records");
    (replication_factor.to_string(), reason)
}

fn is_left_alone(key: &str, policy: Policy<'_>) -> bool {
    let is_listed = NOT_COPIED.iter().any(|(excluded, _)| *excluded == key) || policy.excluded.matches(key);
    is_listed && !policy.overrides.contains_key(key)
}

/// A record that is from the future at the source is less so when it is copied, so the source's limit fits the target, too. But not
/// where it is so strict that the difference of two clocks matters.
fn is_too_strict(key: &str, value: &str) -> bool {
    key == AFTER_MAX && value.parse::<i64>().is_ok_and(|limit| limit < HOUR_MS)
}

/// The limit for records from the future is never made stricter on the target: the source may hold records that it took
/// under another limit, and somebody may have seen to it that the target takes them, too.
fn is_looser(target: Option<&str>, source: &str) -> bool {
    let number = |text: &str| text.parse::<i64>().ok();
    target.and_then(number).zip(number(source)).is_some_and(|(target, source)| target > source)
}

fn is_being_filled(own: &Configs) -> bool {
    fill_settings::is_open_for_fill(&as_settings(own))
}

/// What a topic has, but for what a mirror has set on it while it fills its first offsets: the source may be a target, too.
fn before_fill(own: &Configs) -> Configs {
    let mut configs = own.clone();
    for (key, value) in fill_settings::close_after_fill(&as_settings(own)) {
        match value {
            Some(value) => configs.insert(key.to_owned(), value),
            None => configs.remove(key),
        };
    }
    configs
}

fn as_settings(own: &Configs) -> Settings {
    own.iter().map(|(key, value)| (key.clone(), (value.clone(), true))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configs(rows: &[(&str, &str)]) -> Configs {
        rows.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn at_source(own: &[(&str, &str)]) -> SourceTopic {
        SourceTopic { own: configs(own), ..SourceTopic::default() }
    }

    fn counting(rows: &[(&'static str, &str)]) -> Counting {
        rows.iter().map(|(key, value)| (*key, Rc::from(*value))).collect()
    }

    fn policy_of<'a>(overrides: &'a Configs, excluded: &'a ConfigExclusion) -> Policy<'a> {
        Policy { overrides, excluded, keeps_defaults: false }
    }

    fn new_topic(source: &[(&str, &str)], replicas: i16, policy: Policy<'_>) -> Configs {
        for_new_topic(&at_source(source), replicas, &Counting::new(), policy)
    }

    /// What is left of a topic's own configurations after all changes, each of which changes something.
    fn follow(source: &[(&str, &str)], target: &TargetTopic, policy: Policy<'_>) -> Configs {
        let mut after = target.clone();
        for change in plan(&at_source(source), target, policy) {
            assert_eq!(change.from(), target.own.get(change.key()).map(String::as_str));
            assert_ne!(change.from(), change.to(), "{change:?} changes nothing");
            match change.to() {
                Some(value) => after.own.insert(change.key().to_owned(), value.to_owned()),
                None => after.own.remove(change.key()),
            };
        }
        assert_eq!(plan(&at_source(source), &after, policy), [], "once is enough");
        after.own
    }

    fn topic(own: &[(&str, &str)]) -> TargetTopic {
        TargetTopic {
            own: configs(own),
            inherited: counting(&[(MIN_IN_SYNC, "1")]),
            replication_factor: 2,
            ..TargetTopic::default()
        }
    }

    fn exclusion(list: &str) -> ConfigExclusion {
        ConfigExclusion::new(list).unwrap_or_default()
    }

    #[test]
    fn a_value_that_is_written_another_way_is_left() {
        let values = [("retention.ms", "00604800000"), ("preallocate", "FALSE"), ("cleanup.policy", "compact,compact")];
        let (overrides, excluded) = (configs(&[("min.cleanable.dirty.ratio", "0.50")]), exclusion(""));
        let there = [("retention.ms", "604800000"), ("preallocate", "false"), ("cleanup.policy", "compact")];
        let mut target = topic(&there);
        target.own.insert("min.cleanable.dirty.ratio".to_owned(), "0.5".to_owned());
        assert_eq!(plan(&at_source(&values), &target, policy_of(&overrides, &excluded)), []);
    }

    #[test]
    fn what_is_set_altered_or_removed_follows() {
        let (overrides, excluded) = (Configs::new(), exclusion(""));
        let policy = policy_of(&overrides, &excluded);
        let target = topic(&[("retention.ms", "1"), ("cleanup.policy", "compact"), ("segment.ms", "7")]);
        let source = [("retention.ms", "2"), ("segment.ms", "7"), ("flush.ms", "9")];
        assert_eq!(follow(&source, &target, policy), configs(&source));
        assert_eq!(follow(&[], &target, policy), Configs::new());
        let reasons: Vec<_> =
            plan(&at_source(&source), &target, policy).into_iter().map(|c| c.reason().to_owned()).collect();
        assert_eq!(reasons, ["it is not set on the source", "it is set on the source", "it is set on the source"]);
    }

    #[test]
    fn what_is_excluded_stays_as_it_is_and_an_override_wins() {
        let overrides = configs(&[("retention.ms", "5"), ("unclean.leader.election.enable", "true")]);
        let excluded = exclusion(r"delete\.retention\.ms, segment\..*");
        let policy = policy_of(&overrides, &excluded);
        let target =
            topic(&[("delete.retention.ms", "2000"), ("segment.ms", "3"), ("message.timestamp.type", "CreateTime")]);
        let source = [
            ("retention.ms", "9"),
            ("delete.retention.ms", "1000"),
            ("segment.bytes", "1000000"),
            ("message.timestamp.type", "LogAppendTime"),
            ("unclean.leader.election.enable", "false"),
            ("remote.storage.enable", "true"),
        ];
        let expected = [
            ("delete.retention.ms", "2000"),
            ("message.timestamp.type", "CreateTime"),
            ("retention.ms", "5"),
            ("segment.ms", "3"),
            ("unclean.leader.election.enable", "true"),
        ];
        assert_eq!(follow(&source, &target, policy), configs(&expected));
        assert_eq!(new_topic(&source, 1, policy), overrides);
    }

    #[test]
    fn what_the_release_of_the_source_does_not_know_stays_unless_an_override_has_it() {
        let (overrides, excluded) = (configs(&[("newer.ms", "5")]), exclusion(""));
        let there = [("newest.ms", "1"), ("newer.ms", "2"), ("segment.ms", "3")];
        let only_there = ["newest.ms", "newer.ms"].map(str::to_owned).into();
        let target = TargetTopic { only_there, ..topic(&there) };
        let policy = policy_of(&overrides, &excluded);
        assert_eq!(follow(&[], &target, policy), configs(&[("newest.ms", "1"), ("newer.ms", "5")]));
    }

    #[test]
    fn no_minimum_is_above_the_replicas() {
        let (overrides, excluded) = (Configs::new(), exclusion(""));
        let policy = policy_of(&overrides, &excluded);
        let minimum = |value| configs(&[("min.insync.replicas", value)]);
        let three = [("min.insync.replicas", "3")];
        assert_eq!(follow(&three, &topic(&[]), policy), minimum("2"));
        assert_eq!(new_topic(&three, 1, policy), minimum("1"));
        assert_eq!(follow(&[("min.insync.replicas", "2")], &topic(&[]), policy), minimum("2"));
        // What the target's brokers would give is too much for this topic.
        let inherits = |own, minimum: Option<&str>| {
            let inherited = minimum.map(|minimum| (MIN_IN_SYNC, Rc::from(minimum))).into_iter().collect();
            TargetTopic { inherited, ..topic(own) }
        };
        assert_eq!(follow(&[], &inherits(&[], Some("3")), policy), minimum("2"));
        assert_eq!(follow(&[], &inherits(&three, Some("3")), policy), minimum("2"));
        assert_eq!(follow(&[], &inherits(&three, Some("2")), policy), Configs::new());
        assert!(needs_inherited(&at_source(&[]), &inherits(&three, None), policy));
        assert!(!needs_inherited(&at_source(&three), &inherits(&three, None), policy));
        // Whoever excludes it looks after it, as long as there is something to look after.
        let excluded = exclusion("min.insync.replicas");
        let policy = policy_of(&overrides, &excluded);
        assert_eq!(follow(&[], &inherits(&three, Some("3")), policy), minimum("3"));
    }

    #[test]
    fn limits_of_time_never_refuse_what_the_source_took() {
        let (overrides, excluded) = (Configs::new(), exclusion(""));
        let policy = policy_of(&overrides, &excluded);
        let source = |after| {
            let limit = ("message.timestamp.after.max.ms", after);
            let configs = [limit, ("message.timestamp.before.max.ms", "1000")];
            follow(&configs, &topic(&[]), policy)
        };
        assert_eq!(source("9000000"), configs(&[("message.timestamp.after.max.ms", "9000000")]));
        assert_eq!(source("1000"), Configs::new());
        // What the target takes already it goes on taking.
        let limit = |value| [("message.timestamp.after.max.ms", value)];
        assert_eq!(follow(&[], &topic(&limit("90000000")), policy), configs(&limit("90000000")));
        assert_eq!(follow(&limit("9000000"), &topic(&limit("90000000")), policy), configs(&limit("90000000")));
        assert_eq!(follow(&limit("9000000"), &topic(&limit("4000000")), policy), configs(&limit("9000000")));
        let overrides = configs(&limit("7000000"));
        let policy = policy_of(&overrides, &excluded);
        assert_eq!(follow(&[], &topic(&limit("90000000")), policy), configs(&limit("7000000")));
    }

    #[test]
    fn a_topic_whose_first_offsets_are_being_filled_is_left_alone() {
        let (overrides, excluded) = (Configs::new(), exclusion(""));
        let policy = policy_of(&overrides, &excluded);
        let compacted = [("cleanup.policy", "compact"), ("retention.ms", "100")];
        let mut open = configs(&compacted);
        for (key, value) in fill_settings::open_for_fill(&as_settings(&open)) {
            open.insert(key.to_owned(), value.unwrap_or_default());
        }
        let target = TargetTopic { own: open.clone(), ..topic(&[]) };
        assert_eq!(plan(&at_source(&[("cleanup.policy", "delete")]), &target, policy), []);
        assert_eq!(
            for_new_topic(&SourceTopic { own: open, ..SourceTopic::default() }, 1, &Counting::new(), policy),
            configs(&compacted),
            "the source is a target that is being filled"
        );
    }

    #[test]
    fn a_copy_that_the_mirror_makes_keeps_and_takes_what_the_source_does() {
        let (overrides, excluded) = (configs(&[("max.message.bytes", "5")]), exclusion("delete\\.retention\\.ms"));
        let adjusts = policy_of(&overrides, &excluded);
        let source = SourceTopic {
            own: Configs::new(),
            counting: counting(&[
                ("cleanup.policy", "delete"),
                ("retention.ms", "604800000"),
                ("retention.bytes", "-1"),
                ("max.message.bytes", "1000"),
                ("min.compaction.lag.ms", "1000"),
                ("message.timestamp.after.max.ms", "9223372036854775807"),
            ]),
        };
        let inherited = counting(&[
            ("cleanup.policy", "compact"),
            ("retention.ms", "86400000"),
            ("retention.bytes", "1000"),
            ("max.message.bytes", "10"),
            ("min.compaction.lag.ms", "0"),
            ("message.timestamp.type", "LogAppendTime"),
            ("message.timestamp.after.max.ms", "3600000"),
        ]);
        let all = [
            ("cleanup.policy", "delete"),
            ("max.message.bytes", "5"),
            ("message.timestamp.after.max.ms", "9223372036854775807"),
            ("message.timestamp.type", "CreateTime"),
            ("retention.bytes", "-1"),
            ("retention.ms", "604800000"),
        ];
        assert_eq!(for_new_topic(&source, 1, &inherited, adjusts), configs(&all));
        // The next look changes nothing, and has nothing to ask: what was set for this reason stays.
        let there =
            TargetTopic { own: configs(&all), is_created: true, replication_factor: 1, ..TargetTopic::default() };
        assert_eq!(plan(&source, &there, adjusts), []);
        assert!(!needs_inherited(&source, &there, adjusts));
        assert_eq!(stricter(&source, &there, adjusts), [""; 0]);
        // A copy of somebody else is told of; one that is to have the target's defaults is, too.
        let keeps = Policy { keeps_defaults: true, ..adjusts };
        let foreign = TargetTopic { inherited: inherited.clone(), ..TargetTopic::default() };
        let ours = TargetTopic { is_created: true, ..foreign.clone() };
        for (target, policy) in [(&foreign, adjusts), (&ours, keeps)] {
            let told = stricter(&source, target, policy).join("; ");
            assert!(told.contains("cleanup.policy is compact on the target and delete at the source"), "{told}");
            assert!(!told.contains("max.message.bytes"), "somebody wants it so: {told}");
        }
        let only_time = configs(&[("max.message.bytes", "5"), ("message.timestamp.type", "CreateTime")]);
        assert_eq!(for_new_topic(&source, 1, &inherited, keeps), only_time);
        // What is looser there is nobody's trouble.
        let loose = counting(&[("cleanup.policy", "delete"), ("retention.ms", "-1"), ("max.message.bytes", "9999")]);
        assert_eq!(for_new_topic(&source, 1, &loose, policy_of(&Configs::new(), &exclusion(""))), Configs::new());
    }
}
