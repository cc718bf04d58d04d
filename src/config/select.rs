//! Decides which topics and groups are mirrored.
//!
//! The lists are MirrorMaker 2's: entries separated by commas, each a name or a regular expression that must match the
//! whole name. What MirrorMaker 1 takes as `--whitelist` means the same here: a comma is "or", blanks and
//! surrounding quotes do not count, and a lone `*` is everything.

use regex::{Regex, RegexSet, RegexSetBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};

/// Topics of brokers: their records mean something to that one cluster only.
const OF_BROKERS: [&str; 4] =
    ["__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata"];

/// Topics another program keeps for one cluster: they are taken only by name.
const ONLY_BY_NAME: [&str; 1] = ["_schemas"];

/// Which topics are mirrored: `topics` and `topics.exclude`.
///
/// ```
/// use kmirror::config::TopicSelection;
/// let topics = TopicSelection::new(r"orders, billing\..*", r".*\.replica")?;
/// assert!(topics.matches("orders"));
/// assert!(topics.matches("billing.eu"));
/// assert!(!topics.matches("billing.eu.replica"));
/// assert!(!topics.matches("orders-old"));
/// # Ok::<_, kmirror::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct TopicSelection {
    pub(super) include: Patterns,
    pub(super) exclude: Patterns,
}

impl TopicSelection {
    /// The topics that `include` selects and `exclude` does not; both as the properties have them.
    pub fn new(include: &str, exclude: &str) -> crate::Result<Self> {
        let read = |key: &str, list| {
            Patterns::parse(list).map_err(|what| crate::Error::new(crate::ErrorKind::Config, format!("{key}: {what}")))
        };
        Ok(TopicSelection { include: read("topics", include)?, exclude: read("topics.exclude", exclude)? })
    }

    /// Whether the topic is mirrored.
    pub fn matches(&self, topic: &str) -> bool {
        self.include.matches(topic) && self.why_not(topic).is_none()
    }

    /// Why a topic that `topics` selects is left out all the same; `None` if it is mirrored or not selected at all.
    pub fn why_not(&self, topic: &str) -> Option<&'static str> {
        if !self.include.matches(topic) {
            None
        } else if Self::is_of_mirror(topic) {
            Some("it belongs to kmirror")
        } else if OF_BROKERS.contains(&topic) {
            Some("it belongs to the brokers of one cluster")
        } else if self.include.names(topic) {
            None
        } else if self.exclude.matches(topic) {
            Some("topics.exclude matches it")
        } else if ONLY_BY_NAME.contains(&topic) {
            Some("it belongs to a program beside one cluster: name it in topics to mirror it")
        } else {
            None
        }
    }

    /// The entries of `topics` that can be names.
    pub(crate) fn named(&self) -> impl Iterator<Item = &str> {
        let is_name = |part: &&str| part.chars().all(super::value::is_name_char);
        self.include.parts.iter().map(String::as_str).filter(is_name)
    }

    /// The entries of `topics` that name a topic which is never mirrored.
    pub(super) fn impossible(&self) -> impl Iterator<Item = &str> {
        let never = |name: &&str| Self::is_of_mirror(name) || OF_BROKERS.contains(name);
        self.include.parts.iter().map(String::as_str).filter(never)
    }

    /// The entries that can match no topic, and of which list.
    pub(super) fn idle(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let included = self.include.idle().map(|entry| ("topics", entry));
        included.chain(self.exclude.idle().map(|entry| ("topics.exclude", entry)))
    }

    fn is_of_mirror(topic: &str) -> bool {
        topic.starts_with("kmirror.") && topic.ends_with(".internal")
    }
}

/// Which consumer groups are copied: `groups` and `groups.exclude`.
#[derive(Debug, Clone, Default)]
pub struct GroupSelection {
    pub(super) include: Patterns,
    pub(super) exclude: Patterns,
}

impl GroupSelection {
    /// Whether the group is copied. As with topics, an exact name in `groups` beats an exclude pattern.
    pub fn matches(&self, group: &str) -> bool {
        self.include.matches(group) && (self.include.names(group) || !self.exclude.matches(group))
    }

    /// Whether any group is copied at all.
    pub(crate) fn selects_any(&self) -> bool {
        !self.include.is_empty()
    }

    /// Whether names that begin like this are copied: the beginning itself is selected as a name would be, or an entry of
    /// `groups` that is a name begins like it.
    pub(crate) fn matches_prefix(&self, prefix: &str) -> bool {
        self.matches(prefix) || self.include.parts.iter().any(|entry| entry.starts_with(prefix) && self.matches(entry))
    }

    /// The entries of `groups` that are plain names: such a group is asked for also when it is not listed.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let is_plain = |text: &&str| text.chars().all(|c| c.is_alphanumeric() || "._-".contains(c));
        self.include.parts.iter().map(String::as_str).filter(is_plain)
    }
}

/// Which configurations of topics are not copied, beside those that never are: `topic.configs.exclude`.
#[derive(Debug, Clone, Default)]
pub struct ConfigExclusion {
    pub(super) keys: Patterns,
}

impl ConfigExclusion {
    /// The exclusion of a list as the property has it.
    pub fn new(list: &str) -> crate::Result<Self> {
        let wrong = |what| crate::Error::new(crate::ErrorKind::Config, format!("topic.configs.exclude: {what}"));
        Patterns::parse(list).map(|keys| ConfigExclusion { keys }).map_err(wrong)
    }

    /// Whether the target's topics keep their own value of a configuration.
    pub fn matches(&self, key: &str) -> bool {
        self.keys.matches(key)
    }
}

/// A comma-separated list of names and regular expressions.
#[derive(Debug, Clone, Default)]
pub(super) struct Patterns {
    parts: Vec<String>,
    set: RegexSet,
}

impl Patterns {
    /// Reads a list; the error says which entry is wrong and what to do.
    pub(super) fn parse(list: &str) -> Result<Self, String> {
        let quotes = ['"', '\''];
        let list = list.trim().trim_start_matches(quotes).trim_end_matches(quotes);
        let part = |part: &str| if part == "*" { ".*".to_owned() } else { part.to_owned() };
        let parts: Vec<String> = list.split(',').map(str::trim).filter(|text| !text.is_empty()).map(part).collect();
        for part in &parts {
            Regex::new(part).map_err(|error| explain(part, list.contains(','), &error))?;
        }
        // A dot is every character: the name of a group may have line breaks, and `.*` is everything.
        let set = RegexSetBuilder::new(parts.iter().map(|part| format!(r"\A(?:{part})\z")))
            .dot_matches_new_line(true)
            .build()
            .map_err(|_| "the entries are too large as one regular expression: use fewer or simpler ones".to_owned())?;
        Ok(Patterns { parts, set })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The list as text that reads back as the same list.
    pub(super) fn text(&self) -> String {
        self.parts.join(", ")
    }

    fn matches(&self, name: &str) -> bool {
        self.set.is_match(name)
    }

    /// The entries that match nothing with the characters of a topic's name, or of a setting's.
    pub(super) fn idle(&self) -> impl Iterator<Item = &str> {
        let is_idle = |part: &&String| regex_syntax::parse(part).is_ok_and(|parsed| !may_match(&parsed));
        self.parts.iter().filter(is_idle).map(String::as_str)
    }

    fn names(&self, name: &str) -> bool {
        self.parts.iter().any(|part| part == name)
    }
}

/// Whether an expression matches some text of the characters that a topic's name may have.
fn may_match(expression: &Hir) -> bool {
    let is_legal = |c: char| super::value::is_name_char(c);
    match expression.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).is_ok_and(|text| text.chars().all(is_legal)),
        HirKind::Class(Class::Unicode(class)) => {
            let mut ranges = class.ranges().iter();
            ranges
                .any(|range| (0..=127u8).map(char::from).any(|c| is_legal(c) && range.start() <= c && c <= range.end()))
        }
        HirKind::Class(Class::Bytes(_)) => true,
        HirKind::Repetition(repetition) => repetition.min == 0 || may_match(&repetition.sub),
        HirKind::Capture(capture) => may_match(&capture.sub),
        HirKind::Concat(all) => all.iter().all(may_match),
        HirKind::Alternation(some) => some.iter().any(may_match),
    }
}

fn explain(part: &str, comma: bool, error: &regex::Error) -> String {
    let quoted = super::value::quote(part);
    if uses(part, &["(?=", "(?!", "(?<=", "(?<!"]) {
        return format!(
            "{quoted} uses look-around, which is not supported: use topics.exclude or groups.exclude instead"
        );
    }
    if uses(part, &[r"\1", r"\2", r"\3", r"\4", r"\5", r"\6", r"\7", r"\8", r"\9", r"\k<"]) {
        return format!("{quoted} uses a backreference, which is not supported: write the alternatives out");
    }
    if uses(part, &["(?>", r"\Q", r"\G", r"\Z", r"\R", r"\X"]) {
        return format!(
            "{quoted} uses a construct of Java's regular expressions that is not supported: write it without"
        );
    }
    let hint = match part.matches(['{', '[', '(']).count() == part.matches(['}', ']', ')']).count() {
        false if comma => {
            "; a comma always separates entries, as in MirrorMaker 2, also inside {m,n}, [...] and (...): \
             write the expression without a comma"
        }
        _ => "",
    };
    let reason = match error {
        regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
        // The crate draws the position over several lines; the last one says what is wrong.
        error => error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    };
    format!("{quoted} is neither a name nor a regular expression: {reason}{hint}")
}

fn uses(part: &str, constructs: &[&str]) -> bool {
    constructs.iter().any(|construct| part.contains(construct))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT_EXCLUDE: &str = r".*[\-\.]internal, .*\.replica, __.*";

    fn selection(include: &str, exclude: &str) -> TopicSelection {
        TopicSelection::new(include, exclude).expect("patterns")
    }

    fn refusal(include: &str) -> String {
        TopicSelection::new(include, "").expect_err("a bad pattern").message().to_owned()
    }

    #[test]
    fn an_entry_matches_the_whole_name() {
        let topics = selection(r"orders, a|b, billing\..*", "");
        for topic in ["orders", "a", "b", "billing.eu"] {
            assert!(topics.matches(topic), "{topic}");
        }
        for topic in ["orders2", "my-orders", "ab", "billing", "orders\n"] {
            assert!(!topics.matches(topic), "{topic}");
        }
    }

    #[test]
    fn a_dot_is_every_character_of_a_name() {
        let groups = Patterns::parse(".*").expect("a pattern");
        assert!(groups.matches("evil\ngroup") && groups.matches("\r\u{2028}"));
        let some = Patterns::parse("evil.*").expect("a pattern");
        assert!(some.matches("evil\ngroup") && !some.matches("group\nevil"));
    }

    #[test]
    fn everything_leaves_out_what_belongs_to_one_cluster() {
        let topics = selection(".*", DEFAULT_EXCLUDE);
        assert!(topics.matches("orders") && topics.matches("internal-news"));
        for topic in [
            "__consumer_offsets",
            "__transaction_state",
            "mm2-offset-syncs.b.internal",
            "mm2-configs.a.internal",
            "a.checkpoints.internal",
            "kmirror.a-to-b.internal",
            "_schemas",
            "x.replica",
        ] {
            assert!(!topics.matches(topic), "{topic}");
            assert!(topics.why_not(topic).is_some(), "{topic}");
        }
    }

    #[test]
    fn a_name_beats_a_pattern_but_not_what_can_never_be() {
        let topics =
            selection("_schemas, __mine, news.internal, __consumer_offsets, kmirror.x.internal", DEFAULT_EXCLUDE);
        for topic in ["_schemas", "__mine", "news.internal"] {
            assert!(topics.matches(topic), "{topic}");
        }
        assert!(!topics.matches("__consumer_offsets") && !topics.matches("kmirror.x.internal"));
        assert_eq!(topics.impossible().collect::<Vec<_>>(), ["__consumer_offsets", "kmirror.x.internal"]);
    }

    #[test]
    fn kmirrors_topics_never_whatever_is_excluded() {
        assert!(!selection(".*", "").matches("kmirror.a.internal"));
        assert!(selection(".*", "").matches("a.internal"));
    }

    #[test]
    fn lists_of_mirror_maker_1_work() {
        assert!(selection("'a,b'", "").matches("b"));
        assert!(selection("\"a|b\"", "").matches("a"));
        assert!(selection("*", "").matches("anything"));
    }

    #[test]
    fn entries_that_match_no_name_are_found() {
        let idle = |list: &str| {
            let patterns = Patterns::parse(list).expect("patterns");
            patterns.idle().map(str::to_owned).collect::<Vec<_>>()
        };
        let never =
            ["secret # personal", "orders #all", "a b", "käse", r"a\.b\s+c", "a/.*", "[#$]x", "(a|b) c", "x{2} y"];
        for entry in never {
            assert_eq!(idle(entry), [entry], "{entry}");
        }
        let some = [
            "orders",
            ".*",
            r".*[\-\.]internal",
            "__.*",
            r"\..*",
            "^a$",
            r"\bteam\d+\b",
            "[^a]x",
            "(a |b)c",
            "a( b)?",
            r"\w+",
            "(?i)Orders",
            "x{0}y*z",
            "*",
            r"\p{L}+",
        ];
        for entry in some {
            assert_eq!(idle(entry), [""; 0], "{entry}");
        }
        assert_eq!(idle("a, b # c, d"), ["b # c"]);
    }

    #[test]
    fn a_bad_pattern_is_explained() {
        assert!(refusal("a{1,2}").contains("comma"), "{}", refusal("a{1,2}"));
        assert!(refusal("[a,b]").contains("comma"), "{}", refusal("[a,b]"));
        assert!(refusal("(?!x).*").contains("look-around"));
        assert!(refusal(r"(a)\1").contains("backreference"));
        assert!(refusal(r"\Qa.b\E").contains("Java"));
        assert!(refusal("(a").contains("'(a'") && !refusal("(a").contains("comma"), "{}", refusal("(a"));
        assert!(refusal("a{1000}{1000}{1000}").contains("too large"));
    }
}
