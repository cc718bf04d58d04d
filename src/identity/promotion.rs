//! What the internal topic says of a switch-over: the mark that ends the mirror, where the target's logs ended then, and what
//! running mirrors have last known of the source's ends, for the day when nobody can ask the source any more.
//!
//! The mark is one record, so it is there or not. What it needs is written before it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::log::{Follower, InternalLog, Record};
use super::starts::newest;
use super::{Claim, accept_source, first_claim, json, record_key, remembered};
use crate::config::utc;
use crate::error::{Error, ErrorKind, Result};
use crate::machine::promotion::Known;
use crate::wire::append::BYTES_AT_ONCE;
use crate::wire::cluster::Cluster;
use crate::wire::log_ends::Ends;

const MARK: &str = "promoted";
const MARK_VERSION: u32 = 1;
/// Where the logs of a topic ended on the target when the mirror was promoted.
const TARGET_PREFIX: &str = "promoted/";
/// Where the logs of a topic ended at the source.
const SOURCE_PREFIX: &str = "ends/";
/// When all of them were seen to end where they were said to.
const CONFIRMED: &str = "ends";

/// The mark that ends a mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    version: u32,
    pub(crate) promoted_at_ms: i64,
    /// The number of the last start before it.
    pub(crate) start_number: i32,
}

#[derive(Debug, Serialize, Deserialize)]
struct TargetEnds {
    start_number: i32,
    next: Vec<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SourceEnds {
    at_ms: i64,
    next: Vec<i64>,
    /// When the copy of each partition was level last: `at_ms` if it was then; -1 if that is not known.
    #[serde(default)]
    level_ms: Vec<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Confirmed {
    at_ms: i64,
    /// Topics that were not asked for, because they are parked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    but_for: Vec<String>,
}

/// What the internal topic says that a switch-over has to know, also without a source.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) mark: Option<Mark>,
    /// The topics that were mirrored.
    pub(crate) topics: Vec<String>,
    /// What was last known of the source, by topic and partition.
    pub(crate) known: BTreeMap<String, Vec<Option<Known>>>,
    /// Where the target's logs ended when the mark was written.
    pub(crate) target_ends: Ends,
    pub(crate) start_number: i32,
}

/// Reads what a switch-over has to know; `None` if no mirror of this name has ever run. With the id of the source it has to be
/// the one that was mirrored.
pub(crate) async fn recall(target: &Cluster, name: &str, source_cluster_id: Option<&str>) -> Result<Option<Memory>> {
    let Some(log) = InternalLog::open(target, name).await? else { return Ok(None) };
    let (records, _) = log.read_from(0).await?;
    let Some(claim): Option<Claim> = first_claim(&log, &records)? else { return Ok(None) };
    let source = source_cluster_id.unwrap_or(&claim.source_cluster_id).to_owned();
    accept_source(claim, name, &source)?;
    Ok(Some(read_memory(&records)))
}

/// Everything that records say, in their order.
fn read_memory(records: &[Record]) -> Memory {
    let mut memory = Memory {
        mark: mark_of(records, None),
        topics: Vec::new(),
        known: BTreeMap::new(),
        target_ends: Ends::new(),
        start_number: newest(records),
    };
    let mut target = BTreeMap::new();
    let (source, confirmed) = source_ends(records);
    for record in records {
        let Some(key) = record_key(record) else { continue };
        if let Some(topic) = key.strip_prefix(TARGET_PREFIX) {
            put(&mut target, topic, read::<TargetEnds>(record));
        }
    }
    let mut topics: Vec<String> = remembered(records).into_keys().chain(source.keys().cloned()).collect();
    topics.sort();
    topics.dedup();
    memory.topics = topics;
    for (topic, SourceEnds { at_ms, next, .. }) in source {
        let at_ms = at_ms.max(confirmed.of(&topic));
        let known = |next: i64| (next >= 0).then_some(Known { next, at_ms });
        memory.known.insert(topic, next.into_iter().map(known).collect());
    }
    if let Some(mark) = &memory.mark {
        let of_this = target.into_iter().filter(|(_, ends): &(_, TargetEnds)| ends.start_number == mark.start_number);
        memory.target_ends = of_this.map(|(topic, ends)| (topic, ends.next)).collect();
    }
    memory
}

/// What records say of the source's ends, and when that was confirmed last.
fn source_ends(records: &[Record]) -> (BTreeMap<String, SourceEnds>, Confirmed) {
    let mut source = BTreeMap::new();
    let mut confirmed = Confirmed { at_ms: i64::MIN, but_for: Vec::new() };
    for record in records {
        let Some(key) = record_key(record) else { continue };
        if let Some(topic) = key.strip_prefix(SOURCE_PREFIX) {
            put(&mut source, topic, read::<SourceEnds>(record));
        } else if let (CONFIRMED, Some(latest)) = (key, read::<Confirmed>(record)) {
            confirmed = latest;
        }
    }
    (source, confirmed)
}

impl Confirmed {
    fn of(&self, topic: &str) -> i64 {
        if self.but_for.iter().any(|parked| parked == topic) { i64::MIN } else { self.at_ms }
    }
}

/// When copies were level last, by topic and partition; -1 where it is not known. One that was level when its end was written down is so
/// for as long as the end stays.
pub(super) fn levels_of(records: &[Record]) -> BTreeMap<String, Vec<i64>> {
    let (source, confirmed) = source_ends(records);
    let levels = source.into_iter().map(|(topic, SourceEnds { at_ms, level_ms, .. })| {
        let until = at_ms.max(confirmed.of(&topic));
        let level = |level: i64| if level == at_ms { until } else { level };
        (topic, level_ms.into_iter().map(level).collect())
    });
    levels.collect()
}

fn put<T>(all: &mut BTreeMap<String, T>, topic: &str, value: Option<T>) {
    match value {
        Some(value) => all.insert(topic.to_owned(), value),
        None => all.remove(topic),
    };
}

fn read<T: for<'a> Deserialize<'a>>(record: &Record) -> Option<T> {
    serde_json::from_slice(record.value.as_ref()?).ok()
}

/// The mark after these records, given the one before them. One that cannot be read is a mark as well: what it is for is that
/// nothing is written any more.
pub(super) fn mark_of(records: &[Record], before: Option<Mark>) -> Option<Mark> {
    let marks = records.iter().filter(|record| record.key.as_deref() == Some(MARK.as_bytes()));
    marks.fold(before, |_, record| {
        record.value.as_ref()?;
        let unreadable = Mark { version: 0, promoted_at_ms: record.timestamp_ms, start_number: -1 };
        Some(read(record).unwrap_or(unreadable))
    })
}

/// Refuses a mirror that was promoted.
pub(super) fn check(name: &str, records: &[Record]) -> Result<()> {
    mark_of(records, None).map_or(Ok(()), |mark| Err(refusal(name, &mark)))
}

/// Why a mirror that was promoted does not start.
pub(crate) fn refusal(name: &str, mark: &Mark) -> Error {
    let message = format!(
        "the mirror '{name}' was promoted at {}: the target is written to by others since, and the mirror writes nothing any \
         more; to mirror anew set another 'name' and copy into fresh topics; if it was promoted by mistake and nobody has \
         written to the target since, take it back with kmirror promote --undo",
        utc(mark.promoted_at_ms)
    );
    // What has to be changed is the name, which is configuration; no restart helps.
    Error::new(ErrorKind::Config, message)
}

/// Looks for the mark, each time in what is new.
#[derive(Debug)]
pub(crate) struct Watch {
    follower: Follower,
    mark: Option<Mark>,
}

impl Watch {
    /// Before an offset there is no mark.
    pub(crate) fn from(read_until: i64) -> Self {
        Watch { follower: Follower::from(read_until), mark: None }
    }

    /// The mark, if it has been written.
    pub(crate) async fn look(&mut self, target: &Cluster, name: &str) -> Result<Option<Mark>> {
        let news = self.follower.read(target, name).await?;
        let before = if news.anew { None } else { self.mark.take() };
        self.mark = mark_of(&news.records, before);
        Ok(self.mark.clone())
    }
}

/// Writes where the target's logs end, and then the mark.
pub(crate) async fn write_mark(target: &Cluster, name: &str, mark: &Mark, ends: &Ends) -> Result<()> {
    let log = InternalLog::open_existing(target, name).await?;
    let entry = |(topic, next): (&String, &Vec<i64>)| {
        let ends = TargetEnds { start_number: mark.start_number, next: next.clone() };
        Ok((format!("{TARGET_PREFIX}{topic}"), Some(json(&ends)?)))
    };
    log.append_many(ends.iter().map(entry).collect::<Result<_>>()?).await?;
    log.append(MARK, Some(json(mark)?)).await
}

/// Takes the mark away, and then what it needed.
pub(crate) async fn remove_mark(target: &Cluster, name: &str, ends: &Ends) -> Result<()> {
    let log = InternalLog::open_existing(target, name).await?;
    log.append(MARK, None).await?;
    log.append_many(ends.keys().map(|topic| (format!("{TARGET_PREFIX}{topic}"), None)).collect()).await.map(drop)
}

impl Mark {
    pub(crate) fn new(promoted_at_ms: i64, start_number: i32) -> Self {
        Mark { version: MARK_VERSION, promoted_at_ms, start_number }
    }
}

/// What a running mirror has seen of the source's ends.
#[derive(Debug, Default)]
pub(crate) struct EndsSeen {
    pub(crate) ends: Ends,
    /// When each copy was level last: `at_ms` if it is; -1 if that is not known.
    pub(crate) levels: BTreeMap<String, Vec<i64>>,
    /// When that was.
    pub(crate) at_ms: i64,
    /// Whether every end was asked for, but for those of topics that are parked.
    pub(crate) complete: bool,
    pub(crate) parked: Vec<String>,
}

impl EndsSeen {
    /// What is to be written down of a topic, and whether its copies are level.
    fn of<'a>(&self, topic: &str, next: &'a [i64]) -> Written<'a> {
        let levels = self.levels.get(topic).map_or(&[][..], Vec::as_slice);
        (next.into(), levels.iter().map(|level| *level == self.at_ms).collect())
    }
}

/// Next offsets, and whether the copy of each partition was level.
type Written<'a> = (std::borrow::Cow<'a, [i64]>, Vec<bool>);

/// Where the source's logs end, as a running mirror writes it down: each time the topics that have changed.
#[derive(Debug, Default)]
pub(crate) struct EndsWritten {
    written: BTreeMap<String, Written<'static>>,
    /// The topic that was written last: the next round begins behind it, so that each has its turn.
    last: String,
}

impl EndsWritten {
    /// Writes what has changed, at most one batch.
    pub(crate) async fn write(&mut self, target: &Cluster, name: &str, seen: &EndsSeen) -> Result<()> {
        let (mut entries, mut topics, all) = (Vec::new(), Vec::new(), self.changed(seen));
        let (count, mut bytes) = (all.len(), 0);
        for (topic, next) in all {
            let level_ms = seen.levels.get(topic).cloned().unwrap_or_default();
            let value = json(&SourceEnds { at_ms: seen.at_ms, next: next.clone(), level_ms })?;
            bytes += value.len();
            if bytes > BYTES_AT_ONCE && !entries.is_empty() {
                break;
            }
            entries.push((format!("{SOURCE_PREFIX}{topic}"), Some(value)));
            let (next, levels) = seen.of(topic, next);
            topics.push((topic.clone(), (next.into_owned().into(), levels)));
        }
        if seen.complete && entries.len() == count {
            let confirmed = Confirmed { at_ms: seen.at_ms, but_for: seen.parked.clone() };
            entries.push((CONFIRMED.to_owned(), Some(json(&confirmed)?)));
        }
        if entries.is_empty() {
            return Ok(());
        }
        InternalLog::open_existing(target, name).await?.append_all(entries).await?;
        if let Some((topic, _)) = topics.last() {
            self.last.clone_from(topic);
        }
        self.written.extend(topics);
        Ok(())
    }

    /// The topics whose ends are others than those that were written, those first whose turn it is.
    fn changed<'a>(&self, seen: &'a EndsSeen) -> Vec<(&'a String, &'a Vec<i64>)> {
        let differs = |(topic, next): &(&String, &Vec<i64>)| {
            self.written.get(*topic).is_none_or(|it| *it != seen.of(topic, next))
        };
        let (later, earlier): (Vec<_>, Vec<_>) =
            seen.ends.iter().filter(differs).partition(|(topic, _)| **topic > self.last);
        later.into_iter().chain(earlier).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::super::log::{decode, encode};
    use super::*;

    fn records(entries: &[(&str, Option<&str>)]) -> Vec<Record> {
        let entry =
            |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(|value| value.as_bytes().to_vec()));
        decode(encode(entries.iter().map(entry).collect()).unwrap()).unwrap()
    }

    const AT_7: &str = r#"{"version":1,"promoted_at_ms":7,"start_number":3}"#;

    /// What was written by one release has to be found by the next.
    #[test]
    fn the_last_record_of_the_mark_counts_also_if_it_cannot_be_read() {
        assert_eq!(serde_json::to_string(&Mark::new(7, 3)).unwrap(), AT_7);
        assert_eq!(mark_of(&records(&[("promoted", Some(AT_7)), ("promoted/x", None)]), None), Some(Mark::new(7, 3)));
        let undone = records(&[("promoted", Some(AT_7)), ("promoted", None)]);
        assert_eq!(mark_of(&undone, None), None);
        assert_eq!(mark_of(&undone[1..], Some(Mark::new(7, 3))), None);
        assert_eq!(mark_of(&records(&[("x", None)]), Some(Mark::new(7, 3))), Some(Mark::new(7, 3)));
        assert!(mark_of(&records(&[("promoted", Some("?"))]), None).is_some());
        assert!(check("m", &undone).is_ok());
        let error = check("m", &records(&[("promoted", Some(AT_7))])).unwrap_err();
        assert!(error.message().contains("1970-01-01T00:00:00.007Z") && error.message().contains("--undo"), "{error}");
        assert_eq!(error.kind().exit_code(), 2);
    }

    #[test]
    fn what_was_known_is_as_old_as_its_last_confirmation() {
        let memory = read_memory(&records(&[
            ("ends/a", Some(r#"{"at_ms":10,"next":[5,-1,7]}"#)),
            ("ends", Some(r#"{"at_ms":20}"#)),
            ("ends/b", Some(r#"{"at_ms":30,"next":[1]}"#)),
            ("promoted/a", Some(r#"{"start_number":3,"next":[4,0,7]}"#)),
            ("promoted/old", Some(r#"{"start_number":2,"next":[9]}"#)),
            ("start/3", Some("{}")),
            ("promoted", Some(AT_7)),
        ]));
        let known = |next, at_ms| Some(Known { next, at_ms });
        assert_eq!(memory.known["a"], [known(5, 20), None, known(7, 20)]);
        assert_eq!(memory.known["b"], [known(1, 30)]);
        assert_eq!(memory.target_ends, Ends::from([("a".to_owned(), vec![4, 0, 7])]));
        assert_eq!((memory.topics, memory.start_number), (vec!["a".to_owned(), "b".to_owned()], 3));
    }

    #[test]
    fn a_copy_that_was_level_stays_so_for_as_long_as_the_end_is_confirmed() {
        let levels = |confirmed: &str| {
            levels_of(&records(&[
                ("ends/a", Some(r#"{"at_ms":10,"next":[5,6,7],"level_ms":[10,4,-1]}"#)),
                ("ends/old", Some(r#"{"at_ms":10,"next":[5]}"#)),
                ("ends", Some(confirmed)),
            ]))
        };
        assert_eq!(levels(r#"{"at_ms":90}"#)["a"], [90, 4, -1]);
        assert_eq!(levels(r#"{"at_ms":90,"but_for":["a"]}"#)["a"], [10, 4, -1]);
        assert_eq!(levels(r#"{"at_ms":90}"#)["old"], [] as [i64; 0]);
    }

    #[test]
    fn every_topic_that_changes_has_its_turn() {
        let topics = || ["a", "b", "c"].map(str::to_owned).into_iter();
        let seen = |next: i64, level: i64| EndsSeen {
            ends: topics().map(|topic| (topic, vec![next])).collect(),
            levels: topics().map(|topic| (topic, vec![level])).collect(),
            at_ms: 50,
            ..EndsSeen::default()
        };
        let (first, second) = (seen(1, 50), seen(2, 50));
        let it = |next: i64| (vec![next].into(), vec![true]);
        let mut written = EndsWritten { written: topics().map(|topic| (topic, it(1))).collect(), last: "b".to_owned() };
        assert!(written.changed(&first).is_empty());
        assert_eq!(written.changed(&seen(1, 40)).len(), 3, "they are level no more");
        let order: Vec<_> = written.changed(&second).into_iter().map(|(topic, _)| topic.as_str()).collect();
        assert_eq!(order, ["c", "a", "b"]);
        written.written.insert("c".to_owned(), it(2));
        assert_eq!(written.changed(&second).len(), 2);
    }
}
