//! A fetch session with one source broker (KIP-227): after the first request only what changed is named, so that
//! thousands of idle partitions cost nothing.
//!
//! The session knows what the broker was told; [`Session::want`] and [`Session::forget`] say what it should know, and
//! [`Session::fetch`] sends the difference. After any trouble the next request starts a new session with everything.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest};
use uuid::Uuid;

use super::cluster::topic_name;
use super::connection::Connection;
use super::memory::Reservation;
use crate::error::{Error, ErrorKind, Result};
use crate::terms::broker_error::{BrokerError, Class};

/// How much a fetch may bring, and for how long the broker may wait for more.
#[derive(Debug, Clone, Copy)]
pub struct FetchLimits {
    /// Longest time the broker waits for `min_bytes`.
    pub max_wait: Duration,
    /// Bytes the broker waits for.
    pub min_bytes: i32,
    /// Bytes of the whole answer; one batch larger than that still comes whole.
    pub max_bytes: i32,
    /// Bytes of one partition.
    pub partition_max_bytes: i32,
    /// Only what is committed.
    pub read_committed: bool,
}

/// What a fetch brought for one partition.
#[derive(Debug)]
pub struct FetchedPartition {
    /// The number under which the partition was wanted.
    pub slot: usize,
    /// The offset that was asked for.
    pub fetch_offset: i64,
    /// The broker's answer.
    pub result: Result<FetchedRecords, BrokerError>,
}

/// Records of one partition.
#[derive(Debug)]
pub struct FetchedRecords {
    /// Next offset that consumers of this isolation level cannot see yet.
    pub end_offset: i64,
    /// Next offset that consumers cannot see yet even if they read what is not committed.
    pub high_watermark: i64,
    /// Whether the log is not the one that was fetched from before, by its leader epochs (KIP-595).
    pub diverges: bool,
    /// Batches, as bytes.
    pub records: Bytes,
    /// Producer id and first offset of aborted transactions in them.
    pub aborted: Vec<(i64, i64)>,
}

/// From this version on a fetch says the leader epoch of the record before it (KIP-595, Kafka 2.7).
const COMPARES_EPOCHS: i16 = 12;

#[derive(Debug)]
struct Wanted {
    slot: usize,
    offset: i64,
    last_epoch: i32,
}

type Key = (Rc<str>, i32);

/// From this version on topics go by their ids (KIP-516).
const BY_ID: i16 = 13;

#[derive(Debug)]
struct WantedTopic {
    /// Nil if it is not known.
    id: u128,
    partitions: BTreeMap<i32, Wanted>,
}

/// A fetch session.
#[derive(Debug, Default)]
pub struct Session {
    id: i32,
    epoch: i32,
    wanted: HashMap<Rc<str>, WantedTopic>,
    names: HashMap<u128, Rc<str>>,
    count: usize,
    /// A topic without a known id was wanted: all go by their names then.
    has_nameless: bool,
    by_id: bool,
    /// Not told yet to the broker.
    changed: BTreeSet<Key>,
    forgotten: BTreeSet<Key>,
    /// Whether the last answer was that there is no such session.
    was_refused: bool,
}

impl Session {
    /// Asks for a partition of the topic of this id, nil if it is not known, from an offset on. `last_epoch` is the leader epoch
    /// of the record before it, -1 if not known.
    pub fn want(&mut self, (topic, id): (&Rc<str>, u128), partition: i32, slot: usize, offset: i64, last_epoch: i32) {
        if self.wanted.get(topic).is_none_or(|known| known.id != id) {
            self.know(topic, id);
        }
        let Some(WantedTopic { partitions, .. }) = self.wanted.get_mut(topic) else { return };
        match partitions.get_mut(&partition) {
            // What was wanted of a topic of the same name before is forgotten with its slot.
            Some(known) if known.slot != slot => {
                *known = Wanted { slot, offset, last_epoch };
                self.changed.insert((topic.clone(), partition));
            }
            Some(known) if (known.offset, known.last_epoch) == (offset, last_epoch) => {}
            Some(known) => {
                (known.offset, known.last_epoch) = (offset, last_epoch);
                self.changed.insert((topic.clone(), partition));
            }
            None => {
                partitions.insert(partition, Wanted { slot, offset, last_epoch });
                self.count += 1;
                self.changed.insert((topic.clone(), partition));
                self.forgotten.remove(&(topic.clone(), partition));
            }
        }
    }

    /// Takes in a topic, or the id of one that was created again under its name.
    fn know(&mut self, topic: &Rc<str>, id: u128) {
        self.has_nameless |= id == 0;
        self.names.insert(id, topic.clone());
        match self.wanted.get_mut(topic) {
            None => drop(self.wanted.insert(topic.clone(), WantedTopic { id, partitions: BTreeMap::new() })),
            Some(known) => {
                let before = std::mem::replace(&mut known.id, id);
                self.names.remove(&before);
                // The broker's session has the old one, which is not to be taken for this one.
                self.reset();
            }
        }
    }

    /// Asks for a partition no more.
    pub fn forget(&mut self, topic: &Rc<str>, partition: i32, slot: usize) {
        let Some(WantedTopic { partitions, .. }) = self.wanted.get_mut(topic) else { return };
        if partitions.get(&partition).is_some_and(|known| known.slot == slot) {
            partitions.remove(&partition);
            self.count -= 1;
            self.changed.remove(&(topic.clone(), partition));
            self.forgotten.insert((topic.clone(), partition));
        }
    }

    /// The same by the number under which it was wanted.
    pub fn forget_slot(&mut self, slot: usize) {
        let has_it = |(topic, wanted): (&Rc<str>, &WantedTopic)| {
            let partition = wanted.partitions.iter().find(|(_, known)| known.slot == slot)?;
            Some((topic.clone(), *partition.0))
        };
        if let Some((topic, partition)) = self.wanted.iter().find_map(has_it) {
            self.forget(&topic, partition, slot);
        }
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Starts anew with the next request.
    pub fn reset(&mut self) {
        self.id = 0;
        self.epoch = 0;
        self.forgotten.clear();
        self.changed.clear();
        for (topic, wanted) in &self.wanted {
            self.changed.extend(wanted.partitions.keys().map(|partition| (topic.clone(), *partition)));
        }
    }

    /// Sends one fetch and waits for its answer. After an error the session is new.
    pub async fn fetch(
        &mut self,
        connection: &Connection,
        limits: FetchLimits,
        room: Reservation,
    ) -> Result<Vec<FetchedPartition>> {
        let fetched = self.try_fetch(connection, limits, room).await;
        if fetched.is_err() {
            self.reset();
        }
        fetched
    }

    async fn try_fetch(
        &mut self,
        connection: &Connection,
        limits: FetchLimits,
        room: Reservation,
    ) -> Result<Vec<FetchedPartition>> {
        let version = connection.version::<FetchRequest>(if self.has_nameless { BY_ID - 1 } else { BY_ID })?;
        let by_id = version >= BY_ID;
        if by_id != self.by_id {
            // A session that mixes names and ids is refused.
            self.by_id = by_id;
            self.reset();
        }
        let request = self.request(limits, version);
        let response = connection.call_reserved(&request, version, room, limits.max_wait).await?;
        if let Some(error) = BrokerError::of(response.error_code) {
            // A session that is gone is no trouble, and not worth telling anybody.
            self.reset();
            return match error.class {
                Class::Session if !std::mem::replace(&mut self.was_refused, true) => Ok(Vec::new()),
                _ => {
                    Err(Error::new(ErrorKind::Broker, format!("{} answers a fetch with {error}", connection.address())))
                }
            };
        }
        self.was_refused = false;
        self.advance(response.session_id);
        let mut fetched = Vec::with_capacity(response.responses.len());
        for topic in response.responses {
            let name = match self.by_id {
                true => self.names.get(&topic.topic_id.as_u128()).map(|name| &**name),
                false => Some(topic.topic.0.as_str()),
            };
            let Some(known) = name.and_then(|name| self.wanted.get(name)) else { continue };
            for data in topic.partitions {
                let Some(wanted) = known.partitions.get(&data.partition_index) else { continue };
                let aborted = data.aborted_transactions.unwrap_or_default();
                let end_offset = if limits.read_committed { data.last_stable_offset } else { data.high_watermark };
                let records = FetchedRecords {
                    end_offset,
                    high_watermark: data.high_watermark,
                    diverges: data.diverging_epoch.end_offset >= 0,
                    records: data.records.unwrap_or_default(),
                    aborted: aborted.iter().map(|aborted| (aborted.producer_id.0, aborted.first_offset)).collect(),
                };
                let result = BrokerError::of(data.error_code).map_or(Ok(records), Err);
                fetched.push(FetchedPartition { slot: wanted.slot, fetch_offset: wanted.offset, result });
            }
        }
        Ok(fetched)
    }

    /// The broker has taken what was sent.
    fn advance(&mut self, session_id: i32) {
        if session_id == 0 {
            // Without a session (an old broker, or all places taken) every request names everything.
            self.reset();
            return;
        }
        self.id = session_id;
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        self.forgotten.clear();
        self.changed.clear();
    }

    fn request(&self, limits: FetchLimits, version: i16) -> FetchRequest {
        let mut topics: BTreeMap<&Rc<str>, Vec<FetchPartition>> = BTreeMap::new();
        for (topic, partition) in &self.changed {
            let Some(wanted) = self.wanted.get(topic).and_then(|known| known.partitions.get(partition)) else {
                continue;
            };
            let partition = FetchPartition::default()
                .with_partition(*partition)
                .with_fetch_offset(wanted.offset)
                .with_partition_max_bytes(limits.partition_max_bytes)
                .with_current_leader_epoch(-1)
                // Older brokers do not compare it: their epochs are asked for when a position is read.
                .with_last_fetched_epoch(if version >= COMPARES_EPOCHS { wanted.last_epoch } else { -1 })
                .with_log_start_offset(-1);
            topics.entry(topic).or_default().push(partition);
        }
        let mut forgotten: BTreeMap<&Rc<str>, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in self.forgotten.iter().filter(|_| version >= 7) {
            forgotten.entry(topic).or_default().push(*partition);
        }
        let id = |topic: &Rc<str>| self.wanted.get(topic).map_or(Uuid::nil(), |known| Uuid::from_u128(known.id));
        let topics = topics.into_iter().map(|(topic, partitions)| {
            let mut fetched = FetchTopic::default().with_partitions(partitions);
            match self.by_id {
                true => fetched.topic_id = id(topic),
                false => fetched.topic = topic_name(topic),
            }
            fetched
        });
        let forgotten = forgotten.into_iter().map(|(topic, partitions)| {
            let mut forgotten = ForgottenTopic::default().with_partitions(partitions);
            match self.by_id {
                true => forgotten.topic_id = id(topic),
                false => forgotten.topic = topic_name(topic),
            }
            forgotten
        });
        FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(limits.max_wait.as_millis() as i32)
            .with_min_bytes(limits.min_bytes)
            .with_max_bytes(limits.max_bytes)
            .with_isolation_level(i8::from(limits.read_committed))
            .with_session_id(self.id)
            .with_session_epoch(self.epoch)
            .with_topics(topics.collect())
            .with_forgotten_topics_data(forgotten.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FetchLimits = FetchLimits {
        max_wait: Duration::ZERO,
        min_bytes: 0,
        max_bytes: 0,
        partition_max_bytes: 0,
        read_committed: false,
    };

    #[test]
    fn a_topic_made_again_under_its_name_is_another_one_for_the_broker() {
        let topic: Rc<str> = Rc::from("orders");
        let mut session = Session { by_id: true, ..Session::default() };
        session.want((&topic, 1), 0, 7, 100, 3);
        let asked = |session: &Session| -> Vec<(u128, i64)> {
            let topics = session.request(LIMITS, BY_ID).topics;
            let of_topic = |topic: &FetchTopic| (topic.topic_id.as_u128(), topic.partitions[0].fetch_offset);
            topics.iter().map(of_topic).collect()
        };
        assert_eq!(asked(&session), [(1, 100)]);
        session.advance(5);
        assert_eq!(asked(&session), [], "the broker has been told");

        session.forget(&topic, 0, 7);
        session.want((&topic, 2), 0, 8, 0, -1);
        assert_eq!(asked(&session), [(2, 0)]);
        let request = session.request(LIMITS, BY_ID);
        assert_eq!(
            (request.session_id, request.forgotten_topics_data.len()),
            (0, 0),
            "the old session has the old topic"
        );
        // Whoever had the old one, and says so late, takes nothing away.
        session.forget(&topic, 0, 7);
        assert_eq!(asked(&session), [(2, 0)]);
    }

    #[test]
    fn a_topic_without_an_id_is_asked_for_by_its_name_and_old_versions_have_no_epoch() {
        let topic: Rc<str> = Rc::from("orders");
        let mut session = Session::default();
        session.want((&topic, 0), 0, 7, 100, 3);
        assert!(session.has_nameless);
        for (version, epoch) in [(12, 3), (11, -1)] {
            let asked = &session.request(LIMITS, version).topics[0];
            assert_eq!((asked.topic.0.as_str(), asked.partitions[0].last_fetched_epoch), ("orders", epoch));
        }
    }
}
