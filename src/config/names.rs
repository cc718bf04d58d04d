//! Decides what a topic of the source is called on the target, and which topics would only come back to where they are from.
//!
//! MirrorMaker 2's two policies: with `identity` a topic keeps its name, with `default` the source's alias stands before it, so
//! that two clusters can mirror each other. A name says through which clusters a topic came, the last one first; what came
//! through the target is not mirrored to it again. Every part of kmirror asks here.

use std::borrow::Cow;

/// The topic of MirrorMaker 2 that carries nothing but signs of life.
pub(crate) const HEARTBEATS: &str = "heartbeats";

/// How topics are called on the target: `replication.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicationPolicy {
    /// As at the source.
    Identity,
    /// With the alias of the source before the name.
    Default,
}

/// What topics are called on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicNames {
    /// `replication.policy`.
    pub policy: ReplicationPolicy,
    /// `replication.policy.separator`: what stands between alias and topic.
    pub separator: String,
    /// `source.cluster.alias`.
    pub source_alias: Option<String>,
    /// `target.cluster.alias`.
    pub target_alias: Option<String>,
}

impl TopicNames {
    /// The name on the target of a topic of the source.
    ///
    /// ```
    /// use kmirror::config::Properties;
    /// let mut properties = Properties::new();
    /// properties.set("source.bootstrap.servers", "a:9092").set("target.bootstrap.servers", "b:9092");
    /// properties.set("replication.policy", "default").set("source.cluster.alias", "a");
    /// let (config, _) = properties.build()?;
    /// assert_eq!(config.names.on_target("orders"), "a.orders");
    /// # Ok::<_, kmirror::Error>(())
    /// ```
    pub fn on_target<'a>(&self, topic: &'a str) -> Cow<'a, str> {
        match self.prefix_of(topic) {
            Some((alias, separator)) => Cow::Owned(format!("{alias}{separator}{topic}")),
            None => Cow::Borrowed(topic),
        }
    }

    /// Whether a topic of the source is a copy that came through the target: mirrored once more, it would grow for ever.
    pub fn comes_from_target(&self, topic: &str) -> bool {
        let Some(target) = self.target_alias.as_deref() else { return false };
        let mut rest = topic;
        while let Some((alias, original)) = self.origin(rest) {
            if alias == target {
                return true;
            }
            rest = original;
        }
        false
    }

    /// The name of a topic without the alias of one of this flow's clusters before it; `None` if no such alias is there.
    pub(crate) fn without_known_alias<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let aliases = [&self.source_alias, &self.target_alias].into_iter().flatten();
        let mut known = aliases.filter(|alias| !alias.is_empty() && !self.separator.is_empty());
        known.find_map(|alias| topic.strip_prefix(alias.as_str())?.strip_prefix(self.separator.as_str()))
    }

    /// What stands before all names on the target, if that is the same for all.
    pub(crate) fn prefix(&self) -> Option<String> {
        let alias = self.source_alias.as_deref().filter(|_| self.policy == ReplicationPolicy::Default)?;
        Some(format!("{alias}{}", self.separator))
    }

    /// Alias and separator that a topic gets before its name.
    fn prefix_of(&self, topic: &str) -> Option<(&str, &str)> {
        let alias = self.source_alias.as_deref().filter(|_| self.renames(topic))?;
        Some((alias, &self.separator))
    }

    /// Heartbeats say by their name which clusters they came through, with every policy of MirrorMaker 2. It takes all names that end
    /// like it for heartbeats, and so does this: only for what a topic is called, and where the flow has aliases. What is data and
    /// what is not is decided by [`Config::beats`](super::Config::beats).
    fn renames(&self, topic: &str) -> bool {
        self.policy == ReplicationPolicy::Default || topic.ends_with(HEARTBEATS)
    }

    /// The cluster that a topic was mirrored from, and its name there; `None` if its name does not say so.
    fn origin<'a>(&self, topic: &'a str) -> Option<(&'a str, &'a str)> {
        if self.separator.is_empty() || !self.renames(topic) {
            return None;
        }
        // As Java splits: separators at the end separate nothing.
        topic.split_once(&self.separator).filter(|(_, rest)| !rest.replace(&self.separator, "").is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(policy: ReplicationPolicy, separator: &str) -> TopicNames {
        let alias = |alias: &str| Some(alias.to_owned());
        TopicNames { policy, separator: separator.to_owned(), source_alias: alias("a"), target_alias: alias("b") }
    }

    #[test]
    fn default_puts_the_alias_before_every_name() {
        let names = names(ReplicationPolicy::Default, ".");
        for (topic, expected) in
            [("orders", "a.orders"), ("x.orders", "a.x.orders"), ("heartbeats", "a.heartbeats"), ("a.t", "a.a.t")]
        {
            assert_eq!(names.on_target(topic), expected);
        }
        assert_eq!(TopicNames { separator: "_".to_owned(), ..names }.on_target("orders"), "a_orders");
    }

    #[test]
    fn identity_keeps_every_name_but_that_of_heartbeats() {
        let names = names(ReplicationPolicy::Identity, ".");
        assert_eq!(names.on_target("b.orders"), "b.orders");
        assert_eq!(names.on_target("heartbeats"), "a.heartbeats");
        let nameless = TopicNames { source_alias: None, target_alias: None, ..names };
        assert_eq!(nameless.on_target("heartbeats"), "heartbeats");
    }

    #[test]
    fn what_came_through_the_target_does_not_go_back() {
        let default = names(ReplicationPolicy::Default, ".");
        for (topic, expected) in [
            ("b.orders", true),
            ("c.b.orders", true),
            ("c.orders", false),
            ("orders", false),
            ("bb.orders", false),
            ("orders.b", false),
            ("b", false),
            ("b.", false),
            ("b..", false),
            ("b..orders", true),
            (".b.orders", true),
            ("b.heartbeats", true),
            ("", false),
        ] {
            assert_eq!(default.comes_from_target(topic), expected, "{topic}");
        }
        let dashes = names(ReplicationPolicy::Default, "--");
        assert!(dashes.comes_from_target("b--orders") && !dashes.comes_from_target("b.orders"));
        let identity = names(ReplicationPolicy::Identity, ".");
        assert!(!identity.comes_from_target("b.orders") && identity.comes_from_target("b.heartbeats"));
        assert!(!names(ReplicationPolicy::Default, "").comes_from_target("b.orders"));
    }
}
