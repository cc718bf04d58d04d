//! MirrorMaker 2's checkpoints, read from their topic and decoded by hand: what a group's offset at the source is at the target.
//! Nothing here is shared with the engine.

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::tool::Stage;
use crate::support::{Failure, Outcome, fail};

/// One checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) group: String,
    /// The name at the target.
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) upstream: i64,
    pub(super) downstream: i64,
}

/// All checkpoints of a scenario's group, in order; none where there is no such topic.
pub(super) fn of(stage: &Stage<'_>, group: &str) -> Outcome<Vec<Checkpoint>> {
    let mut found = read(&stage.target().direct(), &format!("{}.checkpoints.internal", stage.east))?;
    found.retain(|checkpoint| checkpoint.group == group);
    Ok(found)
}

/// Whether no checkpoint of a partition is before the one before it.
pub(super) fn never_go_back(checkpoints: &[Checkpoint]) -> bool {
    checkpoints.iter().enumerate().all(|(at, checkpoint)| {
        let same = |other: &&Checkpoint| (&other.topic, other.partition) == (&checkpoint.topic, checkpoint.partition);
        checkpoints[..at].iter().filter(same).all(|before| before.downstream <= checkpoint.downstream)
    })
}

fn read(bootstrap: &str, topic: &str) -> Outcome<Vec<Checkpoint>> {
    let client = crate::support::raw::Client::new(bootstrap);
    if !client.topics()?.iter().any(|name| name == topic) {
        return Ok(Vec::new());
    }
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "reader-of-checkpoints")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&assignment)?;
    let mut found = Vec::new();
    loop {
        match consumer.poll(super::tool::LIMIT) {
            None => return fail(format!("{topic} has no end")),
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(found),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(message)) => found.extend(decoded(message.key(), message.payload())?),
        }
    }
}

/// The key is group, topic and partition; the value a version, both offsets and a text.
fn decoded(key: Option<&[u8]>, value: Option<&[u8]>) -> Outcome<Option<Checkpoint>> {
    let (Some(key), Some(value)) = (key, value) else { return Ok(None) };
    let mut key = Bytes(key);
    let (group, topic) = (key.text()?, key.text()?);
    let partition = i32::from_be_bytes(key.number()?);
    let mut value = Bytes(value);
    value.number::<2>()?;
    let (upstream, downstream) = (i64::from_be_bytes(value.number()?), i64::from_be_bytes(value.number()?));
    Ok(Some(Checkpoint { group, topic, partition, upstream, downstream }))
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn number<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let Some((number, rest)) = self.0.split_first_chunk::<N>() else {
            return fail("a checkpoint is too short");
        };
        self.0 = rest;
        Ok(*number)
    }

    fn text(&mut self) -> Outcome<String> {
        let length = usize::from(u16::from_be_bytes(self.number()?));
        let too_short = || Failure("a checkpoint is too short".to_owned());
        let (text, rest) = self.0.split_at_checked(length).ok_or_else(too_short)?;
        self.0 = rest;
        Ok(String::from_utf8(text.to_vec())?)
    }
}
