//! What the plan of a mirror says about whether it runs: its name, topics, permissions, groups.
//!
//! What concerns many topics is one line with the first of them, because there may be thousands; `kmirror plan` tells all.

use super::{CheckLine, CheckSubject};
use crate::config::utc;
use crate::error::{Error, ErrorKind};
use crate::plan::{ConfigPlan, InternalTopicPlan, MarkerPermission, MissingPermission, Plan, TopicPlan};

pub(super) fn lines(plan: &Plan) -> Vec<CheckLine> {
    let mut lines = vec![mirror(plan)];
    let fix = "give each mirror a 'name' of its own";
    lines.extend(plan.warnings.iter().map(|what| CheckLine::warning(None, CheckSubject::Mirror, what, fix)));
    lines.extend(internal_topic(plan));
    // First, because they may be why topics are refused.
    lines.extend(permissions(plan));
    lines.extend(topics(&plan.topics));
    lines.extend(configs(&plan.configs));
    lines.extend(groups(plan));
    lines
}

/// What keeps even the plan from being made.
pub(super) fn impossible(error: &Error) -> CheckLine {
    let (subject, fix) = match error.kind() {
        ErrorKind::Authorization => (CheckSubject::Permissions, "grant it to the mirror's principal"),
        ErrorKind::Config => (CheckSubject::Mirror, "change the property that it names"),
        _ => (CheckSubject::Topics, "look at what kmirror plan says, and at the brokers' logs"),
    };
    CheckLine::failed(None, subject, error.kind(), error.message(), fix)
}

fn mirror(plan: &Plan) -> CheckLine {
    const SUBJECT: CheckSubject = CheckSubject::Mirror;
    let name = &plan.name;
    match plan.promoted_at_ms {
        Some(at) => {
            let message = format!("mirror '{name}' was promoted at {}: it does not start", utc(at));
            let fix = "set another 'name' for a new mirror, or take the switch-over back with kmirror promote --undo";
            CheckLine::failed(None, SUBJECT, ErrorKind::Config, message, fix)
        }
        None if plan.has_run => CheckLine::ok(None, SUBJECT, format!("mirror '{name}' has run before and goes on")),
        None => CheckLine::ok(None, SUBJECT, format!("mirror '{name}' has not run yet")),
    }
}

fn internal_topic(plan: &Plan) -> Option<CheckLine> {
    const SUBJECT: CheckSubject = CheckSubject::Mirror;
    let InternalTopicPlan { topic, warning, reason, .. } = &plan.internal_topic;
    if let Some(reason) = reason {
        let fix = format!("create topic '{topic}' by hand, with one partition and cleanup.policy=compact");
        return Some(CheckLine::failed(Some("target"), SUBJECT, ErrorKind::Topic, reason, &fix));
    }
    let fix = "nothing has to be done, but a start reads more; or create the topic by hand, with smaller segments";
    warning.as_ref().map(|warning| CheckLine::warning(Some("target"), SUBJECT, warning, fix))
}

fn topics(topics: &[TopicPlan]) -> Vec<CheckLine> {
    const SUBJECT: CheckSubject = CheckSubject::Topics;
    if topics.is_empty() {
        let fix = "check 'topics', 'topics.exclude' and the permission to describe topics at the source";
        let message = "no topic of the source is selected: a mirror does not start";
        return vec![CheckLine::failed(None, SUBJECT, ErrorKind::Config, message, fix)];
    }
    let refused = topics.iter().flat_map(TopicPlan::refusals);
    let mut lines = vec![match first_of(refused, "topics or partitions cannot be mirrored") {
        Some(message) => {
            let fix = "the others are mirrored; kmirror plan tells what is in the way of each";
            CheckLine::failed(None, SUBJECT, ErrorKind::TargetConflict, message, fix)
        }
        None => {
            let partitions = topics.iter().map(|topic| topic.partitions).sum();
            let (topics, partitions) = (counted(topics.len(), "topic"), counted(partitions, "partition"));
            CheckLine::ok(None, SUBJECT, format!("{topics} with {partitions} can be mirrored"))
        }
    }];
    if let Some(message) =
        first_of(topics.iter().filter_map(|topic| topic.warning.clone()), "copies have more partitions")
    {
        let fix = "what is copied is right; see to it before producers are moved";
        lines.push(CheckLine::warning(Some("target"), SUBJECT, message, fix));
    }
    let clamped = topics.iter().filter_map(|topic| {
        let (wanted, there) = (topic.replication_factor_wanted?, topic.replication_factor?);
        Some(format!(
            "topic '{}' is created with {} instead of {wanted}",
            topic.topic,
            counted(there.max(0) as usize, "replica")
        ))
    });
    if let Some(message) = first_of(clamped, "topics get fewer replicas than wanted") {
        let fix = "the target has too few brokers for them: add some, or set 'replication.factor'";
        lines.push(CheckLine::warning(Some("target"), SUBJECT, message, fix));
    }
    let late = topics.iter().filter_map(|topic| Some((topic, topic.deletions.filter(|known| known.at_risk)?)));
    let late = late.map(|(topic, known)| {
        format!(
            "the copy of topic '{}' was not level for {} ms, and the source keeps deletions of keys for {} ms (delete.retention.ms): some may \
             be missing",
            topic.topic, known.behind_ms, known.kept_ms
        )
    });
    if let Some(message) = first_of(late, "compacted topics come too late for deletions of keys") {
        let fix = "compare both with kmirror verify, or delete the topic on the target to copy it anew; raise delete.retention.ms at the source";
        lines.push(CheckLine::warning(Some("source"), SUBJECT, message, fix));
    }
    lines
}

fn configs(configs: &[ConfigPlan]) -> Option<CheckLine> {
    let stricter =
        configs.iter().flat_map(|plan| plan.warnings.iter().map(move |what| format!("topic '{}': {what}", plan.topic)));
    let message = first_of(stricter, "settings are others on the target than at the source")?;
    let fix = "set it on the target's topic, at the source's, or with topic.configs.override";
    Some(CheckLine::warning(Some("target"), CheckSubject::Topics, message, fix))
}

fn permissions(plan: &Plan) -> Vec<CheckLine> {
    const SUBJECT: CheckSubject = CheckSubject::Permissions;
    let mut lines: Vec<CheckLine> = plan.missing_permissions.iter().map(missing).collect();
    if lines.is_empty() {
        lines.push(CheckLine::ok(None, SUBJECT, "nothing that the mirror needs is denied"));
    }
    if plan.markers == MarkerPermission::Denied {
        let message = "offsets without a record are filled by empty transactions, a few hundred a second, because markers are not allowed";
        let fix = "allow Alter on the target's cluster (ClusterAction before Kafka 3.8)";
        lines.push(CheckLine::warning(Some("target"), SUBJECT, message, fix));
    }
    lines
}

fn missing(missing: &MissingPermission) -> CheckLine {
    let MissingPermission { side, resource_type, resource, operation, needed_for } = missing;
    let message = format!("{operation} on {resource_type} '{resource}' is not allowed, which is needed {needed_for}");
    let fix = format!(
        "allow {operation} on {resource_type} '{resource}' to the {side}'s principal, with kafka-acls for example"
    );
    CheckLine::failed(Some(side), CheckSubject::Permissions, ErrorKind::Authorization, message, &fix)
}

fn groups(plan: &Plan) -> Vec<CheckLine> {
    const SUBJECT: CheckSubject = CheckSubject::Groups;
    let unseen = plan.groups_unseen.iter().map(|(what, why)| format!("{what}: {why}"));
    if let Some(message) = first_of(unseen, "things keep groups from being seen") {
        let fix = "allow Describe on the groups at the source, or leave them out with 'groups.exclude'";
        return vec![CheckLine::warning(Some("source"), SUBJECT, message, fix)];
    }
    match plan.groups.len() {
        0 => Vec::new(),
        count => vec![CheckLine::ok(None, SUBJECT, format!("seen: {}", counted(count, "consumer group")))],
    }
}

fn counted(count: usize, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

/// The first, and how many there are; `None` of none.
fn first_of(mut all: impl Iterator<Item = String>, what: &str) -> Option<String> {
    let first = all.next()?;
    Some(match all.count() + 1 {
        1 => first,
        count => format!("{count} {what}, the first of them: {first}"),
    })
}
