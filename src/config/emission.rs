//! Which topics of MirrorMaker 2's formats a mirror writes when it is asked to, what they are called, and where they are.
//!
//! The names are those of its replication policies, so that its tools find them. Such a topic is never mirrored, except for
//! heartbeats: that they are is what they are for.

use std::time::Duration;

use super::{Config, HEARTBEATS, Side};

/// What is written in MirrorMaker 2's formats: nothing unless it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Emission {
    /// `emit.heartbeats.enabled`: heartbeats of this mirror, on the target.
    pub heartbeats: bool,
    /// `emit.heartbeats.at.source.enabled`: heartbeats of the way back, at the source.
    pub heartbeats_at_source: bool,
    /// `emit.heartbeats.interval.seconds`.
    pub heartbeats_interval: Duration,
    /// `heartbeats.topic.replication.factor`.
    pub heartbeats_replication_factor: i16,
    /// `emit.checkpoints.enabled`: what offsets of groups are on the target.
    pub checkpoints: bool,
    /// `emit.checkpoints.interval.seconds`.
    pub checkpoints_interval: Duration,
    /// `checkpoints.topic.replication.factor`.
    pub checkpoints_replication_factor: i16,
    /// `emit.offset-syncs.enabled`: which offsets belong together.
    pub offset_syncs: bool,
    /// `offset-syncs.topic.location`.
    pub offset_syncs_location: Side,
    /// `offset-syncs.topic.replication.factor`.
    pub offset_syncs_replication_factor: i16,
    /// `offset.lag.max`.
    pub offset_lag_max: u64,
    /// `replication.policy.internal.topic.separator.enabled`: whether the separator also stands in the names of these topics.
    pub separator_in_internal_topics: bool,
}

impl Emission {
    /// The key of something that is asked for.
    pub(super) fn asked_for(&self) -> Option<&'static str> {
        let keys = [
            (self.heartbeats, "emit.heartbeats.enabled"),
            (self.heartbeats_at_source, "emit.heartbeats.at.source.enabled"),
            (self.checkpoints, "emit.checkpoints.enabled"),
            (self.offset_syncs, "emit.offset-syncs.enabled"),
        ];
        keys.into_iter().find_map(|(is_asked_for, key)| is_asked_for.then_some(key))
    }
}

/// What a topic of MirrorMaker 2 holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Emitted {
    Heartbeats,
    Checkpoints,
    OffsetSyncs,
}

/// A topic that the mirror writes in a format of MirrorMaker 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EmittedTopic {
    pub(crate) what: Emitted,
    pub(crate) side: Side,
    pub(crate) name: String,
    pub(crate) replication_factor: i16,
}

impl EmittedTopic {
    /// The property that asks for it.
    pub(crate) fn key(&self) -> &'static str {
        match (self.what, self.side) {
            (Emitted::Heartbeats, Side::Target) => "emit.heartbeats.enabled",
            (Emitted::Heartbeats, Side::Source) => "emit.heartbeats.at.source.enabled",
            (Emitted::Checkpoints, _) => "emit.checkpoints.enabled",
            (Emitted::OffsetSyncs, _) => "emit.offset-syncs.enabled",
        }
    }
}

impl Config {
    /// The topics that are asked for. Without both aliases there are none: that was refused when the configuration was built.
    pub(crate) fn emitted(&self) -> Vec<EmittedTopic> {
        let emission = &self.emission;
        let (Some(source), Some(target)) = (&self.names.source_alias, &self.names.target_alias) else {
            return Vec::new();
        };
        let separator = if emission.separator_in_internal_topics { self.names.separator.as_str() } else { "." };
        // With its topic of offset syncs MirrorMaker 2 names the other cluster.
        let other = if emission.offset_syncs_location == Side::Source { target } else { source };
        let heartbeats = |side| {
            let (name, replication_factor) = (HEARTBEATS.to_owned(), emission.heartbeats_replication_factor);
            EmittedTopic { what: Emitted::Heartbeats, side, name, replication_factor }
        };
        let all = [
            (emission.heartbeats, heartbeats(Side::Target)),
            (emission.heartbeats_at_source, heartbeats(Side::Source)),
            (
                emission.checkpoints,
                EmittedTopic {
                    what: Emitted::Checkpoints,
                    side: Side::Target,
                    name: format!("{source}{separator}checkpoints{separator}internal"),
                    replication_factor: emission.checkpoints_replication_factor,
                },
            ),
            (
                emission.offset_syncs,
                EmittedTopic {
                    what: Emitted::OffsetSyncs,
                    side: emission.offset_syncs_location,
                    name: format!("mm2-offset-syncs{separator}{other}{separator}internal"),
                    replication_factor: emission.offset_syncs_replication_factor,
                },
            ),
        ];
        all.into_iter().filter(|(is_asked_for, _)| *is_asked_for).map(|(_, topic)| topic).collect()
    }

    /// Whether a topic of the source holds MirrorMaker 2's heartbeats, which go on whatever happens and which nobody reads on in: its own
    /// name, or one with an alias of this flow before it, and only where heartbeats are written at all. Somebody's topic that
    /// happens to end like it is data, and so is one with an alias that this flow does not know: nothing may be left out by
    /// the look of its name.
    pub(crate) fn beats(&self, topic: &str) -> bool {
        if !self.emission.heartbeats && !self.emission.heartbeats_at_source {
            return false;
        }
        let mut rest = topic;
        while let Some(original) = self.names.without_known_alias(rest) {
            rest = original;
        }
        rest == HEARTBEATS
    }

    /// Whether a topic of the source is one that the mirror itself keeps writing to: mirrored, it would never rest.
    pub(super) fn emits_to(&self, topic: &str) -> bool {
        let is_it = |emitted: &EmittedTopic| emitted.what == Emitted::OffsetSyncs && emitted.name == topic;
        self.emission.offset_syncs && topic.ends_with("internal") && self.emitted().iter().any(is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Properties;

    fn config(more: &[(&str, &str)]) -> Config {
        let mut properties = Properties::new();
        properties.set("source.bootstrap.servers", "a:1").set("target.bootstrap.servers", "b:1");
        properties.set("source.cluster.alias", "A").set("target.cluster.alias", "B");
        for (key, value) in more {
            properties.set(*key, *value);
        }
        properties.build().expect("a good configuration").0
    }

    fn names(config: &Config) -> Vec<(Side, String)> {
        config.emitted().into_iter().map(|topic| (topic.side, topic.name)).collect()
    }

    const ALL: [(&str, &str); 4] = [
        ("emit.heartbeats.enabled", "true"),
        ("emit.heartbeats.at.source.enabled", "true"),
        ("emit.checkpoints.enabled", "true"),
        ("emit.offset-syncs.enabled", "true"),
    ];

    fn named(names: [(Side, &str); 4]) -> Vec<(Side, String)> {
        names.map(|(side, name)| (side, name.to_owned())).to_vec()
    }

    #[test]
    fn topics_are_called_as_mirror_maker_2_calls_them() {
        let (source, target) = (Side::Source, Side::Target);
        assert_eq!(config(&[]).emitted(), [], "nothing that is not asked for");
        let expected = [
            (target, "heartbeats"),
            (source, "heartbeats"),
            (target, "A.checkpoints.internal"),
            (source, "mm2-offset-syncs.B.internal"),
        ];
        assert_eq!(names(&config(&ALL)), named(expected));
        let mut keys = ALL.to_vec();
        keys.extend([("replication.policy.separator", "_"), ("offset-syncs.topic.location", "target")]);
        let expected = [
            (target, "heartbeats"),
            (source, "heartbeats"),
            (target, "A_checkpoints_internal"),
            (target, "mm2-offset-syncs_A_internal"),
        ];
        assert_eq!(names(&config(&keys)), named(expected));
        keys.push(("replication.policy.internal.topic.separator.enabled", "false"));
        assert_eq!(names(&config(&keys))[2].1, "A.checkpoints.internal");
    }

    #[test]
    fn what_the_mirror_writes_at_the_source_is_not_mirrored_but_for_heartbeats() {
        let mut keys = ALL.to_vec();
        keys.extend([("replication.policy.separator", "_"), ("topics.exclude", "")]);
        let config = config(&keys);
        assert!(!config.mirrors("mm2-offset-syncs_B_internal") && config.mirrors("mm2-offset-syncs_C_internal"));
        assert!(config.mirrors("heartbeats") && !config.mirrors("B_heartbeats"));
    }

    #[test]
    fn heartbeats_are_known_by_the_names_of_the_flow_and_never_by_the_end_of_one() {
        let flow = config(&ALL);
        for (topic, expected) in [
            ("heartbeats", true),
            ("B.heartbeats", true),
            ("A.B.heartbeats", true),
            ("iot.heartbeats", false),
            ("C.heartbeats", false),
            ("B.iot.heartbeats", false),
            ("myheartbeats", false),
            ("heartbeats.C", false),
        ] {
            assert_eq!(flow.beats(topic), expected, "{topic}");
        }
        assert!(!config(&[]).beats("heartbeats"), "nobody has said that it is MirrorMaker 2's");
    }

    #[test]
    fn whoever_asks_has_to_name_both_clusters() {
        for (key, value) in ALL {
            let mut properties = Properties::new();
            properties.set("source.bootstrap.servers", "a:1").set("target.bootstrap.servers", "b:1").set(key, value);
            properties.set("source.cluster.alias", "A");
            let problem = properties.build().expect_err("an alias is missing");
            let expected = format!(
                "target.cluster.alias: is missing: {key}=true writes it into topics of MirrorMaker 2's formats"
            );
            assert_eq!(problem.message(), expected);
        }
    }
}
