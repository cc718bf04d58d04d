//! `kmirror plan`: what `run` would do on the target, and what it could not.
//! Asks both clusters and writes nothing. Where a mirror would copy nothing, the exit code is the one that a start would come to.

mod acls;
mod configs;
mod emitted;
mod permissions;

use std::collections::BTreeSet;

use kmirror::config::utc;
use kmirror::text::printable;
use kmirror::{GroupPlan, MarkerPermission, Plan, TopicAction, TopicPlan};

use crate::args::LookOptions;
use crate::exit::ExitCode;
use crate::text::{counted, grouped, milliseconds};
use crate::{looking, output};

pub(crate) fn command(options: &LookOptions) -> ExitCode {
    let error = match looking::at_each(options, kmirror::plan, text) {
        Ok(plans) => plans.iter().find_map(Plan::error),
        Err(code) => return code,
    };
    error.map_or(ExitCode::SUCCESS, |error| {
        output::complain(error.message());
        ExitCode::from(error.kind().exit_code())
    })
}

pub(crate) fn text(plan: &Plan) -> String {
    let before = if plan.has_run { "has run before" } else { "has not run yet" };
    let mut text = format!("mirror '{}', which {before}\n", plan.name);
    if let Some(at) = plan.promoted_at_ms {
        text.push_str(&format!(
            "promoted at {}: run refuses to start it; set another 'name', or take it back with kmirror promote --undo\n",
            utc(at)
        ));
    }
    for warning in &plan.warnings {
        text.push_str(&format!("warning: {}\n", printable(warning)));
    }
    let internal = &plan.internal_topic;
    for (what, sentence) in [("warning", &internal.warning), ("refuse", &internal.reason)] {
        if let Some(sentence) = sentence {
            text.push_str(&format!("{what}: {}\n", printable(sentence)));
        }
    }
    text.push_str(match plan.markers {
        MarkerPermission::Allowed => "offsets without a record: markers are permitted\n",
        MarkerPermission::Denied => {
            "offsets without a record: markers are not permitted; operation Alter on the target's cluster would allow them\n"
        }
        MarkerPermission::NotNeeded => "offsets are translated: the target's own records are left as they are\n",
        _ => "offsets without a record: the target does not tell whether markers are permitted\n",
    });
    for topic in &plan.topics {
        push_topic(&mut text, topic);
    }
    configs::push(&mut text, &plan.configs);
    acls::push(&mut text, &plan.acls);
    for (what, why) in &plan.groups_unseen {
        text.push_str(&format!("{}: {why}\n", printable(what)));
    }
    for group in &plan.groups {
        push_group(&mut text, group);
    }
    emitted::push(&mut text, &plan.emitted_topics);
    permissions::push(&mut text, &plan.missing_permissions);
    text
}

fn push_topic(text: &mut String, topic: &TopicPlan) {
    let what = match (topic.action, topic.replication_factor) {
        (TopicAction::Create, Some(-1)) => "create, with the target's default number of replicas".to_owned(),
        (TopicAction::Create, Some(replicas)) => {
            let wanted = topic
                .replication_factor_wanted
                .map(|wanted| format!(" instead of {wanted}, because the target has too few brokers"));
            format!("create, {}{}", counted(replicas as u64, "replica"), wanted.unwrap_or_default())
        }
        (TopicAction::Grow, _) => "add partitions".to_owned(),
        (TopicAction::Mirror, _) => "mirror into the topic that is there".to_owned(),
        _ => format!("refuse: {}", topic.reason.as_deref().unwrap_or("no reason is known")),
    };
    let renamed = topic.target_topic.as_ref().map(|name| format!(" as {}", printable(name))).unwrap_or_default();
    let (topic_name, partitions) = (printable(&topic.topic), counted(topic.partitions as u64, "partition"));
    text.push_str(&format!("{topic_name}{renamed}  {partitions}: {what}\n"));
    if let Some(warning) = &topic.warning {
        text.push_str(&format!("    warning: {}\n", printable(warning)));
    }
    for prefix in &topic.prefixes {
        text.push_str(&format!(
            "    partition {} begins at {}: fill from {}, about {}\n",
            prefix.partition,
            grouped(prefix.to as u64),
            grouped(prefix.from as u64),
            milliseconds((prefix.estimate_seconds * 1000.0) as u64)
        ));
    }
    if let Some(deletions) = topic.deletions {
        let risk = if deletions.at_risk { ": some may be missing already, see on.data.loss" } else { "" };
        text.push_str(&format!(
            "    deletions of keys are kept for {} (delete.retention.ms), the copy was not level for {}{risk}\n",
            milliseconds(deletions.kept_ms.max(0) as u64),
            milliseconds(deletions.behind_ms.max(0) as u64)
        ));
    }
    for (partition, reason) in &topic.refused_partitions {
        text.push_str(&format!("    partition {partition} is parked: {reason}\n"));
    }
}

fn push_group(text: &mut String, group: &GroupPlan) {
    let topics: BTreeSet<&str> = group.offsets.iter().map(|offset| offset.topic.as_str()).collect();
    let set = format!(
        "set the offsets of {} in {}",
        counted(group.offsets.len() as u64, "partition"),
        counted(topics.len() as u64, "topic")
    );
    let what = match (&group.skipped, group.offsets.is_empty()) {
        (None, _) => set,
        (Some(why), true) => format!("skip: {why}"),
        (Some(why), false) => format!("{set}; {why}"),
    };
    text.push_str(&format!("group {}: {what}\n", printable(&group.group)));
    for offset in &group.offsets {
        if let Some(source) = offset.raised_from {
            text.push_str(&format!(
                "    {}-{} is at {} at the source: the copy begins behind that, and the group gets {}\n",
                printable(&offset.topic),
                offset.partition,
                grouped(source as u64),
                grouped(offset.to as u64)
            ));
        }
    }
}
