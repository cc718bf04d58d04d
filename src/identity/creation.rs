//! Creates the internal topic. A cluster's policy may forbid settings or a number of replicas: what matters less is given up then, and
//! told. Without compaction there is no internal topic, as retention would make the mirror forget who it is.

use crate::config::ReplicationFactor;
use crate::error::{Error, ErrorKind, Result};
use crate::terms::broker_error::{BrokerError, Class};
use crate::terms::topic::NewTopic;
use crate::wire::admin;
use crate::wire::cluster::Cluster;

/// Replicas of the internal topic, where the target has so many brokers.
const REPLICAS: i16 = 3;
/// As many as the cluster gives a topic of which nobody says it.
const DEFAULT_REPLICAS: i16 = -1;
/// What is written again and again, such as the source's ends, is not to pile up until a start takes long: closed segments are
/// compacted, and small ones are closed soon.
const SMALL_SEGMENTS: [(&str, &str); 2] = [("segment.bytes", "8388608"), ("min.cleanable.dirty.ratio", "0.1")];
/// The smallest segments that hosted clusters allow.
const ALLOWED_SEGMENTS: [(&str, &str); 1] = [("segment.bytes", "52428800")];
/// The clock of whoever runs the mirror has no part in it; and it is compressed already where that is of use.
const OTHERS: [(&str, &str); 2] = [("compression.type", "uncompressed"), ("message.timestamp.type", "LogAppendTime")];
const COMPACTED: (&str, &str) = ("cleanup.policy", "compact");

/// The ways to create it, from what is best to what is enough.
fn attempts(topic: &str, replication_factor: ReplicationFactor, brokers: usize) -> Vec<NewTopic> {
    let brokers = i16::try_from(brokers).unwrap_or(i16::MAX);
    let replicas = match replication_factor {
        ReplicationFactor::Source => REPLICAS.min(brokers),
        ReplicationFactor::Count(count) => count.min(brokers),
        ReplicationFactor::TargetDefault => DEFAULT_REPLICAS,
    };
    let settings: [&[&[(&str, &str)]]; 3] = [&[&SMALL_SEGMENTS, &OTHERS], &[&ALLOWED_SEGMENTS, &OTHERS], &[]];
    let with = |replication_factor: i16, more: &[&[(&str, &str)]]| NewTopic {
        name: topic.to_owned(),
        partitions: 1,
        replication_factor,
        configs: std::iter::once(&COMPACTED)
            .chain(more.iter().copied().flatten())
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let as_wanted = settings.iter().map(|more| with(replicas, more));
    let by_default = settings.iter().map(|more| with(DEFAULT_REPLICAS, more));
    match replicas {
        DEFAULT_REPLICAS => as_wanted.collect(),
        _ => as_wanted.chain(by_default).collect(),
    }
}

/// What was given up for a topic that the target takes.
fn given_up(best: &NewTopic, taken: &NewTopic) -> Option<String> {
    let other = |(key, value): (&String, &String)| match taken.configs.get(key) {
        Some(taken) if taken == value => None,
        Some(taken) => Some(format!("{key}={taken} instead of {value}")),
        None => Some(format!("no {key} of its own")),
    };
    let mut others: Vec<String> = best.configs.iter().filter_map(other).collect();
    if best.replication_factor != taken.replication_factor {
        others.push(format!("as many replicas as the cluster gives by default instead of {}", best.replication_factor));
    }
    (!others.is_empty()).then(|| others.join(", "))
}

/// Creates the internal topic, or only asks whether it could be created; what was given up for it, as a sentence.
///
/// # Errors
/// Why the cluster creates it in no way, and how to do that by hand.
pub(crate) async fn create(
    target: &Cluster,
    topic: &str,
    replication_factor: ReplicationFactor,
    (controller_id, brokers): (i32, usize),
    only_ask: bool,
) -> Result<Option<String>> {
    let attempts = attempts(topic, replication_factor, brokers);
    // The first says why something was given up, the last what is in the way when nothing is left to give up.
    let (mut first, mut last): (Option<Error>, Option<Error>) = (None, None);
    for attempt in &attempts {
        let answer = ask(target, controller_id, attempt, only_ask).await?;
        match (answer, &first) {
            (Ok(()), None) => return Ok(None),
            (Ok(()), Some(refusal)) => {
                let what = given_up(&attempts[0], attempt).unwrap_or_default();
                let message = format!("the mirror's internal topic '{topic}' gets {what}: {}", refusal.message());
                return Ok(Some(message));
            }
            (Err(error), _) if is_of_what_is_asked(&error) => {
                first.get_or_insert_with(|| error.clone());
                last = Some(error);
            }
            (Err(error), _) => return Err(error),
        }
    }
    Err(last.map_or_else(
        || Error::new(ErrorKind::Internal, "the internal topic was not created"),
        |error| by_hand(topic, &error),
    ))
}

async fn ask(target: &Cluster, controller_id: i32, new: &NewTopic, only_ask: bool) -> Result<Result<()>> {
    let new = std::slice::from_ref(new);
    Ok(match only_ask {
        true => {
            admin::may_create_topics(target, controller_id, new).await?.into_values().try_for_each(|it| it.map(drop))
        }
        false => admin::create_topics(target, controller_id, new).await?.into_values().try_for_each(|it| it.map(drop)),
    })
}

/// Whether it is its settings or replicas for which the topic is refused.
fn is_of_what_is_asked(error: &Error) -> bool {
    error.kafka_code().and_then(BrokerError::of).is_some_and(|error| error.class == Class::Refused)
}

fn by_hand(topic: &str, error: &Error) -> Error {
    let message = format!(
        "{}; the mirror remembers who it is in this topic: create it by hand as the cluster allows it, with one partition and \
         cleanup.policy=compact",
        error.message()
    );
    let own = Error::new(error.kind(), message).with_topic(topic);
    match error.kafka_code() {
        Some(code) => own.with_kafka_code(code),
        None => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compaction_is_never_given_up_and_replicas_come_last() {
        let tried = attempts("t", ReplicationFactor::Source, 5);
        assert!(tried.iter().all(|new| new.configs.get("cleanup.policy").is_some_and(|policy| policy == "compact")));
        assert_eq!(tried.iter().map(|new| new.replication_factor).collect::<Vec<_>>(), [3, 3, 3, -1, -1, -1]);
        assert_eq!(tried.iter().map(|new| new.configs.len()).collect::<Vec<_>>(), [5, 4, 1, 5, 4, 1]);
        assert_eq!(attempts("t", ReplicationFactor::TargetDefault, 5).len(), 3);
        assert_eq!(attempts("t", ReplicationFactor::Count(4), 2)[0].replication_factor, 2);
    }

    #[test]
    fn what_was_given_up_is_named() {
        let tried = attempts("t", ReplicationFactor::Source, 5);
        assert_eq!(given_up(&tried[0], &tried[0]), None);
        let larger = given_up(&tried[0], &tried[1]).unwrap_or_default();
        assert_eq!(larger, "no min.cleanable.dirty.ratio of its own, segment.bytes=52428800 instead of 8388608");
        let least = given_up(&tried[0], &tried[5]).unwrap_or_default();
        assert!(least.contains("no segment.bytes of its own") && least.ends_with("by default instead of 3"), "{least}");
    }
}
