//! The map of translated offsets in the internal topic: what is kept under which key, and how it is read again.
//!
//! Every partition of a target topic, which is known by its id, has records of its own: where the holes are, by the fence they
//! were written down with, and where runs of records are, in chunks by the start that wrote them. So no process overwrites
//! what another has said; what counts is decided by [`OffsetMap`], by the order in
//! the topic. Keys of topics that are gone on the target stay; they are small.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::log::{Follower, InternalLog, Record};
use super::{json, record_key, start_number};
use crate::error::{Error, ErrorKind, Result};
use crate::machine::translation::{Note, Numbered, OffsetMap, Run, Seal};
use crate::wire::cluster::Cluster;

pub(super) const PREFIX: &str = "offsets/";
const HOLES: &str = "holes";
const RUNS: &str = "runs";

/// A partition, by the id of the target's topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// The topic's name at the source.
    pub(crate) topic: String,
    pub(crate) target_topic_id: u128,
    pub(crate) partition: i32,
}

/// A record of the internal topic: its key, and its value unless it is to be taken away.
pub(crate) type Entry = (String, Option<Vec<u8>>);

/// Each as number and offset of the source.
#[derive(Serialize, Deserialize)]
struct Holes {
    anchors: Vec<(i64, i64)>,
}

/// The first run as number, source offset, target offset and count; of the others how far each of the three is behind the end of the
/// run before. With them the leader epoch and the offset of [`Seal`], which the first mirrors did not write down.
#[derive(Serialize, Deserialize)]
struct Runs {
    runs: Vec<[i64; 4]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seal: Option<(i32, i64)>,
}

impl Place {
    fn key(&self, rest: &str) -> String {
        format!("{PREFIX}{}/{:032x}/{}/{rest}", self.topic, self.target_topic_id, self.partition)
    }

    /// Where the holes are.
    pub(crate) fn anchors(&self, fence: i32, anchors: &[Numbered]) -> Result<Entry> {
        let anchors = anchors.iter().map(|anchor| (anchor.number, anchor.source_offset)).collect();
        Ok((self.key(&format!("{HOLES}/{fence}")), Some(json(&Holes { anchors })?)))
    }

    /// Takes away what was written down with an earlier fence.
    pub(crate) fn without_anchors(&self, fence: i32) -> Entry {
        (self.key(&format!("{HOLES}/{fence}")), None)
    }

    /// What has changed of a map since it was taken the last time: chunks of runs, that a start writes.
    pub(crate) fn changed(&self, start: i32, map: &mut OffsetMap) -> Result<Vec<Entry>> {
        let (chunks, seal) = (map.take_changed(), map.seal());
        chunks.into_iter().map(|(chunk, runs)| self.runs(start, chunk, &runs, seal)).collect()
    }

    fn runs(&self, start: i32, chunk: u32, runs: &[Run], seal: Option<Seal>) -> Result<Entry> {
        let mut before = [0; 3];
        let packed = runs.iter().map(|run| {
            let at = [run.number, run.source_offset, run.target_offset];
            let packed = [at[0] - before[0], at[1] - before[1], at[2] - before[2], run.count];
            before = at.map(|offset| offset + run.count);
            packed
        });
        let (runs, seal) = (packed.collect(), seal.map(|seal| (seal.epoch, seal.offset)));
        Ok((self.key(&format!("{RUNS}/{start}/{chunk}")), Some(json(&Runs { runs, seal })?)))
    }
}

/// A number that can be an offset, with room to reckon with it. Anything else was not written by a mirror.
fn sensible(number: i64) -> Option<i64> {
    (0..=i64::MAX / 8).contains(&number).then_some(number)
}

/// What a record says about offsets. About every partition, if it is a start.
pub(super) fn note_of(record: &Record) -> Option<(Option<Place>, Note)> {
    if let Some(number) = start_number(record) {
        return Some((None, Note::Start(number)));
    }
    let mut parts = record_key(record)?.strip_prefix(PREFIX)?.split('/');
    let mut next = || parts.next();
    let place = Place {
        topic: next()?.to_owned(),
        target_topic_id: u128::from_str_radix(next()?, 16).ok()?,
        partition: next()?.parse().ok()?,
    };
    let value = record.value.as_ref()?;
    let note = match next()? {
        HOLES => {
            let holes: Holes = serde_json::from_slice(value).ok()?;
            let anchor = |(number, source_offset): (i64, i64)| {
                Some(Numbered { number: sensible(number)?, source_offset: sensible(source_offset)? })
            };
            let anchors: Option<Vec<Numbered>> = holes.anchors.into_iter().map(anchor).collect();
            Note::Anchors { fence: next()?.parse().ok()?, anchors: anchors? }
        }
        RUNS => {
            let packed: Runs = serde_json::from_slice(value).ok()?;
            let mut before = [0; 3];
            let run = |[number, source_offset, target_offset, count]: [i64; 4]| {
                let [number, source_offset, target_offset, count] = [
                    sensible(number.checked_add(before[0])?)?,
                    sensible(source_offset.checked_add(before[1])?)?,
                    sensible(target_offset.checked_add(before[2])?)?,
                    sensible(count)?,
                ];
                before = [number, source_offset, target_offset].map(|offset| offset + count);
                Some(Run { number, source_offset, target_offset, count })
            };
            let runs: Option<Vec<Run>> = packed.runs.into_iter().map(run).collect();
            let seal = packed.seal.filter(|(epoch, _)| *epoch >= 0);
            let seal = seal.and_then(|(epoch, offset)| Some(Seal { epoch, offset: sensible(offset)? }));
            Note::Runs(runs?, seal)
        }
        _ => return None,
    };
    Some((Some(place), note))
}

/// The maps of all partitions, as far as what was written down of them was read.
#[derive(Debug, Default)]
pub(super) struct WrittenDown {
    maps: BTreeMap<Place, Option<OffsetMap>>,
    /// The latest start, which counts for partitions that are told of later, too.
    start: i32,
}

impl WrittenDown {
    /// Takes in a record of an internal topic, after all that come before it.
    pub(super) fn take_in(&mut self, record: &Record) {
        match note_of(record) {
            Some((Some(place), note)) => {
                let map = self.maps.entry(place).or_default();
                OffsetMap::take_in(map, Note::Start(self.start));
                OffsetMap::take_in(map, note);
            }
            Some((None, Note::Start(number))) => self.start = self.start.max(number),
            _ => {}
        }
    }

    /// What is known of partitions that have begun.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Place, &OffsetMap)> {
        self.maps.iter().filter_map(|(place, map)| Some((place, map.as_ref()?)))
    }
}

/// The maps that these records leave to whoever goes on after them.
pub(super) fn maps_of(records: &[Record]) -> BTreeMap<Place, OffsetMap> {
    let mut written = WrittenDown::default();
    records.iter().for_each(|record| written.take_in(record));
    let start = Note::Start(written.start);
    let maps = written.maps.into_iter().filter_map(|(place, map)| Some((place, map?)));
    maps.map(|(place, mut map)| {
        map.hear(start.clone());
        (place, map.taken_up())
    })
    .collect()
}

/// The maps of all partitions, as they were written down.
pub(crate) async fn maps(target: &Cluster, name: &str) -> Result<BTreeMap<Place, OffsetMap>> {
    let (records, _) = InternalLog::open_existing(target, name).await?.read_from(0).await?;
    Ok(maps_of(&records))
}

/// Reads what others have written down, and writes.
#[derive(Debug)]
pub(crate) struct Notebook {
    follower: Follower,
    /// What was read and not handed out: the rest could not be read.
    news: News,
    topic: Rc<str>,
    /// The leader of the internal topic, as long as it answers.
    leader: Option<i32>,
}

/// What was read, in its order: about which partition, or about all.
pub(crate) type News = Vec<(Option<Place>, Note)>;

impl Notebook {
    /// Of a mirror; what is before an offset was read.
    pub(crate) fn of(name: &str, read_until: i64) -> Self {
        Notebook {
            follower: Follower::from(read_until),
            news: News::new(),
            topic: Rc::from(super::topic_of(name)),
            leader: None,
        }
    }

    /// What is new.
    pub(crate) async fn read(&mut self, target: &Cluster, name: &str) -> Result<News> {
        let news = self.follower.read(target, name).await?;
        if news.anew {
            return Err(memory_lost(name));
        }
        self.news.extend(news.records.iter().filter_map(note_of));
        Ok(std::mem::take(&mut self.news))
    }

    /// Writes, and returns what is new up to there, with what was written.
    pub(crate) async fn write(&mut self, target: &Cluster, name: &str, entries: Vec<Entry>) -> Result<News> {
        let leader = match self.leader.take() {
            Some(leader) => leader,
            None => InternalLog::open_existing(target, name).await?.leader,
        };
        let log = InternalLog { target, topic: self.topic.clone(), leader, id: 0, leader_epoch: -1 };
        let written = log.append_many(entries).await?;
        let news = &mut self.news;
        self.follower.read_until(&log, written, |records| news.extend(records.iter().filter_map(note_of))).await?;
        self.leader = Some(leader);
        Ok(std::mem::take(news))
    }
}

/// Writes without looking at what others have written, into the topic with this id: one that has come in its place belongs to a mirror that
/// has begun anew.
pub(crate) async fn write(target: &Cluster, (name, topic_id): (&str, u128), entries: Vec<Entry>) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let log = InternalLog::open(target, name).await?.filter(|log| topic_id == 0 || log.id == topic_id);
    let Some(log) = log else { return Err(memory_lost(name)) };
    log.append_many(entries).await.map(drop)
}

/// What a mirror stops with whose internal topic is gone while it runs.
fn memory_lost(name: &str) -> Error {
    let message = format!(
        "the mirror's internal topic '{}' was deleted on the target while the mirror runs: where records are could not be found again after \
         a restart; nothing more is copied. Every record up to here is on the target once; to go on, mirror under another 'name' into \
         topics without these copies",
        super::topic_of(name)
    );
    Error::new(ErrorKind::TargetConflict, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use bytes::Bytes;

    use super::super::log::{decode, encode};
    use super::*;

    fn records(entries: Vec<Entry>) -> Vec<Record> {
        decode(encode(entries).unwrap()).unwrap()
    }

    #[test]
    fn what_is_written_down_is_read_again() {
        let place = Place { topic: "a.b_c-1".to_owned(), target_topic_id: u128::MAX - 5, partition: 17 };
        let mut map = OffsetMap::beginning_at(40, 7);
        map.append(40, 40, 7, 5);
        map.append(45, 50, 12, 2);
        map.append(47, 52, 99, 1);
        let runs = map.take_changed();
        assert_eq!(runs.len(), 1);
        let seal = Some(Seal { epoch: 3, offset: 100 });
        let anchors = vec![Numbered { number: 45, source_offset: 50 }];
        let mut entries =
            vec![place.runs(3, runs[0].0, &runs[0].1, seal).unwrap(), place.anchors(770, &anchors).unwrap()];
        let size = entries[0].1.as_ref().unwrap().len();
        assert!(size < 100, "{size} bytes for four runs");
        entries.push(place.without_anchors(769));
        entries.push(("start/4".to_owned(), Some(b"{}".to_vec())));
        let read = records(entries);
        let told: Vec<_> = read.iter().filter_map(note_of).collect();
        let about = Some(place.clone());
        let expected = [
            (about.clone(), Note::Runs(runs[0].1.clone(), seal)),
            (about, Note::Anchors { fence: 770, anchors }),
            (None, Note::Start(4)),
        ];
        assert_eq!(told, expected);
        let restored = maps_of(&read).remove(&place).unwrap();
        assert_eq!((restored.runs(), restored.latest_start(), restored.seal()), (map.runs(), 4, seal));
        let first_mirrors = place.runs(3, 0, &runs[0].1, None).unwrap();
        assert!(!String::from_utf8(first_mirrors.1.unwrap()).unwrap().contains("seal"));
    }

    #[test]
    fn numbers_that_cannot_be_offsets_make_no_note() {
        let values = [
            ("runs/1/0", r#"{"runs":[[0,0,0,0],[9223372036854775807,1,1,1]]}"#),
            ("runs/1/0", r#"{"runs":[[5,5,5,5],[-20,1,1,1]]}"#),
            ("runs/1/0", r#"{"runs":[[5,5,5,-1]]}"#),
            ("holes/256", r#"{"anchors":[[-1,4]]}"#),
        ];
        for (rest, value) in values {
            let key = format!("offsets/a/{:032x}/0/{rest}", 7);
            assert_eq!(note_of(&records(vec![(key, Some(value.as_bytes().to_vec()))])[0]), None, "{value}");
        }
    }

    #[test]
    fn what_is_no_note_is_passed_over() {
        for key in ["offsets/a", "offsets/a/xyz/0/runs/1/0", "offsets/a/00/0/other/1", "topic/a"] {
            let record =
                Record { key: Some(Bytes::from(key)), ..records(vec![("x".to_owned(), Some(vec![]))]).remove(0) };
            assert_eq!(note_of(&record), None, "{key}");
        }
    }
}
