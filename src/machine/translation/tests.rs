//! What a map says about a few records and holes; what it says in thousands of histories is for the simulation.
//! Numbers here begin where the source begins, as they do everywhere.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

/// Records 10 to 14, a hole, 20 to 22, the writes of somebody else, 23 to 24.
fn map() -> OffsetMap {
    let mut map = OffsetMap::beginning_at(10, 1000);
    map.append(10, 10, 1000, 3);
    map.append(13, 13, 1003, 2);
    let anchors = map.with_anchors(&[Anchor { source_offset: 20, sequence: 15 }]);
    map.hear(Note::Anchors { fence: 256, anchors });
    map.append(15, map.source_offset_of(15), 1005, 3);
    map.append(18, map.source_offset_of(18), 1100, 2);
    map
}

/// What has changed, as it is written down.
fn taken(map: &mut OffsetMap) -> Vec<Note> {
    let (chunks, seal) = (map.take_changed(), map.seal());
    chunks.into_iter().map(|(_, runs)| Note::Runs(runs, seal)).collect()
}

#[test]
fn every_record_is_found_from_both_sides_and_by_number() {
    let map = map();
    let runs: Vec<_> =
        map.runs().iter().map(|run| (run.number, run.source_offset, run.target_offset, run.count)).collect();
    assert_eq!(runs, [(10, 10, 1000, 5), (15, 20, 1005, 3), (18, 23, 1100, 2)], "neighbours are one run");
    for (number, source, target) in
        [(10, 10, 1000), (14, 14, 1004), (15, 20, 1005), (17, 22, 1007), (18, 23, 1100), (19, 24, 1101)]
    {
        assert_eq!(map.source_offset_of(number), source);
        assert_eq!(map.target_offset_of(source), target);
        let run = map.run_at_target(target).unwrap();
        assert_eq!(run.source_offset + (target - run.target_offset), source);
    }
    assert_eq!((map.known_until(), map.target_offset_next(), map.last_record()), (20, 1102, Some((1101, 24))));
    assert_eq!(map.source_offset_of(20), 25, "the next");
    for of_others in [999, 1008, 1099, 1102] {
        assert_eq!(map.run_at_target(of_others), None);
    }
}

#[test]
fn a_group_in_a_hole_goes_on_with_the_next_record_and_one_at_the_end_behind_the_last() {
    let map = map();
    let translated = [(0, 1000), (15, 1005), (19, 1005), (23, 1100), (25, 1102), (99, 1102)];
    for (source, target) in translated {
        assert_eq!(map.target_offset_of(source), target, "{source}");
    }
    assert_eq!(OffsetMap::beginning_at(7, 500).target_offset_of(7), 500, "nothing is copied yet");
}

#[test]
fn sequence_numbers_wrap_and_numbers_do_not() {
    let first = (1 << 31) - 2;
    let mut map = OffsetMap::beginning_at(first, 0);
    assert_eq!((map.number_of(OffsetMap::sequence_of(first)), OffsetMap::sequence_of(first)), (first, i32::MAX - 1));
    map.append(first, first, 0, 5);
    assert_eq!(OffsetMap::sequence_of(map.known_until()), 3);
    assert_eq!((map.number_of(2), map.number_of(i32::MAX)), (first + 4, first + 1));
}

#[test]
fn what_was_written_down_gives_the_same_map() {
    let mut map = map();
    let mut notes = taken(&mut map);
    assert!(map.take_changed().is_empty(), "nothing has changed since");
    notes.push(Note::Anchors { fence: 256, anchors: map.with_anchors(&[]) });
    let restored = OffsetMap::restore(notes).unwrap();
    assert_eq!(
        (restored.runs(), restored.begin(), restored.with_anchors(&[])),
        (map.runs(), map.begin(), map.with_anchors(&[]))
    );
    assert_eq!(OffsetMap::restore([Note::Start(3)]), None);
}

#[test]
fn many_runs_are_kept_in_chunks_of_which_only_the_last_changes() {
    let mut map = OffsetMap::beginning_at(0, 0);
    let mut kept = std::collections::BTreeMap::new();
    for number in 0..1000 {
        map.append(number, number, 2 * number, 1);
        if number % 7 == 0 {
            let changed = map.take_changed();
            assert!(changed.len() <= 2);
            kept.extend(changed);
        }
    }
    kept.extend(map.take_changed());
    assert_eq!(kept.len(), 4);
    let restored = OffsetMap::restore(kept.into_values().map(|runs| Note::Runs(runs, None))).unwrap();
    assert_eq!(restored.runs(), map.runs());
}

#[test]
fn anchors_are_kept_as_long_as_runs_before_them_are_not() {
    let mut map = OffsetMap::beginning_at(0, 0);
    for hole in 0..10 {
        let sequence = 2 * (hole + 1);
        let anchors = map.with_anchors(&[Anchor { source_offset: 100 * i64::from(hole + 1), sequence }]);
        map.hear(Note::Anchors { fence: 256, anchors });
        let number = i64::from(sequence) - 2;
        map.append(number, map.source_offset_of(number), number, 2);
    }
    assert_eq!(map.with_anchors(&[]).len(), 10);
    map.take_changed();
    let anchors = map.with_anchors(&[Anchor { source_offset: 5000, sequence: 22 }]);
    assert_eq!(anchors.iter().map(|anchor| anchor.number).collect::<Vec<_>>(), [20, 22]);
}

#[test]
fn what_the_target_has_lost_is_forgotten_and_said_anew() {
    let mut map = map();
    let mut notes = taken(&mut map);
    map.forget_from(16);
    assert_eq!((map.known_until(), map.target_offset_next(), map.source_offset_of(16)), (16, 1006, 21));
    map.append(16, 21, 1500, 4);
    notes.extend(taken(&mut map));
    assert_eq!(OffsetMap::restore(notes).unwrap().runs(), map.runs());
    map.forget_from(0);
    assert_eq!((map.known_until(), map.target_offset_next(), map.source_offset_of(10)), (10, 1000, 10));
}

#[test]
fn what_was_lost_and_not_copied_again_is_forgotten_with_the_next_seal() {
    let mut map = map();
    map.put_seal(3, 1050);
    let mut notes = taken(&mut map);
    assert_eq!(OffsetMap::restore(notes.clone()).unwrap().runs(), map.runs(), "also what was appended after the seal");
    // An election has cut the log before everything, and the process has written down that it knows of nothing.
    map.cut(900);
    map.put_seal(4, 900);
    notes.extend(taken(&mut map));
    let restored = OffsetMap::restore(notes).unwrap();
    assert_eq!((restored.runs(), restored.known_until(), restored.target_offset_next()), (&[][..], 10, 900));
}

#[test]
fn what_an_earlier_process_writes_after_a_later_one_does_not_count() {
    let anchors = |source_offset| vec![Numbered { number: 20, source_offset }];
    let mut map = map();
    map.hear(Note::Anchors { fence: 2 * 256 + 1, anchors: anchors(30) });
    map.hear(Note::Anchors { fence: 2 * 256, anchors: anchors(31) });
    assert_eq!(map.source_offset_of(20), 30, "an attempt that was given up");
    map.hear(Note::Start(4));
    map.hear(Note::Anchors { fence: 3 * 256, anchors: anchors(32) });
    assert_eq!((map.source_offset_of(20), map.latest_start()), (30, 4));
    map.hear(Note::Anchors { fence: 4 * 256, anchors: anchors(33) });
    assert_eq!(map.source_offset_of(20), 33);
}
