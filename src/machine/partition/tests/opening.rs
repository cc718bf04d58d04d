//! What a partition makes of both logs as they were read: where it goes on, what it does not believe yet, what ends it.
//!
//! Also what `on.data.loss` decides, because that is found out when the position is read.

use super::*;
use crate::batch::marker;

/// A target without a record of the source, up to an offset where everything before was removed or never was.
fn empty_at(offset: i64, begun: bool) -> TargetLog {
    TargetLog { log_start_offset: offset, log_end_offset: offset, high_watermark: offset, begun, ..filled_to(0) }
}

fn target_with(tail: Tail, last_record: Option<(i16, i32)>) -> TargetLog {
    TargetLog { tail, last_record, ..filled_to(10) }
}

fn go_on() -> Limits {
    Limits { go_on_after_loss: true, ..limits() }
}

const LOST_30_TO_39: &str = "source offsets 30 to 39 were removed before they were replicated (the source begins at 40 now); \
                             on.data.loss=continue goes on from there";

#[test]
fn retention_was_faster_than_the_mirror() {
    let mut partition = new();
    open(&mut partition, source(40, 100), filled_to(30));
    assert_parked(&partition, ErrorKind::DataLoss, Some(30), LOST_30_TO_39);
    assert_eq!(told(&mut partition), [], "the error itself tells");
}

#[test]
fn what_was_lost_becomes_a_hole_if_that_is_the_policy_and_is_told_once() {
    let mut partition = running_with(go_on(), 30);
    partition.handle_out_of_range(30, Duration::ZERO);
    open(&mut partition, source(40, 100), filled_to(30));
    assert_eq!((partition.phase(), partition.poll_fetch()), (Phase::Running, Some(40)));
    assert_eq!(told(&mut partition), [(30, 40, LOST_30_TO_39.to_string())]);

    partition.reopen(Duration::ZERO);
    open(&mut partition, source(40, 100), filled_to(30));
    assert_eq!(told(&mut partition), []);
    // More is gone by now: only that is new.
    partition.reopen(Duration::ZERO);
    open(&mut partition, source(45, 100), filled_to(30));
    let ranges: Vec<_> = told(&mut partition).into_iter().map(|(from, next, _)| (from, next)).collect();
    assert_eq!(ranges, [(40, 45)]);
    assert_eq!(partition.poll_fetch(), Some(45));
    assert!(partition.can_fill());
    assert_eq!(partition.poll_fill(Duration::ZERO), None);
    open(&mut partition, source(45, 100), filled_to(30));
    assert_eq!(partition.poll_fill(OPENED).map(|fill| fill.from), Some(30));
}

#[test]
fn what_was_fetched_before_retention_took_it_is_still_copied() {
    let mut partition = running_at(30);
    fetched(&mut partition, &[batch(30, 5), batch(35, 5)]);
    partition.handle_out_of_range(40, Duration::ZERO);
    open(&mut partition, source(60, 100), filled_to(30));
    append_all(&mut partition);
    assert_eq!(partition.position(), Some(40));
    assert_parked(
        &partition,
        ErrorKind::DataLoss,
        Some(40),
        "source offsets 40 to 59 were removed before they were replicated (the source begins at 60 now); \
         on.data.loss=continue goes on from there",
    );
}

#[test]
fn with_what_was_fetched_copied_the_rest_becomes_a_hole_if_that_is_the_policy() {
    let mut partition = running_with(go_on(), 30);
    fetched(&mut partition, &[batch(30, 10)]);
    partition.handle_out_of_range(40, Duration::ZERO);
    open(&mut partition, source(60, 100), filled_to(30));
    let ranges: Vec<_> = told(&mut partition).into_iter().map(|(from, next, _)| (from, next)).collect();
    assert_eq!((ranges, partition.poll_fetch()), (vec![(40, 60)], Some(60)));
    append_all(&mut partition);
    assert_eq!((partition.position(), partition.can_fill()), (Some(40), true));
}

#[test]
fn a_log_that_is_empty_but_begun_has_lost_what_one_that_never_began_has_not() {
    let mut partition = new();
    open(&mut partition, source(700, 1000), empty_at(500, true));
    assert_parked(
        &partition,
        ErrorKind::DataLoss,
        Some(500),
        "source offsets 500 to 699 were removed before they were replicated (the source begins at 700 now); \
         on.data.loss=continue goes on from there",
    );

    let mut partition = new();
    open(&mut partition, source(700, 1000), empty_at(500, false));
    assert_eq!(
        (partition.phase(), partition.position(), partition.poll_fetch()),
        (Phase::Running, Some(500), Some(700))
    );
    let ranges: Vec<_> = told(&mut partition).into_iter().map(|(from, next, _)| (from, next)).collect();
    assert_eq!(ranges, [(500, 700)], "somebody may wonder");

    let mut partition = new();
    open(&mut partition, source(700, 1000), empty_at(0, false));
    assert_eq!((partition.phase(), partition.position(), partition.poll_fetch()), (Phase::Running, Some(0), Some(700)));
    assert_eq!(told(&mut partition), [], "a mirror of a source that begins there has left out nothing");
}

#[test]
fn a_hole_for_what_the_source_has_removed_is_judged_anew_at_each_opening() {
    let mut partition = new();
    open(&mut partition, source(700, 1000), empty_at(500, false));
    assert!(partition.can_fill());
    // Another process has copied records meanwhile, up to there.
    partition.reopen(Duration::ZERO);
    open(&mut partition, source(700, 1000), empty_at(500, true));
    assert_eq!((partition.phase(), partition.error().unwrap().kind()), (Phase::Parked, ErrorKind::DataLoss));
}

#[test]
fn what_is_fetched_and_not_yet_written_has_begun() {
    let mut partition = new();
    open(&mut partition, source(0, 100), empty_at(0, false));
    fetched(&mut partition, &[batch(0, 5)]);
    partition.handle_out_of_range(5, Duration::ZERO);
    open(&mut partition, source(20, 100), empty_at(0, false));
    assert_eq!((partition.phase(), partition.has_ended()), (Phase::Running, true));
    append_all(&mut partition);
    assert_eq!((partition.phase(), partition.error().unwrap().offset()), (Phase::Parked, Some(5)));
}

const CUT_BACK_TO_20: &str = "the source ends at offset 20 but offset 30 was replicated already: its log was cut back, or the topic was \
                              deleted and created again; compare both before deleting the target topic to start anew";

#[test]
fn a_source_that_was_cut_back() {
    let mut partition = new();
    let first = read_once(&mut partition, source(0, 20), filled_to(30), Duration::ZERO);
    assert_eq!(first, Phase::Closed { due: REPLICATION_PAUSE }, "the source may have grown after it was read");
    open(&mut partition, source(0, 20), filled_to(30));
    assert_parked(&partition, ErrorKind::DataLoss, Some(30), CUT_BACK_TO_20);
}

#[test]
fn a_source_that_was_cut_back_is_not_gone_on_with_after_a_loss_either() {
    let mut partition = Partition::new(OURS, go_on());
    open(&mut partition, source(0, 20), filled_to(30));
    assert_parked(&partition, ErrorKind::DataLoss, Some(30), CUT_BACK_TO_20);
}

#[test]
fn what_a_source_has_lost_is_not_written_from_memory() {
    let mut partition = running_at(30);
    fetched(&mut partition, &[batch(30, 5), batch(35, 5)]);
    partition.handle_out_of_range(40, Duration::ZERO);
    open(&mut partition, source(0, 35), filled_to(30));
    assert_eq!((partition.phase(), partition.poll_fetch()), (Phase::Running, Some(30)));
    assert!(!partition.can_produce());
}

#[test]
fn a_source_that_grew_between_the_reads_was_not_cut_back() {
    let mut partition = new();
    let again = |due| Phase::Closed { due };
    let pause = REPLICATION_PAUSE;
    assert_eq!(read_once(&mut partition, source(0, 20), filled_to(30), Duration::ZERO), again(pause));
    assert_eq!(read_once(&mut partition, source(0, 35), filled_to(40), pause), again(pause * 2));
    assert_eq!(read_once(&mut partition, source(0, 50), filled_to(45), pause * 2), Phase::Running);
    assert_eq!(partition.position(), Some(45));
}

#[test]
fn a_source_whose_epochs_went_another_way() {
    let mut partition = running_at(20);
    fetched(&mut partition, &[batch(20, 10)]);
    append_all(&mut partition);
    assert_eq!((partition.position_epoch(), partition.fetch_epoch()), (4, 4));

    partition.reopen(Duration::ZERO);
    open(&mut partition, SourceLog { epoch_end_offset: Some(30), ..source(0, 1000) }, filled_to(30));
    assert_eq!(partition.phase(), Phase::Running, "the epoch ends where the position is");

    partition.reopen(Duration::ZERO);
    open(&mut partition, SourceLog { epoch_end_offset: Some(25), ..source(0, 1000) }, filled_to(30));
    assert_parked(
        &partition,
        ErrorKind::DataLoss,
        Some(30),
        "by its leader epochs the source's log went on differently from offset 25, but offsets before 30 were replicated \
         already: it was cut back by an unclean leader election, or restored; compare both before deleting the target topic \
         to start anew",
    );
}

#[test]
fn a_source_that_has_never_heard_of_the_epoch_that_was_replicated() {
    let mut partition = running_at(20);
    fetched(&mut partition, &[batch(20, 10)]);
    append_all(&mut partition);
    let unknown = SourceLog { epoch_end_offset: Some(-1), ..source(0, 30) };
    let read_in_vain = |partition: &mut Partition<()>, times| {
        for _ in 0..times {
            let due = due(partition);
            read_once(partition, unknown, filled_to(30), due);
            assert_eq!(partition.error().map(Error::kind), Some(ErrorKind::DataLoss));
        }
    };
    // A leader that does not know yet that it was replaced says the same.
    partition.reopen(Duration::ZERO);
    read_in_vain(&mut partition, 7);
    let due = due(&partition);
    read_once(&mut partition, SourceLog { epoch_end_offset: Some(30), ..unknown }, filled_to(30), due);
    assert_eq!((partition.phase(), partition.poll_fetch()), (Phase::Running, Some(30)));

    partition.reopen(Duration::ZERO);
    read_in_vain(&mut partition, 9);
    assert_parked(
        &partition,
        ErrorKind::DataLoss,
        Some(30),
        "the source's leader does not know leader epoch 4, in which the record before offset 30 was replicated: the \
         source was restored from an older copy, or its topic was deleted and created again; compare both before deleting \
         the target topic to start anew",
    );
}

#[test]
fn what_was_fetched_from_a_log_that_went_another_way_is_forgotten() {
    let mut partition = running_at(10);
    fetched(&mut partition, &[batch(10, 10), batch(20, 10)]);
    let tickets = send_all(&mut partition);
    partition.handle_diverged(30, Duration::from_secs(1));
    assert_eq!((due(&partition), partition.queued_bytes()), (Duration::from_secs(1), 0));
    partition.handle_produced(tickets[0], appended(tickets[0]), Duration::ZERO);
    assert_eq!(partition.position(), Some(10));
    // What was under way may still be written, so the log has to stand still first.
    let log = SourceLog { last_epoch: 3, ..source(0, 1000) };
    assert_ne!(read_once(&mut partition, log, filled_to(20), OPENED), Phase::Running);
    assert_eq!(due(&partition), OPENED + SETTLE);
    assert_eq!(read_once(&mut partition, log, filled_to(20), OPENED + SETTLE), Phase::Running);
    assert_eq!((partition.poll_fetch(), partition.fetch_epoch()), (Some(20), 3));
    assert!(!partition.can_produce());
}

#[test]
fn the_same_epoch_is_kept_where_the_position_is_the_same() {
    let mut partition = running_at(20);
    fetched(&mut partition, &[batch(20, 10)]);
    append_all(&mut partition);
    partition.reopen(Duration::ZERO);
    open(&mut partition, SourceLog { last_epoch: 9, ..source(0, 1000) }, filled_to(30));
    assert_eq!(partition.position_epoch(), 4, "the source's present one may be of a log that went another way");
    partition.reopen(Duration::ZERO);
    open(&mut partition, SourceLog { last_epoch: 9, ..source(0, 1000) }, filled_to(40));
    assert_eq!(partition.position_epoch(), 9);
}

#[test]
fn a_log_that_does_not_come_to_rest_is_told_of_and_not_looked_at_for_ever_without_a_word() {
    let moves = || TargetLog { high_watermark: -1, ..filled_to(10) };
    let mut partition = new();
    let (mut now, mut pauses) = (Duration::ZERO, Vec::new());
    while now < Duration::from_secs(60) {
        read_once(&mut partition, source(0, 100), moves(), now);
        pauses.push(due(&partition) - now);
        now = due(&partition);
    }
    assert!(pauses[..20].iter().all(|pause| *pause == REPLICATION_PAUSE), "it is over in a moment, mostly");
    assert!(pauses.len() < 250, "{} readings in a minute", pauses.len());
    let error = partition.error().expect("it says why").message().to_owned();
    assert!(error.contains("does not come to rest") && partition.is_failing(), "{error}");
    assert_eq!(read_once(&mut partition, source(0, 100), filled_to(10), now), Phase::Running);
}

#[test]
fn records_that_differ_are_believed_only_when_read_twice() {
    let different = |target| Reading { likeness: Likeness::Different { offset: 9 }, ..reading(source(0, 100), target) };
    let mut partition = new();
    assert!(partition.poll_open(Duration::ZERO));
    partition.handle_opened(different(filled_to(10)), Duration::ZERO);
    assert_eq!(due(&partition), REPLICATION_PAUSE);
    assert_eq!(read_once(&mut partition, source(0, 100), filled_to(10), REPLICATION_PAUSE), Phase::Running);

    partition.reopen(Duration::ZERO);
    for _ in 0..2 {
        assert!(partition.poll_open(OPENED), "{:?}", partition.phase());
        partition.handle_opened(different(filled_to(10)), Duration::ZERO);
    }
    assert_parked(
        &partition,
        ErrorKind::Diverged,
        Some(9),
        "from offset 9 on the target's records are not the source's records at the same offsets: the source's log was cut back \
         and went on differently, its topic was deleted and created again, or somebody else has written to the target; compare \
         both with 'kmirror verify' before you delete the target topic to start anew",
    );
}

#[test]
fn what_never_fits_is_believed_in_the_end_though_no_two_readings_were_the_same() {
    let mut partition = new();
    for end in 10..14 {
        let strange = TargetLog { last_record: Some((0, 3)), ..filled_to(end) };
        let phase = read_once(&mut partition, source(0, 100), strange, OPENED);
        assert!(matches!(phase, Phase::Closed { .. }), "{phase:?}");
        partition.phase = Phase::Closed { due: OPENED };
    }
    let strange = TargetLog { last_record: Some((0, 3)), ..filled_to(14) };
    assert_eq!(read_once(&mut partition, source(0, 100), strange, OPENED), Phase::Parked);
}

#[test]
fn a_target_with_data_from_elsewhere() {
    let ours = |last| records_of(OURS.producer_id, last);
    let cases = [
        (records_of(99, 9), None, "it holds offsets 0 to 9 that this mirror did not write"),
        (records_of(99, 9), Some((0, 4)), "it holds offsets 0 to 9 that this mirror did not write"),
        (Tail::Unknown, None, "it holds offsets 0 to 9 that this mirror did not write"),
        (
            ours(9),
            Some((0, 6)),
            "its last batch ends with this mirror's record number 9, but its broker knows of number 6",
        ),
        (Tail::Marker { meant_for: Some(7) }, Some((0, 4)), "the marker for offset 7 is at offset 9"),
    ];
    for (tail, last_record, what) in cases {
        let mut partition = new();
        open(&mut partition, source(0, 100), target_with(tail, last_record));
        let advice = "mirror into a topic that nobody else writes to, or delete it on the target to start anew";
        let sentence = format!("the target partition has another writer: {what}; {advice}");
        assert_parked(&partition, ErrorKind::TargetConflict, None, &sentence);
    }
}

#[test]
fn a_target_whose_last_records_are_somebody_elses_though_a_marker_comes_behind_them() {
    // The marker of a transaction, and that of another mirror, or of this one before its identity was lost.
    for meant_for in [None, Some(9)] {
        let cases = [(Some(99), None), (Some(99), Some((0, 4))), (Some(-1), None)];
        for (last_writer, last_record) in cases {
            let mut partition = Partition::new(OURS, go_on());
            let target =
                TargetLog { last_writer, begun: false, ..target_with(Tail::Marker { meant_for }, last_record) };
            open(&mut partition, source(50, 100), target);
            assert_parked(
                &partition,
                ErrorKind::TargetConflict,
                None,
                "the target partition has another writer: it holds offsets 0 to 9, and this mirror did not write the last \
                 records of them; mirror into a topic that nobody else writes to, or delete it on the target to start anew",
            );
            assert_eq!(told(&mut partition), [], "nothing was left out: nothing was looked for");
        }
        // Markers alone stand where they should, and belong to nobody.
        let mut partition = new();
        let markers = TargetLog { last_writer: None, ..target_with(Tail::Marker { meant_for }, None) };
        open(&mut partition, source(0, 100), markers);
        assert_eq!((partition.phase(), partition.position()), (Phase::Running, Some(10)));
    }
}

#[test]
fn filler_tells_whether_anything_was_copied_behind_it() {
    assert!(is_end_of_filler(499, 500));
    assert!(!is_end_of_filler(499, 700), "records that retention has removed were behind it");
    assert!(is_end_of_filler(i32::MAX, 1 << 31) && is_end_of_filler(4, (1 << 31) + 5));
}

#[test]
fn a_target_that_was_left_in_the_middle_of_a_prefix() {
    let mut partition = new();
    let filler = records_of(marker::filler_of(OURS.producer_id), 9);
    open(&mut partition, source(0, 100), target_with(filler, None));
    assert_parked(
        &partition,
        ErrorKind::TargetConflict,
        None,
        "it holds offsets 0 to 9, the last of them filler that stands for what the source has removed; start the mirror \
         again, which removes it first",
    );
}

#[test]
fn a_late_batch_between_the_reads_is_no_other_writer() {
    let mut partition = new();
    let late = target_with(records_of(OURS.producer_id, 9), Some((0, 14)));
    let phase = read_once(&mut partition, source(0, 100), late, Duration::ZERO);
    assert_eq!(phase, Phase::Closed { due: REPLICATION_PAUSE });
    open(&mut partition, source(0, 100), filled_to(15));
    assert_eq!((partition.phase(), partition.position()), (Phase::Running, Some(15)));
}

#[test]
fn a_newer_owner_has_written() {
    let newer = Tail::Records { producer_id: OURS.producer_id, producer_epoch: 1, last_sequence: 3 };
    for target in [target_with(newer, None), target_with(Tail::Marker { meant_for: Some(9) }, Some((1, 3)))] {
        let mut partition = new();
        read_once(&mut partition, source(0, 100), target, Duration::ZERO);
        let sentence = "the target has writes of a newer owner of this mirror (epoch 1, ours is 0)";
        assert_parked(&partition, ErrorKind::Fenced, None, sentence);
    }
}

#[test]
fn an_older_epoch_of_our_own_is_not_gone_on_with() {
    let mut partition = Partition::new(Identity { producer_epoch: 2, ..OURS }, limits());
    open(&mut partition, source(0, 100), filled_to(10));
    assert_parked(
        &partition,
        ErrorKind::TargetConflict,
        None,
        "the target partition has another writer: it holds offsets 0 to 9, written with epoch 0 of this mirror's producer id, \
         and ours is 2; mirror into a topic that nobody else writes to, or delete it on the target to start anew",
    );
}

#[test]
fn nothing_is_gone_on_with_before_all_replicas_have_it() {
    // 12 is more than the log end that was read: it grew meanwhile.
    for high_watermark in [8, 12, -1] {
        let mut partition = new();
        let target = TargetLog { high_watermark, ..filled_to(10) };
        let phase = read_once(&mut partition, source(0, 100), target, Duration::ZERO);
        assert_eq!((phase, partition.position()), (Phase::Closed { due: REPLICATION_PAUSE }, None));
    }
}

#[test]
fn sequence_numbers_go_on_behind_markers_and_begin_with_the_offset_where_there_is_no_record() {
    let far = (1 << 31) + 5;
    let at = |end: i64, last_record| TargetLog {
        log_end_offset: end,
        high_watermark: end,
        ..target_with(Tail::Marker { meant_for: Some(end - 1) }, last_record)
    };
    let cases = [
        (at(10, Some((0, 3))), 4),
        (at(10, Some((0, i32::MAX))), 0),
        (at(10, None), 10),
        (at(far, None), 5),
        (filled_to(10), 10),
        (TargetLog { tail: Tail::Unknown, ..at(10, Some((0, 3))) }, 4),
        (empty_at(500, false), 500),
    ];
    for (target, expected) in cases {
        let mut partition = new();
        open(&mut partition, source(0, far + 1000), target);
        fetched(&mut partition, &[batch(target.log_end_offset, 10)]);
        let stamp = partition.poll_produce().unwrap().stamp;
        assert_eq!(stamp, Stamp { producer_id: 7, producer_epoch: 0, base_sequence: expected }, "{target:?}");
    }
}
