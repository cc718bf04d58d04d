//! Decides what a topic gets of which the target does not know a setting, or forbids its value: another value if the target says which it
//! would take, else none. What decides which records are kept, and what somebody has asked for, is never adapted: the topic is refused then.

use std::collections::BTreeMap;

use super::{Change, Configs, Policy};
use crate::terms::settings::COUNTING;

/// What brokers and policies say before the smallest or largest value that they take.
const BOUNDS: [&str; 4] =
    ["must be at least ", "must be no more than ", "minimum allowed value of ", "maximum allowed value of "];

/// What was learned of topics, by their names on the target.
#[derive(Debug, Default)]
pub struct Adaptations {
    /// By topic and setting.
    learned: BTreeMap<(String, String), Adapted>,
}

/// What is done about a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Adapted {
    /// The value that the target refuses.
    refused: String,
    /// What is set in its place; nothing if it is left out.
    instead: Option<String>,
    /// What the target says.
    why: String,
}

impl Adaptations {
    /// Learns from what the target says to settings that a topic was to get; whether something else can be asked for now.
    pub fn learn<'a>(
        &mut self,
        topic: &str,
        why: &str,
        asked: impl Iterator<Item = (&'a str, &'a str)>,
        policy: Policy<'_>,
    ) -> bool {
        let named = asked.filter(|(key, _)| names(why, key)).max_by_key(|(key, _)| key.len());
        let Some((key, value)) = named else { return false };
        if COUNTING.contains(&key) || policy.overrides.contains_key(key) {
            return false;
        }
        let bound = bound_in(why).filter(|bound| bound != value);
        let of = (topic.to_owned(), key.to_owned());
        match self.learned.get_mut(&of) {
            // What it said it would take it does not take either.
            Some(known) if known.instead.as_deref() == Some(value) => known.instead = None,
            _ => {
                let adapted = Adapted { refused: value.to_owned(), instead: bound, why: why.to_owned() };
                self.learned.insert(of, adapted);
            }
        }
        true
    }

    /// Adapts what a new topic is to have.
    pub fn adapt_new(&self, topic: &str, configs: &mut Configs) {
        let wanted: Vec<(String, String)> = configs.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        for (key, value) in wanted {
            match self.of(topic, &key, &value) {
                Some(Adapted { instead: Some(instead), .. }) => drop(configs.insert(key, instead.clone())),
                Some(Adapted { instead: None, .. }) => drop(configs.remove(&key)),
                None => {}
            }
        }
    }

    /// Adapts changes of a topic; what is left of them, and what to tell.
    pub fn adapt(&self, topic: &str, changes: Vec<Change>) -> (Vec<Change>, Vec<String>) {
        let mut told = Vec::new();
        let adapt = |change: Change| {
            let Some((value, adapted)) =
                change.to().and_then(|value| Some((value, self.of(topic, change.key(), value)?)))
            else {
                return Some(change);
            };
            told.push(sentence(change.key(), value, adapted));
            let value = adapted.instead.clone()?;
            let from = change.from().map(str::to_owned);
            let reason = "it is as near to the source's as the target takes".to_owned();
            (from.as_ref() != Some(&value)).then(|| Change::Set { key: change.key().to_owned(), value, from, reason })
        };
        (changes.into_iter().filter_map(adapt).collect(), told)
    }

    fn of(&self, topic: &str, key: &str, value: &str) -> Option<&Adapted> {
        self.learned.get(&(topic.to_owned(), key.to_owned())).filter(|adapted| adapted.refused == value)
    }
}

fn sentence(key: &str, value: &str, adapted: &Adapted) -> String {
    let what = match &adapted.instead {
        Some(instead) => format!("{key} is {instead} on the target and {value} at the source"),
        None => format!("{key} is left out on the target and {value} at the source"),
    };
    format!(
        "{what}, because the target does not take it ({}); topic.configs.override={key}=VALUE sets another value, \
         topic.configs.exclude={key} leaves it out without a warning",
        adapted.why
    )
}

/// Whether a text has the name of a setting, not as a part of a longer one.
fn names(text: &str, key: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    text.match_indices(key).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + key.len()..]);
        let mut rest = after.chars();
        let goes_on = match rest.next() {
            Some('.') => rest.next().is_some_and(is_part),
            next => next.is_some_and(is_part),
        };
        !before.ends_with(|c: char| is_part(c) || c == '.') && !goes_on
    })
}

/// The value that a text says would be taken.
fn bound_in(text: &str) -> Option<String> {
    let behind = BOUNDS.iter().find_map(|bound| text.split_once(bound))?.1;
    let end = behind.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(behind.len());
    behind[..end].parse::<i64>().ok().map(|bound| bound.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigExclusion;

    const TOO_SMALL: &str = "Invalid value 262144 for configuration segment.bytes: Value must be at least 1048576";
    const BY_POLICY: &str =
        "Config property 'segment.bytes' with value '1048576' is lower than the minimum allowed value of 52428800.";

    fn configs(rows: &[(&str, &str)]) -> Configs {
        rows.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// Learns from texts one after the other; what a new topic gets then, and whether each text was of use.
    fn learned(own: &[(&str, &str)], texts: &[&str], overrides: &Configs) -> (Adaptations, Configs, Vec<bool>) {
        let excluded = ConfigExclusion::new("").unwrap_or_default();
        let policy = Policy { overrides, excluded: &excluded, keeps_defaults: false };
        let mut adaptations = Adaptations::default();
        let mut now = configs(own);
        let mut of_use = Vec::new();
        for text in texts {
            let asked = now.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            of_use.push(adaptations.learn("t", text, asked, policy));
            now = configs(own);
            adaptations.adapt_new("t", &mut now);
        }
        (adaptations, now, of_use)
    }

    #[test]
    fn what_the_target_does_not_take_is_raised_or_left_out() {
        let own = [("segment.bytes", "262144"), ("compression.zstd.level", "5"), ("flush.ms", "7")];
        let unknown = "Unknown topic config name: compression.zstd.level";
        let (adaptations, now, of_use) = learned(&own, &[TOO_SMALL, unknown], &Configs::new());
        assert_eq!((now, of_use), (configs(&[("segment.bytes", "1048576"), ("flush.ms", "7")]), vec![true, true]));
        let set = |key: &str, from: Option<&str>, value: &str| Change::Set {
            key: key.to_owned(),
            value: value.to_owned(),
            from: from.map(str::to_owned),
            reason: String::new(),
        };
        let planned = vec![set("compression.zstd.level", None, "5"), set("segment.bytes", Some("1048576"), "262144")];
        let (changes, told) = adaptations.adapt("t", planned);
        assert_eq!(changes, [], "both are as they can be");
        assert!(
            told[0].starts_with("compression.zstd.level is left out on the target and 5 at the source"),
            "{told:?}"
        );
        assert!(told[1].contains("segment.bytes is 1048576 on the target and 262144"), "{told:?}");
        assert!(
            told.iter().all(|told| told.contains("topic.configs.override=") && told.contains("topic.configs.exclude="))
        );
        // Another value at the source may be fine, and another topic too.
        let other = vec![set("segment.bytes", Some("1048576"), "2097152")];
        assert_eq!(adaptations.adapt("t", other.clone()), (other, Vec::new()));
        let elsewhere = vec![set("segment.bytes", None, "262144")];
        assert_eq!(adaptations.adapt("u", elsewhere.clone()), (elsewhere, Vec::new()));
    }

    #[test]
    fn a_bound_that_is_refused_too_is_left_out() {
        let own = [("segment.bytes", "262144")];
        assert_eq!(learned(&own, &[TOO_SMALL, BY_POLICY], &Configs::new()).1, configs(&[]));
        assert_eq!(learned(&own, &[BY_POLICY], &Configs::new()).1, configs(&[("segment.bytes", "52428800")]));
    }

    #[test]
    fn what_matters_for_records_or_was_asked_for_is_never_adapted() {
        let own = [("retention.ms", "5"), ("segment.bytes", "262144")];
        let retention = "Invalid value 5 for configuration retention.ms: Value must be at least 10";
        assert_eq!(learned(&own, &[retention], &Configs::new()).2, [false]);
        assert_eq!(learned(&own, &[TOO_SMALL], &configs(&[("segment.bytes", "262144")])).2, [false]);
        // Nothing of it is named.
        assert_eq!(
            learned(&own, &["not on a Sunday", "log.segment.bytes", "segment.bytes.x"], &Configs::new()).2,
            [false; 3]
        );
    }
}
