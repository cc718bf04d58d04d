//! Offsets of a group while they are copied: between listing, reading, deciding, noting and committing others do what they like, and
//! the process ends anywhere. What somebody has set on the target stays, and what nobody has touched follows the source.
//!
//! Bugs are put around what decides; each of them has to be found.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::rc::Rc;

use fastrand::Rng;

use super::*;
use crate::machine::simulation::histories;

const PARTITIONS: usize = 2;
const ROUNDS: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// Whatever is behind may be moved forward: a reader without membership loses its place.
    MovesWhatIsBehind,
    /// A step back at the source is followed over what somebody has set.
    FollowsBackBlindly,
    /// Nobody looks again before a commit.
    DoesNotLookAgain,
    /// What is noted is noted when it was committed.
    NotesTooLate,
    /// A new process knows of nothing that was set before.
    ForgetsItsNotes,
    /// A commit that got no answer was not made.
    BelievesInSilence,
}

const BUGS: [Bug; 6] = [
    Bug::MovesWhatIsBehind,
    Bug::FollowsBackBlindly,
    Bug::DoesNotLookAgain,
    Bug::NotesTooLate,
    Bug::ForgetsItsNotes,
    Bug::BelievesInSilence,
];

/// An offset on the target, and whether somebody else has set it. Others set odd numbers, the mirror even ones, so that nobody
/// takes one for the other.
type OnTargetNow = [Option<i64>; PARTITIONS];

struct History {
    rng: Rng,
    source: [i64; PARTITIONS],
    replicated: i64,
    target: OnTargetNow,
    notes: BTreeMap<TopicPartition, [Option<i64>; 2]>,
    memory: Option<Memory>,
    /// Whether anybody else has touched the group on the target since it was deleted there last.
    touched: bool,
    bug: Option<Bug>,
    calm: bool,
}

/// The process has ended.
struct Ended;

fn name(partition: usize) -> TopicPartition {
    (Rc::from("orders"), partition as i32)
}

fn is_somebodys(offset: Option<i64>) -> bool {
    offset.is_some_and(|offset| offset % 2 == 1)
}

fn offsets(of: impl Iterator<Item = Option<i64>>) -> Offsets {
    let committed = |offset| Committed { offset, metadata: String::new() };
    (0..).zip(of).filter_map(|(partition, offset)| Some((name(partition), committed(offset?)))).collect()
}

impl History {
    fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let target = [0; PARTITIONS].map(|_| (rng.u32(0..8) == 0).then(|| rng.i64(0..50) * 2 + 1));
        let touched = target.iter().any(Option::is_some);
        let source = [0; PARTITIONS].map(|_| rng.i64(0..50) * 2);
        let (notes, memory) = (BTreeMap::new(), None);
        History { rng, source, replicated: 60, target, notes, memory, touched, bug, calm: false }
    }

    /// What happens between two steps of a round, perhaps the end of the process.
    fn others(&mut self) -> Result<(), Ended> {
        if self.calm {
            return Ok(());
        }
        let partition = self.rng.usize(0..PARTITIONS);
        match self.rng.u32(0..60) {
            0 => {
                self.target[partition] = Some(self.rng.i64(0..60) * 2 + 1);
                self.touched = true;
            }
            1 => (self.target, self.touched) = ([None; PARTITIONS], false),
            2..10 => self.source[partition] += self.rng.i64(0..10) * 2,
            10..12 => self.source[partition] = self.rng.i64(0..=self.source[partition] / 2) * 2,
            12..18 => self.replicated += self.rng.i64(0..10) * 2,
            18..20 => {
                self.memory = None;
                return Err(Ended);
            }
            _ => {}
        }
        Ok(())
    }

    fn round(&mut self) -> Result<(), String> {
        match self.steps() {
            Ok(Ok(()) | Err(Ended)) => Ok(()),
            Err(broken) => Err(broken),
        }
    }

    fn steps(&mut self) -> Result<Result<(), Ended>, String> {
        macro_rules! others {
            () => {
                if self.others().is_err() {
                    return Ok(Err(Ended));
                }
            };
        }
        let source = offsets(self.source.iter().copied().map(Some));
        others!();
        let seen = self.target;
        others!();
        let recall = |history: &Self| match history.bug {
            Some(Bug::ForgetsItsNotes) => Memory::new(),
            _ => recalled(Some(&history.notes)),
        };
        let mut memory = self.memory.clone().unwrap_or_else(|| recall(self));
        self.spoil(&mut memory, &seen);
        let replicated = (0..PARTITIONS).map(|number| (name(number), Some(Copied::up_to(self.replicated)))).collect();
        let target = offsets(seen.iter().copied());
        let actions = plan(&source, &target, &replicated, &same_offset, &memory);
        if self.bug != Some(Bug::NotesTooLate) {
            self.note(&actions.memory);
        }
        self.memory = Some(actions.memory.clone());
        others!();
        let now = self.target;
        if self.bug != Some(Bug::DoesNotLookAgain) && now != seen {
            for write in &actions.writes {
                remember_untried(self.memory.as_mut().unwrap(), &write.partition);
            }
            return Ok(Ok(()));
        }
        // Nothing comes between that look and the commit here: what does is overtaken, and no client can help it.
        self.commit(&actions.writes)?;
        others!();
        if self.bug == Some(Bug::NotesTooLate) {
            let memory = self.memory.clone().unwrap();
            self.note(&memory);
        }
        Ok(Ok(()))
    }

    fn note(&mut self, memory: &Memory) {
        self.notes.extend(memory.iter().map(|(partition, seen)| (partition.clone(), to_be_noted(seen))));
    }

    /// What a machine with the bug would believe.
    fn spoil(&self, memory: &mut Memory, target: &OnTargetNow) {
        for (number, now) in target.iter().enumerate() {
            let wanted = self.source[number].min(self.replicated);
            let seen = memory.entry(name(number)).or_default();
            let went_back = seen.source.is_some_and(|before| self.source[number] < before);
            match self.bug {
                Some(Bug::MovesWhatIsBehind) if now.is_some_and(|now| now < wanted) => seen.ours = *now,
                Some(Bug::FollowsBackBlindly) if went_back && now.is_some_and(|now| now > wanted) => seen.ours = *now,
                _ => {}
            }
        }
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), String> {
        if writes.is_empty() {
            return Ok(());
        }
        let memory = self.memory.as_mut().unwrap();
        let (lands, is_answered) = (self.rng.u32(0..10) > 0, self.calm || self.rng.u32(0..10) > 0);
        let lands = lands || self.calm;
        for write in writes {
            let number = write.partition.1 as usize;
            if lands {
                if self.target.into_iter().any(is_somebodys) {
                    return Err(format!("{:?} was somebody's, and {} was written", self.target, write.to));
                }
                self.target[number] = Some(write.to);
            }
            match (lands, is_answered) {
                (true, true) => remember_written(memory, &write.partition, write.to),
                (false, true) => {}
                (_, false) if self.bug == Some(Bug::BelievesInSilence) => {
                    remember_untried(memory, &write.partition);
                    self.notes.insert(write.partition.clone(), [write.from, None]);
                }
                (_, false) => {}
            }
        }
        Ok(())
    }

    /// When everything has come to rest, a group that nobody has touched is where it is at the source.
    fn check_end(&mut self) -> Result<(), String> {
        self.calm = true;
        for _ in 0..3 {
            self.round()?;
        }
        let wanted = self.source.map(|source| Some(source.min(self.replicated)));
        if !self.touched && self.target != wanted {
            return Err(format!("nobody has touched {:?}, and it is not {wanted:?}", self.target));
        }
        Ok(())
    }
}

fn run(seed: u64, bug: Option<Bug>) -> Result<bool, String> {
    let mut history = History::new(seed, bug);
    let rounds = (0..ROUNDS).try_for_each(|_| history.round());
    rounds.and_then(|()| history.check_end()).map_err(|broken| format!("seed {seed}: {broken}"))?;
    Ok(history.touched)
}

#[test]
fn what_somebody_has_set_stays_and_what_nobody_has_touched_follows() {
    let mut touched = 0;
    for seed in 0..histories() {
        match run(seed, None) {
            Ok(was_touched) => touched += u64::from(was_touched),
            Err(broken) => panic!("{broken}"),
        }
    }
    assert!((histories() / 5..histories() * 4 / 5).contains(&touched), "{touched} were touched");
}

#[test]
fn every_planted_bug_is_found() {
    for bug in BUGS {
        let found = (0..histories()).find_map(|seed| run(seed, Some(bug)).err());
        println!("{bug:?}: {}", found.unwrap_or_else(|| panic!("{bug:?} is not found")));
    }
}
