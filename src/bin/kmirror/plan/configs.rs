//! The part of `kmirror plan` about configurations of topics.
//! A line for each topic, and under it what would be changed and why.

use kmirror::text::{escaped, printable};
use kmirror::{ConfigChange, ConfigPlan};

pub(super) fn push(text: &mut String, plans: &[ConfigPlan]) {
    for plan in plans {
        text.push_str(&format!("configuration of {}\n", printable(&plan.topic)));
        for change in &plan.changes {
            text.push_str(&format!("    {}\n", escaped(&line(change))));
        }
        if let Some(trouble) = &plan.trouble {
            text.push_str(&format!("    cannot be done: {trouble}\n"));
        }
        for warning in &plan.warnings {
            text.push_str(&format!("    stricter than at the source: {warning}\n"));
        }
    }
}

fn line(change: &ConfigChange) -> String {
    let key = &change.key;
    let what = match (&change.from, &change.to) {
        (None, Some(to)) => format!("set {key}={to}"),
        (Some(from), Some(to)) => format!("set {key}={to}, now {from}"),
        (from, None) => format!("remove {key}, now {}", from.as_deref().unwrap_or("the default")),
    };
    format!("{what}: {}", change.reason)
}
