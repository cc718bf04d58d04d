//! Which of two values of a setting lets records go sooner, or refuses more of them.
//! Says nothing of what is done about it, nor of settings that do neither.

use std::rc::Rc;

use crate::terms::settings::{COUNTING, Counting};

/// The settings that decide which records a topic keeps and takes, in the order in which they are looked at: all that count, but for the
/// first two.
pub const KEYS: &[&str] = COUNTING.split_at(2).1;
const POLICY: &str = "cleanup.policy";

/// Whether `theirs` is stricter than `ours`. What a setting means depends on what else counts, at the source and there.
pub fn is_stricter(
    key: &str,
    theirs: &str,
    ours: &str,
    source: &Counting,
    there: impl Fn(&str) -> Option<Rc<str>>,
) -> bool {
    let both_do = |what: &str| {
        let does = |policy: Option<Rc<str>>| policy.is_none_or(|policy| has(&policy, what));
        does(source.get(POLICY).cloned()) && does(there(POLICY))
    };
    match key {
        POLICY => theirs.split(',').any(|policy| !policy.trim().is_empty() && !has(ours, policy.trim())),
        "retention.ms" | "retention.bytes" => both_do("delete") && is_less(theirs, ours),
        "delete.retention.ms" | "min.compaction.lag.ms" | "max.compaction.lag.ms" => {
            both_do("compact") && is_less(theirs, ours)
        }
        _ => is_less(theirs, ours),
    }
}

fn has(policies: &str, policy: &str) -> bool {
    policies.split(',').any(|one| one.trim() == policy)
}

/// Whether a limit is below another one; -1 is none.
fn is_less(theirs: &str, ours: &str) -> bool {
    let number = |text: &str| text.parse::<i64>().ok().map(|number| if number < 0 { i64::MAX } else { number });
    number(theirs).zip(number(ours)).is_some_and(|(theirs, ours)| theirs < ours)
}
