//! Decides what settings a topic has while its first offsets are filled, and which it had before.
//!
//! A topic that only compacts refuses to have records deleted. For the time of the fill it gets a policy that allows it, and
//! retention that never comes, from both of which what was set before can be read again: whoever finds such a topic,
//! however much later, can put it right without any other memory.

use crate::terms::settings::{self, POLICY, RETENTION, Settings};

/// The policy of a topic that is being filled: both words, in an order that says whether the policy was set on the topic.
const POLICY_WAS_SET: &str = "compact,delete";
const POLICY_WAS_DEFAULT: &str = "delete,compact";
/// Retention during a fill, in milliseconds 142 000 years and in bytes 4.5 PB for each partition: exactly this if none was
/// set on the topic, else this and what was set and 2, which is at least -1.
const NEVER: i64 = 1 << 52;

type Changes = settings::Changes<&'static str>;

/// What has to be changed before records of a topic with these settings can be deleted.
pub fn open_for_fill(settings: &Settings) -> Changes {
    let Some((policy, was_set)) = settings.get(POLICY) else { return Vec::new() };
    if policy.contains("delete") || is_open_for_fill(settings) {
        return Vec::new();
    }
    let policy = if *was_set { POLICY_WAS_SET } else { POLICY_WAS_DEFAULT };
    let mut changes = vec![(POLICY, Some(policy.to_owned()))];
    for key in RETENTION {
        let set = settings.get(key).filter(|(_, set)| *set).and_then(|(value, _)| value.parse::<i64>().ok());
        let never = set.map_or(NEVER, |value| NEVER.saturating_add(value.saturating_add(2)));
        changes.push((key, Some(never.to_string())));
    }
    changes
}

/// Whether a topic has the settings of one that is being filled.
pub fn is_open_for_fill(settings: &Settings) -> bool {
    let never =
        |key: &&str| settings.get(*key).and_then(|(value, _)| value.parse::<i64>().ok()).is_some_and(|v| v >= NEVER);
    let policy = settings.get(POLICY).map(|(policy, _)| policy.as_str());
    matches!(policy, Some(POLICY_WAS_SET | POLICY_WAS_DEFAULT)) && RETENTION.iter().all(never)
}

/// What has to be changed so that a topic is as it was before it was filled.
pub fn close_after_fill(settings: &Settings) -> Changes {
    if !is_open_for_fill(settings) {
        return Vec::new();
    }
    let was_set = settings.get(POLICY).is_some_and(|(policy, _)| policy == POLICY_WAS_SET);
    let mut changes: Changes = vec![(POLICY, was_set.then(|| "compact".to_owned()))];
    for key in RETENTION {
        let value = settings.get(key).and_then(|(value, _)| value.parse::<i64>().ok()).unwrap_or(NEVER);
        changes.push((key, (value > NEVER).then(|| (value - NEVER - 2).to_string())));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(rows: &[(&str, &str, bool)]) -> Settings {
        rows.iter().map(|(key, value, set)| ((*key).to_owned(), ((*value).to_owned(), *set))).collect()
    }

    fn applied(settings: &Settings, changes: &Changes, defaults: &Settings) -> Settings {
        let mut after = settings.clone();
        for (key, value) in changes {
            let entry = value.clone().map_or_else(|| defaults[*key].clone(), |value| (value, true));
            after.insert((*key).to_owned(), entry);
        }
        after
    }

    #[test]
    fn what_a_topic_had_before_a_fill_can_be_read_from_what_it_has_meanwhile() {
        let defaults = settings(&[
            ("cleanup.policy", "compact", false),
            ("retention.ms", "604800000", false),
            ("retention.bytes", "-1", false),
        ]);
        for set in [
            &[][..],
            &[("cleanup.policy", "compact", true)],
            &[("cleanup.policy", "compact", true), ("retention.ms", "-1", true)],
            &[("retention.ms", "0", true), ("retention.bytes", "123456789", true)],
        ] {
            let mut before = defaults.clone();
            before.extend(settings(set));
            let meanwhile = applied(&before, &open_for_fill(&before), &defaults);
            assert!(is_open_for_fill(&meanwhile) && !is_open_for_fill(&before), "{meanwhile:?}");
            assert!(open_for_fill(&meanwhile).is_empty(), "a second process changes nothing more");
            assert_eq!(applied(&meanwhile, &close_after_fill(&meanwhile), &defaults), before);
        }
    }

    #[test]
    fn a_topic_that_deletes_stays_as_it_is() {
        for policy in ["delete", "compact,delete", "delete,compact"] {
            let topic = settings(&[("cleanup.policy", policy, true), ("retention.ms", "5", true)]);
            assert!(open_for_fill(&topic).is_empty() && close_after_fill(&topic).is_empty(), "{policy}");
        }
    }
}
