//! The decision table of group offsets, row by row, and histories that go through several of them.
//! Every row is what a consumer that is moved from the source to the target would notice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::rc::Rc;

use super::*;

fn partition(number: i32) -> TopicPartition {
    (Rc::from("orders"), number)
}

fn at(offset: i64) -> Offsets {
    Offsets::from([(partition(0), Committed { offset, metadata: String::new() })])
}

fn replicated(next: Option<i64>) -> Replicated {
    Replicated::from([(partition(0), next.map(Copied::up_to))])
}

/// One round: what is written, and what is remembered when that succeeds.
fn round(source: i64, target: Option<i64>, next: i64, memory: &mut Memory) -> Option<(i64, OffsetReason)> {
    let target = target.map_or_else(Offsets::new, at);
    let actions = plan(&at(source), &target, &replicated(Some(next)), &same_offset, memory);
    *memory = actions.memory;
    let write = actions.writes.first()?;
    remember_written(memory, &write.partition, write.to);
    Some((write.to, write.reason))
}

fn first_look(source: i64, target: Option<i64>, next: i64) -> Option<(i64, OffsetReason)> {
    round(source, target, next, &mut Memory::new())
}

#[test]
fn the_target_gets_what_the_source_has_and_never_more_than_is_replicated() {
    assert_eq!(first_look(7, None, 10), Some((7, OffsetReason::Missing)));
    assert_eq!(first_look(0, None, 0), Some((0, OffsetReason::Missing)), "an empty partition has an offset too");
    assert_eq!(first_look(12, None, 10), Some((10, OffsetReason::Missing)));
    for (source, expected) in [(7, 7), (12, 10)] {
        let mut memory = Memory::new();
        assert_eq!(round(5, None, 10, &mut memory), Some((5, OffsetReason::Missing)));
        assert_eq!(round(source, Some(5), 10, &mut memory), Some((expected, OffsetReason::Behind)));
    }
    assert_eq!(first_look(7, Some(7), 10), None);
    assert_eq!(first_look(12, Some(10), 10), None);
}

#[test]
fn an_offset_of_the_mirror_beyond_the_target_log_comes_down_to_its_end() {
    for (target, expected) in [(11, Some((10, OffsetReason::BeyondTarget))), (13, None)] {
        let mut memory = Memory::new();
        round(11, None, 20, &mut memory);
        // The target has lost records since.
        assert_eq!(round(12, Some(target), 10, &mut memory), expected);
    }
}

/// What somebody has set is somebody's wherever it is: a reader without membership is not to be seen otherwise.
#[test]
fn an_offset_that_is_not_the_mirrors_is_left_alone() {
    for target in [0, 3, 5, 9, 11, 12, 40] {
        for source in [7, 12] {
            let to = source.min(10);
            let mut fresh = Memory::new();
            let mut known = Memory::new();
            round(6, None, 10, &mut known);
            for memory in [&mut fresh, &mut known] {
                let expected = (target != to && target != 6).then_some(vec![target]).unwrap_or_default();
                let actions = plan(&at(source), &at(target), &replicated(Some(10)), &same_offset, memory);
                let theirs: Vec<i64> = actions.theirs.iter().map(|theirs| theirs.target).collect();
                assert_eq!(theirs, expected, "{source} {target}");
                assert!(actions.writes.is_empty());
            }
        }
    }
}

#[test]
fn a_group_of_which_somebody_has_one_partition_is_left_as_a_whole() {
    let both = |one: i64, other: i64| {
        let committed = |offset| Committed { offset, metadata: String::new() };
        Offsets::from([(partition(0), committed(one)), (partition(1), committed(other))])
    };
    let all = Some(Copied::up_to(100));
    let replicated = Replicated::from([(partition(0), all), (partition(1), all)]);
    let mut memory = plan(&both(50, 60), &Offsets::new(), &replicated, &same_offset, &Memory::new()).memory;
    remember_written(&mut memory, &partition(0), 50);
    remember_written(&mut memory, &partition(1), 60);
    let actions = plan(&both(70, 80), &both(20, 60), &replicated, &same_offset, &memory);
    assert_eq!((actions.writes.len(), actions.theirs.len()), (0, 1));
    assert_eq!(to_be_noted(&actions.memory[&partition(1)]), [Some(60), None], "nothing is tried");
    // Deleted there, all of it is copied anew.
    let actions = plan(&both(70, 80), &Offsets::new(), &replicated, &same_offset, &actions.memory);
    assert_eq!(actions.writes.iter().map(|write| write.to).collect::<Vec<_>>(), [70, 80]);
}

#[test]
fn what_was_noted_is_the_mirrors_whether_the_commit_landed_or_not() {
    let mut memory = Memory::new();
    round(30, None, 100, &mut memory);
    let actions = plan(&at(40), &at(30), &replicated(Some(100)), &same_offset, &memory);
    let noted = to_be_noted(&actions.memory[&partition(0)]);
    assert_eq!(noted, [Some(30), Some(40)]);
    let notes = BTreeMap::from([(partition(0), noted)]);
    for (target, expected) in [(30, Some(OffsetReason::Behind)), (40, Some(OffsetReason::Behind)), (35, None)] {
        let again = plan(&at(50), &at(target), &replicated(Some(100)), &same_offset, &recalled(Some(&notes)));
        assert_eq!(again.writes.first().map(|write| write.reason), expected, "{target}");
    }
}

#[test]
fn a_target_that_is_ahead_is_left_alone_by_a_process_that_does_not_know_why() {
    let actions = plan(&at(7), &at(9), &replicated(Some(10)), &same_offset, &Memory::new());
    assert!(actions.writes.is_empty());
    assert_eq!(actions.theirs, [Theirs { partition: partition(0), source: 7, target: 9 }]);
    assert_eq!((actions.behind, actions.waiting), (0, 0));
    let told = used("g", &actions.theirs).unwrap();
    assert!(told.message().contains("orders-0 is at 9 there and at 7 at the source"), "{told}");
    assert!(told.message().contains("delete the group on the target"), "{told}");
}

#[test]
fn a_source_that_went_back_is_followed() {
    let mut memory = Memory::new();
    assert_eq!(round(9, None, 10, &mut memory), Some((9, OffsetReason::Missing)));
    assert_eq!(round(4, Some(9), 10, &mut memory), Some((4, OffsetReason::WentBack)));
    assert_eq!(round(4, Some(4), 10, &mut memory), None);
    // Found equal, not written: as good.
    let mut memory = Memory::new();
    assert_eq!(round(9, Some(9), 10, &mut memory), None);
    assert_eq!(round(4, Some(9), 10, &mut memory), Some((4, OffsetReason::WentBack)));
}

#[test]
fn a_step_back_is_followed_when_it_can_be_but_not_over_what_somebody_has_set() {
    let mut memory = Memory::new();
    round(9, Some(9), 10, &mut memory);
    for _ in 0..2 {
        // The write does not succeed.
        let actions = plan(&at(4), &at(9), &replicated(Some(10)), &same_offset, &memory);
        assert_eq!(actions.writes[0].reason, OffsetReason::WentBack);
        memory = actions.memory;
        remember_untried(&mut memory, &partition(0));
    }
    // Used on the target meanwhile, in either direction.
    for target in [6, 15] {
        assert_eq!(round(4, Some(target), 20, &mut memory.clone()), None);
    }
    assert_eq!(round(4, Some(9), 10, &mut memory), Some((4, OffsetReason::WentBack)));
}

#[test]
fn a_group_that_was_used_on_the_target_keeps_its_offsets_until_the_source_passes_them() {
    let mut memory = Memory::new();
    assert_eq!(round(5, None, 20, &mut memory), Some((5, OffsetReason::Missing)));
    assert_eq!(round(5, Some(9), 20, &mut memory), None);
    assert_eq!(round(7, Some(9), 20, &mut memory), None);
    assert_eq!(round(9, Some(9), 20, &mut memory), None);
    assert_eq!(round(12, Some(9), 20, &mut memory), Some((12, OffsetReason::Behind)));
    // Deleted there to be copied anew.
    assert_eq!(round(12, None, 20, &mut memory), Some((12, OffsetReason::Missing)));
}

#[test]
fn a_group_ahead_of_the_mirror_is_raised_as_the_mirror_catches_up() {
    let mut memory = Memory::new();
    assert_eq!(round(30, None, 10, &mut memory), Some((10, OffsetReason::Missing)));
    let actions = plan(&at(30), &at(10), &replicated(Some(10)), &same_offset, &memory);
    assert_eq!((actions.writes.len(), actions.behind, actions.waiting), (0, 20, 1));
    assert_eq!(round(30, Some(10), 25, &mut memory), Some((25, OffsetReason::Behind)));
    assert_eq!(round(30, Some(25), 40, &mut memory), Some((30, OffsetReason::Behind)));
    let actions = plan(&at(30), &at(30), &replicated(Some(40)), &same_offset, &memory);
    assert_eq!((actions.writes.len(), actions.behind, actions.waiting), (0, 0, 0));
}

#[test]
fn nothing_is_written_while_it_is_not_known_how_far_the_mirror_is() {
    let actions = plan(&at(0), &Offsets::new(), &replicated(None), &same_offset, &Memory::new());
    assert_eq!((actions.writes.len(), actions.waiting), (0, 1));
    let actions = plan(&at(3), &at(9), &replicated(None), &same_offset, &Memory::new());
    assert!(actions.writes.is_empty() && actions.theirs.is_empty());
}

/// Whoever is sent below the first record of a log goes to its end with `auto.offset.reset=latest`.
#[test]
fn the_target_never_gets_less_than_its_log_keeps() {
    let copied = |target_start| Copied { next: 120, target_start, source_end: None };
    let one = |source, target: Option<i64>, target_start, memory: &Memory| {
        let replicated = Replicated::from([(partition(0), Some(copied(target_start)))]);
        let target = target.map_or_else(Offsets::new, at);
        plan(&at(source), &target, &replicated, &same_offset, memory)
    };
    for (source, expected, raised) in [(40, 100, Some(40)), (99, 100, Some(99)), (100, 100, None), (110, 110, None)] {
        let actions = one(source, None, 100, &Memory::new());
        let write = &actions.writes[0];
        assert_eq!((write.to, write.raised_from), (expected, raised), "{source}");
        assert_eq!((actions.behind, actions.waiting), (0, 0), "it is level so");
        // It stays there, and goes on with the log.
        let mut memory = actions.memory;
        remember_written(&mut memory, &partition(0), write.to);
        let again = one(source, Some(expected), 100, &memory);
        assert!(again.writes.is_empty() && again.theirs.is_empty());
        let later = one(source, Some(expected), 115, &again.memory);
        assert_eq!(later.writes.iter().map(|write| write.to).collect::<Vec<_>>(), [115]);
    }
    // A log that keeps nothing.
    let emptied = one(40, None, 120, &Memory::new());
    assert_eq!(emptied.writes[0].to, 120);
    // With translated offsets it is the target's numbers that count.
    let moved = |_: &TopicPartition, offset: i64| OnTarget { offset: offset + 1000, comes_back: false };
    let replicated = Replicated::from([(partition(0), Some(copied(1050)))]);
    let actions = plan(&at(40), &Offsets::new(), &replicated, &moved, &Memory::new());
    assert_eq!((actions.writes[0].to, actions.writes[0].raised_from), (1050, Some(40)));
}

#[test]
fn an_offset_beyond_the_end_of_the_source_says_so_and_is_not_behind() {
    let copied = |next, end| Copied { next, target_start: 0, source_end: Some(end) };
    let replicated = |next, end| Replicated::from([(partition(0), Some(copied(next, end)))]);
    let actions = plan(&at(1000), &Offsets::new(), &replicated(10, 10), &same_offset, &Memory::new());
    assert_eq!((actions.writes[0].to, actions.behind, actions.waiting), (10, 0, 0));
    assert_eq!(actions.beyond, [Beyond { partition: partition(0), source: 1000, end: 10 }]);
    let told = beyond_the_source("g", &actions.beyond).unwrap();
    assert!(told.message().contains("is at 1000 in orders-0 at the source, whose log ends at 10"), "{told}");
    // What is still to be copied is behind, and only that.
    let actions = plan(&at(1000), &Offsets::new(), &replicated(4, 10), &same_offset, &Memory::new());
    assert_eq!((actions.writes[0].to, actions.behind), (4, 6));
    let actions = plan(&at(10), &Offsets::new(), &replicated(4, 10), &same_offset, &Memory::new());
    assert_eq!((actions.behind, actions.beyond.len()), (6, 0));
}

#[test]
fn partitions_that_are_not_mirrored_do_not_count() {
    let mut source = at(3);
    source.insert((Rc::from("elsewhere"), 0), Committed { offset: 5, metadata: String::new() });
    let actions = plan(&source, &Offsets::new(), &replicated(Some(9)), &same_offset, &Memory::new());
    assert_eq!(actions.writes.iter().map(|write| &*write.partition.0).collect::<Vec<_>>(), ["orders"]);
}

#[test]
fn what_the_source_has_no_offset_of_stays_on_the_target() {
    let actions = plan(&Offsets::new(), &at(9), &replicated(Some(9)), &same_offset, &Memory::new());
    assert!(actions.writes.is_empty() && actions.theirs.is_empty());
}

#[test]
fn the_text_beside_an_offset_is_copied() {
    let source = Offsets::from([(partition(0), Committed { offset: 3, metadata: "state".to_owned() })]);
    let write = plan(&source, &at(3), &replicated(Some(9)), &same_offset, &Memory::new()).writes.remove(0);
    assert_eq!((write.reason, write.metadata.as_str()), (OffsetReason::Metadata, "state"));
    assert!(plan(&source, &source, &replicated(Some(9)), &same_offset, &Memory::new()).writes.is_empty());
}

#[test]
fn only_groups_without_members_are_written_to() {
    let listed = |kind, members| Listed { coordinator: 1, kind, members };
    let told = |kind, members| refusal_on_target("g", &listed(kind, members)).map(|error| error.message().to_owned());
    assert_eq!(told(Type::Consumer, Members::None), None);
    assert_eq!(told(Type::Consumer, Members::Unknown), None, "the broker refuses the commit if there are any");
    assert!(told(Type::Consumer, Members::Some).unwrap().contains("has members on the target"));
    assert!(told(Type::Share, Members::None).unwrap().contains("is a share group on the target"));
    assert!(refusal_at_source("g", &listed(Type::Streams, Members::None)).is_some());
    assert!(refusal_at_source("g", &listed(Type::Consumer, Members::Some)).is_none());
}

/// Two mirrors copy the group to each other; the numbers are the same for simplicity, but one side is known to lag.
fn coming_back(source: i64, target: i64, known: i64, memory: &mut Memory) -> Option<i64> {
    let scale = move |_: &TopicPartition, offset: i64| OnTarget { offset: offset.min(known), comes_back: true };
    let actions = plan(&at(source), &at(target), &replicated(Some(100)), &scale, memory);
    assert!(actions.theirs.is_empty(), "that is how it is meant to be, and no trouble");
    *memory = actions.memory;
    let write = actions.writes.first()?;
    remember_written(memory, &write.partition, write.to);
    Some(write.to)
}

#[test]
fn two_mirrors_do_not_drag_the_offsets_of_a_group_down() {
    let mut memory = Memory::new();
    assert_eq!(coming_back(50, 60, 100, &mut memory), None, "it is at home there");
    assert_eq!(coming_back(50, 60, 40, &mut memory), None);
    // The home's owner went back there, and this mirror has heard nothing new.
    assert_eq!(coming_back(50, 10, 100, &mut memory), Some(50), "not known yet whether it went on here meanwhile");
    let mut memory = Memory::new();
    assert_eq!(coming_back(50, 50, 100, &mut memory), None);
    assert_eq!(coming_back(50, 10, 100, &mut memory), None, "it is not sent to where it was");
    // It was read on here, and is to go home.
    assert_eq!(coming_back(70, 10, 100, &mut memory), Some(70));
    // What was written may be raised as more becomes known, and follows back.
    let mut memory = Memory::new();
    assert_eq!(coming_back(50, 20, 45, &mut memory), Some(45));
    assert_eq!(coming_back(50, 45, 100, &mut memory), Some(50));
    assert_eq!(coming_back(30, 50, 100, &mut memory), Some(30));
}
