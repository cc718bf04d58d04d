//! The starts of a mirror in its internal topic: the number each process takes, what it says of itself, and whether another one has
//! started since. What follows from that is decided in `machine::lease`.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::log::{Follower, InternalLog, Record};
use super::promotion::{self, Mark, mark_of};
use super::{ATTEMPTS, PAUSE, json, record_key, topic_of};
use crate::clock::since_boot;
use crate::error::{Error, ErrorKind, Result};
use crate::event::now_ms;
use crate::lease::Asked;
use crate::machine::lease::{Purpose, Start, TERM, Tenancy, Terms};
use crate::planted::{self, Bug};
use crate::terms::broker_error::BrokerError;
use crate::terms::topic::Metadata;
use crate::wire::cluster::Cluster;
use crate::wire::connection::Connection;
use crate::wire::positions::{self, Which};

/// What is written at a start; who wrote it is what tells two that came at once apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    started_at_ms: i64,
    nonce: u64,
    /// It was started by a promotion, which may be refused.
    #[serde(default, skip_serializing_if = "is_false")]
    promotion: bool,
    /// How often a promotion has said that it is still there.
    #[serde(default, skip_serializing_if = "is_zero")]
    beats: u64,
    /// The process has ended, and nothing of it or of an earlier one is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_at_ms: Option<i64>,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

const PREFIX: &str = "start/";
/// How often a start tries to be the first to take a number.
const TRIES: usize = 100;

/// One start of a mirror.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) tenancy: Tenancy,
    written: Written,
    /// The leader epoch that the internal topic was in before it was read.
    leader_epoch: i32,
}

impl Taken {
    /// A beat was written.
    pub(crate) fn count_beat(&mut self) {
        self.written.beats += 1;
    }
}

/// Takes the next number of a start: the one whose record comes first has it. Also returns everything that is there, and up to
/// where that was read.
pub(super) async fn take(
    log: &InternalLog<'_>,
    name: &str,
    purpose: Purpose,
    mut records: Vec<Record>,
) -> Result<(Taken, Vec<Record>, i64)> {
    for _ in 0..TRIES {
        let number = next_number(newest(&records), &log.topic)?;
        let written = Written {
            started_at_ms: now_ms(),
            nonce: nonce(),
            promotion: purpose == Purpose::Promotion,
            beats: 0,
            ended_at_ms: None,
        };
        let leader_epoch = log.current_epoch().await?;
        log.append(&key_of(number), Some(json(&written)?)).await?;
        let acknowledged_at = since_boot();
        let end;
        (records, end) = log.read_from(0).await?;
        // A mark that was written since is before our record or is found by whoever watches from `end` on.
        promotion::check(name, &records)?;
        if has_number(&records, number, &written) {
            let earlier: BTreeSet<i32> = records.iter().filter_map(number_of).filter(|other| *other < number).collect();
            let removed = earlier.into_iter().map(|other| (key_of(other), None)).collect();
            log.append_many(removed).await?;
            let start = Start { number, purpose, ended: false };
            let mut tenancy = Tenancy::new(Terms::REAL, start, records.iter().filter_map(start_of), acknowledged_at);
            if may_be_cut(&records, number, leader_epoch) {
                tenancy.handle_cut(acknowledged_at);
            }
            return Ok((Taken { tenancy, written, leader_epoch }, records, end));
        }
        tokio::time::sleep(PAUSE).await;
    }
    let message = format!(
        "a start of this mirror was written to '{}' on the target {TRIES} times, and it does not show it: what is written there \
         is not kept, or others write their starts all the time; look at the topic's configuration and at who writes to it",
        log.topic
    );
    Err(Error::new(ErrorKind::TargetConflict, message))
}

/// The number behind another one, if there is any that makes a fence.
pub(super) fn next_number(before: i32, topic: &str) -> Result<i32> {
    let last = i32::MAX / ATTEMPTS - 1;
    if (0..last).contains(&before) {
        return Ok(before + 1);
    }
    let message = format!(
        "'{topic}' on the target says that this mirror was started {before} times, and starts are numbered up to {last}: that was \
         not written by a mirror; take the record start/{before} away, or restore the topic"
    );
    Err(Error::new(ErrorKind::TargetConflict, message))
}

/// Whether a number belongs to this start: its record is the first, and there is no later number. Behind one it would be no
/// fence, and whose it was first may have been removed meanwhile.
fn has_number(records: &[Record], number: i32, start: &Written) -> bool {
    let first = records.iter().find(|record| number_of(record) == Some(number));
    first.and_then(written).as_ref() == Some(start) && records.iter().filter_map(number_of).all(|other| other <= number)
}

/// Whether a start may be missing between the last one before a number and that number: the leader has changed since, and who had it did
/// perhaps not have all that was acknowledged. A topic without a start is in the epoch that it was created in, the first.
fn may_be_cut(records: &[Record], number: i32, leader_epoch: i32) -> bool {
    let before = records.iter().filter_map(|record| Some((number_of(record)?, record.leader_epoch)));
    let last = before.filter(|(other, _)| *other < number).max();
    leader_epoch > last.map_or(0, |(_, epoch)| epoch)
}

fn key_of(number: i32) -> String {
    format!("{PREFIX}{number}")
}

/// The number of the start that a record is about.
pub(super) fn number_of(record: &Record) -> Option<i32> {
    record.value.as_ref()?;
    record_key(record)?.strip_prefix(PREFIX)?.parse().ok()
}

/// The newest start.
pub(super) fn newest(records: &[Record]) -> i32 {
    records.iter().filter_map(number_of).max().unwrap_or(0)
}

fn written(record: &Record) -> Option<Written> {
    serde_json::from_slice(record.value.as_ref()?).ok()
}

/// What a record says of a start. One that cannot be read is of a process that mirrors.
fn start_of(record: &Record) -> Option<Start> {
    let number = number_of(record)?;
    let written = written(record);
    let purpose = match &written {
        Some(written) if written.promotion => Purpose::Promotion,
        _ => Purpose::Run,
    };
    Some(Start { number, purpose, ended: written.is_some_and(|written| written.ended_at_ms.is_some()) })
}

/// A number that no other process draws at the same moment: the standard library seeds its hashers at random.
pub(super) fn nonce() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// Says of a start that its process has ended, and with it everything that it has sent.
pub(crate) async fn write_end(target: &Cluster, name: &str, taken: &Taken) -> Result<()> {
    let ended = Written { ended_at_ms: Some(now_ms()), ..taken.written.clone() };
    write(target, name, taken, &ended).await
}

/// Says of a promotion that it is still there.
pub(crate) async fn write_beat(target: &Cluster, name: &str, taken: &Taken) -> Result<()> {
    write(target, name, taken, &taken.written).await
}

async fn write(target: &Cluster, name: &str, taken: &Taken, written: &Written) -> Result<()> {
    let log = InternalLog::open_existing(target, name).await?;
    log.append(&key_of(taken.tenancy.number()), Some(json(written)?)).await
}

/// Follows the end of the internal topic.
pub(crate) struct Tail {
    topic: Rc<str>,
    /// The start of this process.
    number: i32,
    nonce: u64,
    /// The id of the topic, where brokers give any.
    id: Option<u128>,
    leader: Option<i32>,
    /// Over which the leader is asked where the log ends, and nothing else: a broker that slows a client down answers at once, and reads
    /// nothing more from that connection for a while.
    asking: Option<(i32, Rc<Connection>)>,
    follower: Follower,
    /// What was read and not shown.
    heard: Heard,
    /// In which leader epoch the log ended when it was last asked, and since when that is known.
    leader_epoch: i32,
    epoch_since: Duration,
    /// Since when the topic, or its end, was not there in any look, and in how many.
    missing: Option<(Duration, u32)>,
}

#[derive(Debug, Default)]
struct Heard {
    starts: Vec<Start>,
    mark: Option<Mark>,
}

impl Heard {
    fn take_in(&mut self, records: &[Record]) {
        self.starts.extend(records.iter().filter_map(start_of));
        self.mark = mark_of(records, self.mark.take());
    }
}

/// What the internal topic has shown.
pub(crate) enum Shown {
    /// All that is new, up to where it ended when that was asked.
    New {
        starts: Vec<Start>,
        mark: Option<Mark>,
        asked: Asked,
        /// It has lost records that were acknowledged, maybe the start of another process too. The one of this process is there.
        is_cut: bool,
    },
    /// It is not the topic that it was.
    Gone(Error),
}

/// A topic that was there is believed to be gone when it was missing for so long, and so often.
const GONE_AFTER: Duration = Duration::from_secs(6);
const GONE_LOOKS: u32 = 5;
/// Longer than a lease is no use.
const PATIENCE: Duration = TERM;
/// For a connection, of which the first requests may be slowed down.
const CONNECTING: Duration = TERM.saturating_mul(2);

impl Tail {
    /// Of the topic with this id, in which everything before an offset was read when a start was taken.
    pub(crate) fn of(name: &str, topic_id: u128, read_until: i64, taken: &Taken) -> Self {
        Tail {
            topic: Rc::from(topic_of(name)),
            number: taken.tenancy.number(),
            nonce: taken.written.nonce,
            id: Some(topic_id).filter(|id| *id != 0),
            leader: None,
            asking: None,
            follower: Follower::from(read_until),
            heard: Heard::default(),
            leader_epoch: taken.leader_epoch,
            epoch_since: Duration::ZERO,
            missing: None,
        }
    }

    /// Learns what is new. Where the log ends is told by its leader, which after an election tells nothing before it has what was
    /// acknowledged. What lies before that was read, or appended by this process: nothing else proves anything. An answer without records
    /// does not: so a broker answers a client whose quota is used up.
    ///
    /// # Errors
    /// Nothing is known then.
    pub(crate) async fn look(&mut self, target: &Cluster) -> Result<Shown> {
        let looked = self.look_patiently(target).await;
        let is_held_back = |error: &Error| error.message().ends_with(BrokerError::HELD_BACK.reason);
        if looked.as_ref().is_err_and(|error| !is_held_back(error)) {
            self.leader = None;
        }
        looked
    }

    async fn look_patiently(&mut self, target: &Cluster) -> Result<Shown> {
        let late = Error::new(ErrorKind::Connect, format!("'{}' on the target is not told of in time", self.topic));
        let opened = tokio::time::timeout(CONNECTING, self.open(target)).await;
        let (leader, connection) = match opened.unwrap_or_else(|_| Err(late.clone()))? {
            Ok(open) => open,
            Err(gone) => return Ok(Shown::Gone(gone)),
        };
        // The lease counts from when the question is sent.
        connection.is_free().await;
        let looked = tokio::time::timeout(PATIENCE, self.ask(target, leader, &connection)).await;
        if looked.is_err() {
            self.asking = None;
        }
        looked.unwrap_or(Err(late))
    }

    /// The leader, and the connection over which it is asked; or that the topic is gone.
    async fn open(&mut self, target: &Cluster) -> Result<Result<(i32, Rc<Connection>), Error>> {
        let leader = match self.leader {
            Some(leader) => leader,
            None => {
                let metadata = target.metadata(Some(&[self.topic.to_string()]), false).await?;
                match self.leader_in(&metadata)? {
                    Ok(leader) => *self.leader.insert(leader),
                    Err(gone) => return Ok(Err(gone)),
                }
            }
        };
        let open = self.asking.take().filter(|(broker, connection)| *broker == leader && connection.is_open());
        let connection = match open {
            Some((_, connection)) => connection,
            None => target.dial(leader).await?,
        };
        self.asking = Some((leader, connection.clone()));
        Ok(Ok((leader, connection)))
    }

    async fn ask(&mut self, target: &Cluster, leader: i32, connection: &Connection) -> Result<Shown> {
        let asked = Asked::now();
        let partition = (self.topic.clone(), 0);
        let asking = positions::offsets_and_epochs(connection, std::slice::from_ref(&partition), Which::HighWatermark);
        let end = asking.await?.remove(&partition).unwrap_or(Err(BrokerError::UNKNOWN_PARTITION));
        let asked = if planted::is(Bug::LeaseFromTheAnswer) { Asked::now() } else { asked };
        let (end, leader_epoch) = end.map_err(|error| {
            Error::new(ErrorKind::Broker, format!("'{}' on the target does not tell its end: {error}", self.topic))
                .with_kafka_code(error.code)
        })?;
        if leader_epoch < self.leader_epoch {
            let message =
                format!("'{}' on the target is told of by a broker that does not lead it any more", self.topic);
            return Err(Error::new(ErrorKind::Broker, message));
        }
        let log = InternalLog { target, topic: self.topic.clone(), leader, id: 0, leader_epoch };
        if leader_epoch > self.leader_epoch {
            if self.is_cut(connection).await? {
                return self.read_anew(&log, leader_epoch, asked).await;
            }
            (self.leader_epoch, self.epoch_since) = (leader_epoch, since_boot());
        }
        let next = self.follower.next_offset();
        if end < next {
            return self.miss(&format!("ends at offset {end}, but was read up to {next} before"));
        }
        self.missing = None;
        if let Some(notes) = target.notes() {
            self.follower = Follower::from(notes.behind_own(next, end, self.epoch_since));
        }
        let heard = &mut self.heard;
        self.follower.read_until(&log, end, |records| heard.take_in(&records)).await?;
        self.show(target, leader, asked, false).await
    }

    /// Whether the log was cut back since it was read. What was read of it belongs to the epoch that was known, or to one before.
    async fn is_cut(&self, connection: &Connection) -> Result<bool> {
        let epoch = ((self.topic.clone(), 0), self.leader_epoch);
        let Some(mut ends) = positions::epoch_ends(connection, std::slice::from_ref(&epoch)).await? else {
            return Ok(true);
        };
        let end = ends.remove(&epoch.0).unwrap_or(Err(BrokerError::UNKNOWN_PARTITION));
        let end = end.map_err(|error| {
            let message = format!("'{}' on the target does not tell where a leader epoch ends: {error}", self.topic);
            Error::new(ErrorKind::Broker, message).with_kafka_code(error.code)
        })?;
        Ok(end < self.follower.next_offset())
    }

    /// Reads everything again, because what was read is not what is there.
    async fn read_anew(&mut self, log: &InternalLog<'_>, leader_epoch: i32, asked: Asked) -> Result<Shown> {
        let (records, end) = log.read_from(0).await?;
        let ours = records.iter().filter(|record| number_of(record) == Some(self.number)).filter_map(written);
        let is_there = ours.into_iter().any(|start| start.nonce == self.nonce);
        if !is_there && newest(&records) <= self.number {
            let what = "has lost records that its brokers had acknowledged, with the start of this process                         (did a replica that lagged behind become its leader?)";
            return Ok(Shown::Gone(self.gone(what)));
        }
        (self.leader_epoch, self.epoch_since) = (leader_epoch, since_boot());
        self.follower = Follower::from(end);
        self.heard.take_in(&records);
        self.show(log.target, log.leader, asked, true).await
    }

    /// Shows what was heard, if it was heard of the topic that it was. Its leader is asked for that once more: who leads a topic that came
    /// in its place knows that before anything is in it.
    async fn show(&mut self, target: &Cluster, leader: i32, asked: Asked, is_cut: bool) -> Result<Shown> {
        if self.id.is_some() {
            let connection = target.broker(leader).await?;
            let metadata = target.metadata_from(&connection, Some(&[self.topic.to_string()]), false).await?;
            if let Err(gone) = self.leader_in(&metadata)? {
                return Ok(Shown::Gone(gone));
            }
        }
        let Heard { starts, mark } = std::mem::take(&mut self.heard);
        Ok(Shown::New { starts, mark, asked, is_cut })
    }

    /// The leader of the topic, or that it is gone.
    fn leader_in(&mut self, metadata: &Metadata) -> Result<Result<i32, Error>> {
        let found = metadata.topics.get(&*self.topic);
        let error = found.map_or(Some(BrokerError::UNKNOWN_PARTITION), |found| BrokerError::of(found.error_code));
        match (found, error) {
            (Some(found), None) => {
                if self.id.is_some_and(|known| known != found.id) {
                    return Ok(Err(self.gone("was deleted and created again")));
                }
                let leader = found.leaders.first().copied().filter(|leader| *leader >= 0);
                leader.map(Ok).ok_or_else(|| {
                    Error::new(ErrorKind::Broker, format!("'{}' on the target has no leader", self.topic))
                })
            }
            (_, Some(error)) if error.code == BrokerError::UNKNOWN_PARTITION.code => {
                match self.miss("was deleted, as its brokers say")? {
                    Shown::Gone(gone) => Ok(Err(gone)),
                    Shown::New { .. } => Err(Error::new(ErrorKind::Internal, "nothing was read")),
                }
            }
            (_, error) => {
                let why = error.map(|error| error.to_string()).unwrap_or_default();
                Err(Error::new(ErrorKind::Broker, format!("'{}' on the target is not shown: {why}", self.topic)))
            }
        }
    }

    /// What is missing may be missing only to a broker that knows little yet.
    fn miss(&mut self, what: &str) -> Result<Shown> {
        let now = since_boot();
        let (since, looks) = self.missing.unwrap_or((now, 0));
        self.missing = Some((since, looks + 1));
        if looks >= GONE_LOOKS && now.saturating_sub(since) >= GONE_AFTER {
            return Ok(Shown::Gone(self.gone(what)));
        }
        Err(Error::new(ErrorKind::Broker, format!("the mirror's internal topic '{}' on the target {what}", self.topic)))
    }

    fn gone(&self, what: &str) -> Error {
        let message = format!(
            "the mirror's internal topic '{}' on the target {what}, while the mirror runs: without it nobody knows who may write, \
             so this process writes nothing more",
            self.topic
        );
        Error::new(ErrorKind::TargetConflict, message)
    }
}

/// What the starts in these records leave: the last word of each.
#[cfg(test)]
pub(super) fn starts_of(records: &[Record]) -> std::collections::BTreeMap<i32, Start> {
    records.iter().filter_map(start_of).map(|start| (start.number, start)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::super::log::{decode, encode};
    use super::*;

    fn records(entries: &[(&str, Option<&str>)]) -> Vec<Record> {
        let entry =
            |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(|value| value.as_bytes().to_vec()));
        decode(encode(entries.iter().map(entry).collect()).unwrap()).unwrap()
    }

    /// What was written by one release has to be found by the next.
    #[test]
    fn what_a_start_says_stays_the_same() {
        let plain = Written { started_at_ms: 7, nonce: 9, promotion: false, beats: 0, ended_at_ms: None };
        assert_eq!(serde_json::to_string(&plain).unwrap(), r#"{"started_at_ms":7,"nonce":9}"#);
        let ended = Written { promotion: true, beats: 2, ended_at_ms: Some(8), ..plain.clone() };
        let text = r#"{"started_at_ms":7,"nonce":9,"promotion":true,"beats":2,"ended_at_ms":8}"#;
        assert_eq!(serde_json::to_string(&ended).unwrap(), text);
        let read = records(&[
            ("start/1", Some(r#"{"started_at_ms":7,"nonce":9}"#)),
            ("start/2", Some("?")),
            ("start/3", Some(r#"{"started_at_ms":7,"nonce":9,"promotion":true}"#)),
            ("start/1", Some(r#"{"started_at_ms":7,"nonce":9,"ended_at_ms":8}"#)),
            ("start/4", Some(text)),
            ("start/5", None),
            ("start/x", Some("{}")),
            ("topic/start/6", Some("{}")),
        ]);
        let start = |number, purpose, ended| Start { number, purpose, ended };
        let expected = [
            start(1, Purpose::Run, true),
            start(2, Purpose::Run, false),
            start(3, Purpose::Promotion, false),
            start(4, Purpose::Promotion, true),
        ];
        assert_eq!(starts_of(&read).into_values().collect::<Vec<_>>(), expected);
        assert_eq!(newest(&read), 4);
    }

    #[test]
    fn what_is_missing_is_gone_only_after_a_while() {
        let taken = Taken {
            tenancy: Tenancy::new(
                Terms::REAL,
                Start { number: 1, purpose: Purpose::Run, ended: false },
                [],
                GONE_AFTER,
            ),
            written: start(1).0,
            leader_epoch: 0,
        };
        let mut tail = Tail::of("m", 7, 5, &taken);
        for _ in 0..GONE_LOOKS + 3 {
            let error = tail.miss("is not there").err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Broker);
        }
        let Some((since, looks)) = tail.missing else { panic!("it was missing") };
        if let Some(long_ago) = since.checked_sub(GONE_AFTER) {
            tail.missing = Some((long_ago, looks));
            let Ok(Shown::Gone(error)) = tail.miss("is not there") else { panic!("it is gone") };
            assert!(error.message().contains("'kmirror.m.internal' on the target is not there"), "{error}");
        }
    }

    fn start(nonce: u64) -> (Written, String) {
        let start = Written { started_at_ms: 1, nonce, promotion: false, beats: 0, ended_at_ms: None };
        let written = String::from_utf8(json(&start).unwrap()).unwrap();
        (start, written)
    }

    #[test]
    fn a_number_belongs_to_who_wrote_it_first() {
        let ((ours, our), (theirs, their)) = (start(1), start(2));
        let both = records(&[("start/1", Some(&their)), ("start/2", Some(&our)), ("start/2", Some(&their))]);
        assert!(has_number(&both, 2, &ours));
        assert!(!has_number(&both, 2, &theirs));
        assert!(!has_number(&both, 3, &ours), "nobody has it");
    }

    #[test]
    fn a_number_behind_a_later_one_is_nobodys() {
        let ((ours, our), (_, their)) = (start(1), start(2));
        // Who had number 5 first has been removed, by who has 6.
        let late = records(&[("start/6", Some(&their)), ("start/5", None), ("start/5", Some(&our))]);
        assert!(!has_number(&late, 5, &ours));
        let removed =
            records(&[("start/5", Some(&our)), ("start/6", None), ("start/x", Some(&their)), ("other/9", Some("?"))]);
        assert!(has_number(&removed, 5, &ours));
    }
}
