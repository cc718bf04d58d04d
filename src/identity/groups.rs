//! Which offsets of consumer groups on the target are the mirror's, in the internal topic: written down before they are set there,
//! so that a later process knows them again. Whatever else is found on the target is somebody's.
//!
//! A record is of some partitions of a topic in a group. Records of groups that are gone stay; they are small.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::log::{Follower, InternalLog, Record};
use super::{json, record_key};
use crate::error::Result;
use crate::terms::topic::TopicPartition;
use crate::wire::cluster::Cluster;

const PREFIX: &str = "group/";
/// Partitions in one record: it stays far below the limit of a batch.
const PARTITIONS_AT_ONCE: i32 = 5000;

/// What the target has, and what it was to get; each only if it is the mirror's.
pub(crate) type Noted = [Option<i64>; 2];

/// Of each group, by the names of topics at the source.
pub(crate) type ByGroup = BTreeMap<String, BTreeMap<TopicPartition, Noted>>;

/// Partition, and both offsets.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    offsets: Vec<(i32, Option<i64>, Option<i64>)>,
}

/// What these records say, the later ones last.
pub(super) fn noted(records: &[Record]) -> ByGroup {
    let mut notes = ByGroup::new();
    let mut names = HashSet::new();
    for record in records {
        if let Some((group, of_group)) = note_of(record, &mut names) {
            notes.entry(group).or_default().extend(of_group);
        }
    }
    notes
}

fn note_of(record: &Record, names: &mut HashSet<Rc<str>>) -> Option<(String, Vec<(TopicPartition, Noted)>)> {
    // Names of groups may have a slash, those of topics have none.
    let mut parts = record_key(record)?.strip_prefix(PREFIX)?.rsplitn(3, '/');
    let (_chunk, topic, group) = (parts.next()?, parts.next()?, parts.next()?);
    let note: Note = serde_json::from_slice(record.value.as_ref()?).ok()?;
    let topic = intern(names, topic);
    let offsets = note.offsets.into_iter().map(|(partition, now, next)| ((topic.clone(), partition), [now, next]));
    Some((group.to_owned(), offsets.collect()))
}

fn intern(names: &mut HashSet<Rc<str>>, name: &str) -> Rc<str> {
    match names.get(name) {
        Some(known) => known.clone(),
        None => {
            let name: Rc<str> = Rc::from(name);
            names.insert(name.clone());
            name
        }
    }
}

/// The notes of a running mirror.
#[derive(Debug, Default)]
pub(crate) struct Notebook {
    follower: Follower,
    noted: ByGroup,
    names: HashSet<Rc<str>>,
}

impl Notebook {
    /// With what was noted before an offset of the internal topic.
    pub(crate) fn of(noted: ByGroup, read_until: i64) -> Self {
        let names = noted.values().flat_map(|of_group| of_group.keys()).map(|(topic, _)| topic.clone()).collect();
        Notebook { follower: Follower::from(read_until), noted, names }
    }

    /// What is noted of a group.
    pub(crate) fn of_group(&self, group: &str) -> Option<&BTreeMap<TopicPartition, Noted>> {
        self.noted.get(group)
    }

    /// What other processes of the mirror have noted since the last time.
    pub(crate) async fn read(&mut self, target: &Cluster, name: &str) -> Result<ByGroup> {
        let news = self.follower.read(target, name).await?;
        let mut others = ByGroup::new();
        for record in &news.records {
            let Some((group, offsets)) = note_of(record, &mut self.names) else { continue };
            let known = self.noted.entry(group.clone()).or_default();
            for (partition, noted) in offsets {
                // What this process has written itself is known better by now.
                if known.insert(partition.clone(), noted) != Some(noted) {
                    others.entry(group.clone()).or_default().insert(partition, noted);
                }
            }
        }
        Ok(others)
    }

    /// Notes what has changed; durable when this returns.
    pub(crate) async fn write(&mut self, target: &Cluster, name: &str, changes: ByGroup) -> Result<()> {
        let mut entries = Vec::new();
        for (group, changed) in &changes {
            let mut all = self.noted.get(group).cloned().unwrap_or_default();
            all.extend(changed.iter().map(|(partition, noted)| (partition.clone(), *noted)));
            let chunks: HashSet<(Rc<str>, i32)> = changed.keys().map(chunk_of).collect();
            let mut notes: BTreeMap<(Rc<str>, i32), Note> = BTreeMap::new();
            for (partition, [now, next]) in all {
                let chunk = chunk_of(&partition);
                if chunks.contains(&chunk) {
                    let note = notes.entry(chunk).or_insert_with(|| Note { offsets: Vec::new() });
                    note.offsets.push((partition.1, now, next));
                }
            }
            for ((topic, chunk), note) in notes {
                entries.push((format!("{PREFIX}{group}/{topic}/{chunk}"), Some(json(&note)?)));
            }
        }
        if entries.is_empty() {
            return Ok(());
        }
        InternalLog::open_existing(target, name).await?.append_many(entries).await?;
        for (group, changed) in changes {
            self.noted.entry(group).or_default().extend(changed);
        }
        Ok(())
    }
}

fn chunk_of((topic, partition): &TopicPartition) -> (Rc<str>, i32) {
    (topic.clone(), partition / PARTITIONS_AT_ONCE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::super::log::{decode, encode};
    use super::*;

    fn records(entries: &[(&str, &str)]) -> Vec<Record> {
        let entry = |(key, value): &(&str, &str)| ((*key).to_owned(), Some(value.as_bytes().to_vec()));
        decode(encode(entries.iter().map(entry).collect()).unwrap()).unwrap()
    }

    /// What was written by one release has to be found by the next.
    #[test]
    fn the_last_note_of_a_partition_counts() {
        let notes = noted(&records(&[
            ("group/a/b/orders/0", r#"{"offsets":[[0,5,null],[1,null,7]]}"#),
            ("group/a/b/orders/0", r#"{"offsets":[[0,5,9],[1,7,null]]}"#),
            ("group/a/b/orders/1", r#"{"offsets":[[5000,1,null]]}"#),
            ("group/c/orders/0", "?"),
            ("group/", "{}"),
            ("topic/orders", "{}"),
        ]));
        let orders = |partition| (Rc::from("orders"), partition);
        let expected = [(orders(0), [Some(5), Some(9)]), (orders(1), [Some(7), None]), (orders(5000), [Some(1), None])];
        assert_eq!(notes, ByGroup::from([("a/b".to_owned(), BTreeMap::from(expected))]));
    }
}
