//! The part of `kmirror plan` about topics in MirrorMaker 2's formats.
//! A line for each that would be created, or cannot be.

use kmirror::EmittedTopicPlan;

use crate::text::counted;

pub(super) fn push(text: &mut String, topics: &[EmittedTopicPlan]) {
    for topic in topics {
        let what = match (&topic.reason, u64::try_from(topic.replication_factor)) {
            (Some(reason), _) => format!("cannot be created: {reason}"),
            (None, Ok(replicas)) => format!("create, {}", counted(replicas, "replica")),
            (None, Err(_)) => "create".to_owned(),
        };
        text.push_str(&format!("{} of the {}, for {}: {what}\n", topic.topic, topic.side, topic.asked_for_by));
    }
}
