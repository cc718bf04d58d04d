//! The steps of a late start, one by one and in simulated histories of crashes and late requests.
//!
//! The simulated broker keeps the rules of a real one that count here: sequence numbers, and deletion up to the log's end. A
//! history has several processes of the mirror in a row; what a dead one had under way arrives at any time later. The
//! driver of each does with a step what `control/prefix.rs` does.

use std::collections::HashMap;

use super::*;

const MIRROR: i64 = 7;
const FILLER: i64 = -7;

fn reading(wanted_start: i64, target: (i64, i64), writer: LastWriter) -> Reading {
    Reading { source_start: wanted_start, wanted_start, target_start: target.0, target_end: target.1, writer }
}

fn filler_up_to(end: i64) -> LastWriter {
    LastWriter::Filler { next_sequence: first_sequence_at(end) }
}

fn step(wanted_start: i64, target: (i64, i64), writer: LastWriter) -> String {
    match decide(&reading(wanted_start, target, writer)) {
        Step::Refuse(error) => format!("Refuse {}", error.kind().name()),
        step => format!("{step:?}"),
    }
}

#[test]
fn a_late_start_is_filled_and_then_deleted() {
    assert_eq!(step(0, (0, 0), LastWriter::Nobody), "Done");
    assert_eq!(step(50, (0, 0), LastWriter::Nobody), "Fill { from: 0, to: 50 }");
    assert_eq!(step(50, (0, 20), filler_up_to(20)), "Fill { from: 20, to: 50 }");
    assert_eq!(step(50, (10, 50), filler_up_to(50)), "Delete { before: 50 }");
    assert_eq!(step(50, (50, 50), filler_up_to(50)), "Done");
    assert_eq!(step(50, (50, 50), LastWriter::Nobody), "Done");
    assert_eq!(step(1 << 31, ((1 << 31) - 2, 1 << 31), filler_up_to(1 << 31)), "Delete { before: 2147483648 }");
}

#[test]
fn a_start_that_moved_on_is_followed_only_while_nothing_was_copied() {
    assert_eq!(step(70, (50, 50), filler_up_to(50)), "Fill { from: 50, to: 70 }");
    assert_eq!(step(70, (0, 50), filler_up_to(50)), "Fill { from: 50, to: 70 }");
    // The machine tells of the loss of 50 to 69.
    assert_eq!(step(70, (50, 50), LastWriter::Mirror), "Begun");
    assert_eq!(step(70, (50, 50), LastWriter::Nobody), "Begun");
    assert_eq!(step(70, (0, 50), LastWriter::Mirror), "Begun");
}

#[test]
fn a_chosen_start_counts_only_until_the_partition_is_begun() {
    let later = |target, writer| format!("{:?}", decide(&Reading { source_start: 10, ..reading(90, target, writer) }));
    assert_eq!(later((0, 0), LastWriter::Nobody), "Fill { from: 0, to: 90 }");
    assert_eq!(later((50, 50), filler_up_to(50)), "Begun");
    assert_eq!(later((10, 10), filler_up_to(10)), "Begun");
    assert_eq!(later((0, 50), filler_up_to(50)), "Fill { from: 50, to: 90 }");
    assert_eq!(step(40, (0, 50), filler_up_to(50)), "Refuse target_conflict");
}

#[test]
fn what_is_not_this_mirrors_is_left_alone() {
    assert_eq!(step(50, (0, 20), LastWriter::OtherFiller), "Refuse target_conflict");
    assert_eq!(step(50, (0, 20), LastWriter::Other), "Begun");
    // Filler behind somebody's records has numbers that are not its offsets.
    assert_eq!(step(50, (0, 20), filler_up_to(15)), "Refuse target_conflict");
}

#[test]
fn a_start_that_takes_too_long_is_refused_with_the_estimate() {
    let most = OFFSETS_PER_SECOND * LONGEST_FILL.as_secs() as i64;
    assert!(matches!(decide(&reading(most, (0, 0), LastWriter::Nobody)), Step::Fill { .. }));
    // Only what is left to fill takes time.
    let rest = decide(&reading(2 * most, (0, most), filler_up_to(most)));
    assert!(matches!(rest, Step::Fill { from, .. } if from == most), "{rest:?}");
    let Step::Refuse(error) = decide(&reading(2 * most, (0, 0), LastWriter::Nobody)) else {
        panic!("it is refused");
    };
    assert!(error.message().contains("about 30 minutes"), "{error}");
    assert!(error.message().contains("offsets=translate"), "{error}");
}

/// A batch of the simulated log.
#[derive(Debug, Clone, Copy)]
struct Stored {
    base: i64,
    count: i64,
    producer: i64,
    next_sequence: i32,
}

/// A request on its way to the broker.
#[derive(Debug, Clone, Copy)]
enum Request {
    Produce { producer: i64, expected: i64, count: i64 },
    Delete { before: i64 },
}

/// One partition of the target.
#[derive(Default)]
struct Broker {
    batches: Vec<Stored>,
    states: HashMap<i64, Vec<(i32, i32, i64)>>,
    start: i64,
    end: i64,
}

impl Broker {
    /// The offset where it landed; `None` if it was refused.
    fn produce(&mut self, producer: i64, sequence: i32, count: i64) -> Option<i64> {
        let next_sequence = first_sequence_at(i64::from(sequence) + count);
        let known = self.states.entry(producer).or_default();
        if let Some((.., base)) = known.iter().find(|(first, next, _)| (*first, *next) == (sequence, next_sequence)) {
            return Some(*base);
        }
        if known.last().is_some_and(|(_, next, _)| *next != sequence) {
            return None;
        }
        known.push((sequence, next_sequence, self.end));
        let keep = known.len().saturating_sub(5);
        known.drain(..keep);
        self.batches.push(Stored { base: self.end, count, producer, next_sequence });
        self.end += count;
        Some(self.end - count)
    }

    fn delete(&mut self, before: i64) {
        if before <= self.end {
            self.start = self.start.max(before);
            self.batches.retain(|batch| batch.base + batch.count > before);
        }
    }

    fn writer(&self) -> LastWriter {
        let next = |producer| self.states.get(&producer).and_then(|state| state.last()).map(|(_, next, _)| *next);
        match self.batches.last() {
            _ if self.start >= self.end && next(MIRROR).is_some() => LastWriter::Mirror,
            None => next(FILLER).map_or(LastWriter::Nobody, |next_sequence| LastWriter::Filler { next_sequence }),
            Some(last) if last.producer == MIRROR => LastWriter::Mirror,
            Some(last) => LastWriter::Filler { next_sequence: last.next_sequence },
        }
    }

    /// Delivers a request; `Some(false)` if whoever sent it has to read the log again.
    fn deliver(&mut self, request: Request) -> bool {
        match request {
            Request::Produce { producer, expected, count } => {
                self.produce(producer, first_sequence_at(expected), count) == Some(expected)
            }
            Request::Delete { before } => {
                self.delete(before);
                true
            }
        }
    }
}

struct World {
    random: fastrand::Rng,
    broker: Broker,
    /// Requests of processes that died.
    late: Vec<Request>,
    source_start: i64,
    source_end: i64,
    begun: Option<i64>,
    restarts: u32,
}

impl World {
    /// Time passes: late requests arrive, the broker forgets, the source moves on.
    fn pass(&mut self) {
        if self.random.u8(..4) == 0 && !self.late.is_empty() {
            let request = self.late.swap_remove(self.random.usize(..self.late.len()));
            self.broker.deliver(request);
        }
        if self.random.u8(..12) == 0 {
            self.source_end += self.random.i64(0..20);
            self.source_start = (self.source_start + self.random.i64(0..15)).min(self.source_end);
        }
        // A restart of the broker while the log is empty: it forgets, and what was under way to it ends with its connection.
        // Who has read from it reads again, for the same reason.
        if self.random.u8(..40) == 0 && self.broker.batches.is_empty() {
            self.broker.states.clear();
            self.late.clear();
            self.restarts += 1;
        }
    }

    fn read(&mut self) -> Reading {
        let source_start = self.source_start;
        Reading {
            source_start,
            wanted_start: source_start,
            target_start: self.broker.start,
            target_end: self.broker.end,
            writer: self.broker.writer(),
        }
    }

    /// One process until it dies or has handed the partition over. `true` when it has.
    fn process(&mut self, size: i64) -> bool {
        loop {
            let restarts = self.restarts;
            let reading = self.read();
            self.pass();
            if restarts != self.restarts {
                continue;
            }
            match decide(&reading) {
                Step::Fill { from, to } => {
                    let mut next = from;
                    // The first alone, then several at a time.
                    let mut together = 1;
                    while next < to {
                        let mut sent = Vec::new();
                        while next < to && sent.len() < together {
                            let count = size.min(to - next);
                            sent.push(Request::Produce { producer: FILLER, expected: next, count });
                            next += count;
                        }
                        together = 5;
                        if self.random.u8(..10) == 0 {
                            self.late.extend(sent);
                            return false;
                        }
                        self.pass();
                        let mut all = true;
                        for request in sent {
                            all &= self.broker.deliver(request);
                        }
                        if !all || restarts != self.restarts {
                            break;
                        }
                    }
                }
                Step::Delete { before } => {
                    let request = Request::Delete { before };
                    if self.random.u8(..4) == 0 {
                        self.late.push(request);
                        return false;
                    }
                    self.broker.deliver(request);
                }
                Step::Done | Step::Begun => return true,
                Step::Refuse(error) => panic!("refused: {error}"),
            }
        }
    }

    /// The partition machine's part: it goes on at the log end, with data.
    fn copy(&mut self, seed: u64) {
        let position = self.broker.end;
        let first = *self.begun.get_or_insert(position);
        assert!(
            self.broker.batches.iter().all(|batch| batch.producer == MIRROR && batch.base >= first),
            "seed {seed}: something else than data is visible: {:?}",
            self.broker.batches
        );
        for _ in 0..self.random.usize(..4) {
            let count = self.random.i64(1..6).min(self.source_end - self.broker.end);
            if count > 0 && self.broker.end >= self.source_start {
                let expected = self.broker.end;
                let request = Request::Produce { producer: MIRROR, expected, count };
                assert!(self.broker.deliver(request), "seed {seed}: data is refused at {expected}");
            }
            self.pass();
        }
    }
}

#[test]
fn filler_and_data_never_meet_whatever_dies_and_arrives_late() {
    let mut started = 0;
    for seed in 0..20_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let source_start = random.i64(0..120);
        let source_end = source_start + random.i64(0..60);
        let mut world = World {
            random,
            broker: Broker::default(),
            late: Vec::new(),
            source_start,
            source_end,
            begun: None,
            restarts: 0,
        };
        for _ in 0..12 {
            let size = world.random.i64(1..30);
            if world.process(size) {
                world.copy(seed);
            }
        }
        for request in std::mem::take(&mut world.late) {
            world.broker.deliver(request);
        }
        let first_data = world.broker.batches.iter().find(|batch| batch.producer == MIRROR).map(|batch| batch.base);
        assert!(
            first_data.is_none_or(|first| world.broker.batches.iter().all(|batch| {
                batch.producer == MIRROR
                    || batch.base + batch.count <= first && batch.base + batch.count <= world.broker.start
            })),
            "seed {seed}: filler behind data: {:?}",
            world.broker.batches
        );
        started += u32::from(world.begun.is_some());
    }
    assert!(started > 15_000, "only {started} histories came to the copying");
}
