//! Holes: when they are filled, what waits for them, and what becomes of an order whose answer is not the one hoped for.
//!
//! Markers are not conditional on what is in the log, so every test here is about one being written at a wrong offset.

use super::*;

/// Takes a partition whose turn is a hole at an offset to where it may be filled.
pub(super) fn settle_at(partition: &mut Partition<()>, log_end_offset: i64) {
    assert_eq!(partition.poll_fill(Duration::ZERO), None);
    assert_eq!(due(partition), SETTLE);
    open(partition, source(0, 1000), target_at(log_end_offset));
    assert_eq!((partition.phase(), partition.position()), (Phase::Running, Some(log_end_offset)));
}

/// Opens a partition that has given up an order: whatever comes next waits until the log has stood still.
fn open_given_up(partition: &mut Partition<()>, target: TargetLog) {
    let opened = Duration::from_secs(1000);
    assert_ne!(read_once(partition, source(0, 1000), target, opened), Phase::Running);
    assert_eq!(due(partition), opened + SETTLE);
    assert_eq!(read_once(partition, source(0, 1000), target, opened + SETTLE), Phase::Running);
}

/// A target whose end nobody has to look at.
fn target_at(log_end_offset: i64) -> TargetLog {
    let tail = Tail::Marker { meant_for: None };
    TargetLog { log_end_offset, high_watermark: log_end_offset, tail, ..filled_to(5) }
}

/// A partition at offset 10 that may fill a hole up to another offset.
fn filling_up_to(next: i64) -> Partition<()> {
    let mut partition = running_at(10);
    fetched_nothing(&mut partition, next);
    settle_at(&mut partition, 10);
    partition
}

#[test]
fn a_hole_waits_for_what_is_before_it_and_nothing_behind_it_is_sent_before_it_is_filled() {
    let mut partition = running_at(0);
    fetched(&mut partition, &[batch(0, 5), batch(5, 5), batch(12, 5), batch(17, 5)]);
    assert_eq!(partition.poll_fetch(), Some(22));
    let first = send_all(&mut partition);
    partition.handle_produced(first[0], appended(first[0]), Duration::ZERO);
    let second = send_all(&mut partition);
    assert_eq!(second.iter().map(|ticket| ticket.base_offset).collect::<Vec<_>>(), [5], "up to the hole");
    assert!(!partition.can_fill(), "one before it is under way");
    assert_eq!(partition.poll_fill(Duration::ZERO), None);
    assert_eq!(partition.phase(), Phase::Running, "nor is the log looked at before its turn");
    partition.handle_produced(second[0], appended(second[0]), Duration::ZERO);

    assert!(partition.can_fill() && !partition.can_produce());
    settle_at(&mut partition, 10);
    assert!(!partition.can_produce(), "the hole is still before them");
    let fill = partition.poll_fill(OPENED).unwrap();
    assert_eq!((fill.from, fill.count, fill.fence), (10, 2, OURS.fence));
    assert!(!partition.can_produce() && !partition.can_fill() && !partition.is_idle());
    assert_eq!(partition.poll_fill(OPENED), None, "one order at a time");
    assert_eq!(partition.position(), Some(10), "nothing counts before the answer");
    partition.handle_filled(fill.ticket, Filled::LogEnd(12), OPENED);
    assert_eq!((partition.position(), partition.is_idle()), (Some(12), true));
    let third = send_all(&mut partition);
    assert_eq!(third.iter().map(|ticket| ticket.base_offset).collect::<Vec<_>>(), [12], "alone, behind a marker");
}

#[test]
fn a_large_hole_is_filled_in_orders_of_limited_size() {
    let mut partition = running_at(10);
    // Two stretches of nothing are one hole.
    fetched_nothing(&mut partition, 12);
    fetched_nothing(&mut partition, 17);
    settle_at(&mut partition, 10);
    let mut orders = Vec::new();
    while let Some(fill) = partition.poll_fill(OPENED + SETTLE * 10 * orders.len() as u32) {
        orders.push((fill.from, fill.count));
        partition.handle_filled(fill.ticket, Filled::LogEnd(fill.from + i64::from(fill.count)), OPENED);
    }
    assert_eq!(orders, [(10, 3), (13, 3), (16, 1)], "once settled, it is not waited again");
    assert_eq!((partition.position(), partition.position_epoch()), (Some(17), 6));
    fetched_nothing(&mut partition, 18);
    assert!(partition.poll_fill(OPENED + SETTLE * 100).is_some(), "nor for a later hole");
}

#[test]
fn the_epoch_behind_a_hole_in_front_of_records_is_not_known() {
    let mut partition = running_at(10);
    fetched(&mut partition, &[batch(12, 5)]);
    settle_at(&mut partition, 10);
    let fill = partition.poll_fill(OPENED).unwrap();
    partition.handle_filled(fill.ticket, Filled::LogEnd(12), OPENED);
    assert_eq!(partition.position_epoch(), -1);
    append_all(&mut partition);
    assert_eq!(partition.position_epoch(), 4);
}

#[test]
fn the_first_hole_after_an_opening_is_filled_only_after_the_log_stood_still() {
    let mut partition = running_at(10);
    fetched_nothing(&mut partition, 12);
    let now = OPENED + Duration::from_secs(5);
    assert_eq!(partition.poll_fill(now), None);
    assert_eq!(due(&partition), now + SETTLE);
    assert!(!partition.poll_open(now + SETTLE - Duration::from_millis(1)));
    assert_eq!(read_once(&mut partition, source(0, 1000), filled_to(10), now + SETTLE), Phase::Running);
    assert_eq!(partition.queued_bytes(), 0);
    let fill = partition.poll_fill(now + SETTLE).unwrap();
    assert_eq!((fill.from, fill.count), (10, 2));
}

#[test]
fn a_log_that_moved_meanwhile_has_to_stand_still_again() {
    let mut partition = running_at(10);
    fetched_nothing(&mut partition, 15);
    assert_eq!(partition.poll_fill(Duration::ZERO), None);
    // A late request of a dead process has landed.
    open(&mut partition, source(0, 1000), target_at(12));
    assert_eq!((partition.phase(), partition.position()), (Phase::Running, Some(12)));
    settle_at(&mut partition, 12);
    let fill = partition.poll_fill(OPENED).unwrap();
    assert_eq!((fill.from, fill.count), (12, 3), "what landed is not written again");
}

#[test]
fn a_log_that_moved_past_the_hole_meanwhile() {
    let mut partition = running_at(10);
    fetched(&mut partition, &[batch(12, 5), batch(17, 5)]);
    assert_eq!(partition.poll_fill(Duration::ZERO), None);
    open(&mut partition, source(0, 1000), filled_to(17));
    let ticket = send_all(&mut partition)[0];
    assert_eq!(ticket.base_offset, 17);
}

#[test]
fn that_it_stood_still_is_good_for_a_while_only() {
    let mut partition = filling_up_to(12);
    assert_eq!(partition.poll_fill(OPENED + SETTLE), None);
    assert_eq!(due(&partition), OPENED + SETTLE * 2);

    let mut partition = filling_up_to(12);
    assert!(partition.poll_fill(OPENED + SETTLE - Duration::from_millis(1)).is_some());
}

#[test]
fn another_opening_has_to_be_settled_anew() {
    let mut partition = filling_up_to(12);
    let fill = partition.poll_fill(OPENED).unwrap();
    partition.handle_filled(fill.ticket, Filled::LogEnd(12), OPENED);
    partition.reopen(OPENED);
    open(&mut partition, source(0, 1000), target_at(12));
    fetched_nothing(&mut partition, 13);
    settle_at_later(&mut partition);
    assert_eq!(partition.poll_fill(OPENED).unwrap().from, 12);
}

fn settle_at_later(partition: &mut Partition<()>) {
    assert_eq!(partition.poll_fill(OPENED), None);
    assert_eq!(due(partition), OPENED + SETTLE);
    assert_eq!(read_once(partition, source(0, 1000), target_at(12), OPENED + SETTLE), Phase::Running);
}

#[test]
fn an_order_that_did_less_or_more_is_read_off_both_logs() {
    for log_end_offset in [11, 14] {
        let mut partition = filling_up_to(13);
        let fill = partition.poll_fill(OPENED).unwrap();
        partition.handle_filled(fill.ticket, Filled::LogEnd(log_end_offset), OPENED);
        assert_eq!((due(&partition), partition.position()), (OPENED, Some(10)), "nothing of it counts");
        open_given_up(&mut partition, target_at(log_end_offset));
        assert_eq!(partition.position(), Some(log_end_offset));
    }
    let mut partition = filling_up_to(13);
    let fill = partition.poll_fill(OPENED).unwrap();
    partition.handle_filled(fill.ticket, Filled::LogEnd(11), OPENED);
    open_given_up(&mut partition, target_at(11));
    let rest = partition.poll_fill(OPENED).unwrap();
    assert_eq!((rest.from, rest.count), (11, 2));
}

#[test]
fn each_lost_answer_raises_the_fence_by_one_and_never_beyond_those_of_this_start() {
    let mut partition = running_at(10);
    fetched_nothing(&mut partition, 12);
    settle_at(&mut partition, 10);
    for attempt in 0..=255 {
        let fill = partition.poll_fill(OPENED).unwrap();
        assert_eq!(fill.fence, OURS.fence + attempt);
        partition.handle_filled(fill.ticket, Filled::Lost, Duration::ZERO);
        assert_eq!(due(&partition), (BACKOFF * (1 << attempt.min(10))).min(Duration::from_secs(1)));
        if attempt < 255 {
            open_given_up(&mut partition, filled_to(10));
            fetched_nothing(&mut partition, 12);
        }
    }
    // A late order with the last fence could not be told from a new one.
    read_once(&mut partition, source(0, 1000), filled_to(10), Duration::from_secs(1000));
    assert_parked(
        &partition,
        ErrorKind::Fenced,
        None,
        "255 orders to fill holes were given up without an answer, one after the other, and a late one could not be told from a \
         new one any more: start the mirror again, which takes a new number",
    );
}

#[test]
fn lost_answers_are_counted_anew_in_each_block_of_offsets() {
    let far = source(0, 100_000);
    let at = |end: i64| TargetLog { log_end_offset: end, high_watermark: end, ..target_at(end) };
    let mut partition = Partition::new(OURS, Limits { holes: Holes::Filled { at_once: 1000 }, ..limits() });
    open(&mut partition, far, at(32_700));
    fetched_nothing(&mut partition, 32_710);
    let mut now = OPENED;
    let mut filled = |partition: &mut Partition<()>, answer: Option<i64>| {
        // It is seen that the log stands still, as often as that is wanted.
        for _ in 0..3 {
            now += Duration::from_secs(10);
            if partition.poll_open(now) {
                let end = partition.position().unwrap();
                partition.handle_opened(reading(far, at(end)), now);
                if partition.poll_fetch() == Some(32_700) {
                    fetched_nothing(partition, 32_710);
                }
            }
        }
        let fill = partition.poll_fill(now).or_else(|| {
            assert!(partition.poll_open(now + SETTLE));
            partition.handle_opened(reading(far, at(partition.position().unwrap())), now + SETTLE);
            partition.poll_fill(now + SETTLE)
        });
        let fill = fill.unwrap();
        let next = fill.from + i64::from(fill.count);
        partition.handle_filled(fill.ticket, answer.map_or(Filled::LogEnd(next), |_| Filled::Lost), now);
        (fill.from, next, fill.fence - OURS.fence)
    };
    assert_eq!(filled(&mut partition, Some(0)), (32_700, 32_710, 0));
    assert_eq!(filled(&mut partition, None), (32_700, 32_710, 1));
    fetched(&mut partition, &[batch(32_710, 10)]);
    append_all(&mut partition);
    fetched_nothing(&mut partition, 40_000);
    assert_eq!(filled(&mut partition, None), (32_720, 32_768, 1), "up to the end of the block");
    assert_eq!(filled(&mut partition, None), (32_768, 33_768, 0), "nothing with a raised fence has reached that one");
}

#[test]
fn an_order_that_is_not_waited_for_raises_the_fence() {
    let give_up: [fn(&mut Partition<()>); 2] = [
        |partition| partition.reopen(Duration::ZERO),
        |partition| {
            partition.park(Error::new(ErrorKind::Topic, "for a while"));
            partition.resume(Duration::ZERO);
        },
    ];
    for give_up in give_up {
        let mut partition = filling_up_to(12);
        let fill = partition.poll_fill(OPENED).unwrap();
        give_up(&mut partition);
        open_given_up(&mut partition, filled_to(10));
        partition.handle_filled(fill.ticket, Filled::LogEnd(12), OPENED);
        assert_eq!(partition.position(), Some(10), "the answer comes too late");
        if partition.poll_fetch() == Some(10) {
            fetched_nothing(&mut partition, 12);
        }
        assert_eq!(partition.poll_fill(OPENED).unwrap().fence, OURS.fence + 1);
    }
}

#[test]
fn an_answered_order_does_not_raise_the_fence() {
    let mut partition = filling_up_to(12);
    let fill = partition.poll_fill(OPENED).unwrap();
    partition.handle_filled(fill.ticket, Filled::LogEnd(12), OPENED);
    partition.reopen(OPENED);
    open(&mut partition, source(0, 1000), target_at(12));
    fetched_nothing(&mut partition, 13);
    settle_at(&mut partition, 12);
    assert_eq!(partition.poll_fill(OPENED).unwrap().fence, OURS.fence);
}

#[test]
fn a_newer_owner_fills_the_hole() {
    let mut partition = filling_up_to(12);
    let fill = partition.poll_fill(OPENED).unwrap();
    partition.handle_filled(fill.ticket, Filled::Refused(broker(52)), OPENED);
    // That may have been a late order of a dead process. Once more at the same place, it was not.
    assert!(partition.error().is_none() && partition.phase() != Phase::Parked);
    open_given_up(&mut partition, target_at(10));
    fetched_nothing(&mut partition, 12);
    let fill = partition.poll_fill(OPENED).unwrap();
    partition.handle_filled(fill.ticket, Filled::Refused(broker(52)), OPENED);
    assert_parked(
        &partition,
        ErrorKind::Fenced,
        Some(10),
        "another process of this mirror fills the hole at offset 10: TRANSACTION_COORDINATOR_FENCED (52): a later start of \
         this mirror has written markers; nothing was appended",
    );
    assert_eq!(partition.error().unwrap().kafka_code(), Some(52));
}

#[test]
fn a_late_order_of_a_dead_process_fills_the_hole() {
    let mut partition = filling_up_to(12);
    let fill = partition.poll_fill(OPENED).unwrap();
    partition.handle_filled(fill.ticket, Filled::Refused(broker(47)), OPENED);
    open(&mut partition, source(0, 1000), target_at(12));
    assert!(partition.error().is_none() && partition.position() == Some(12));
}

#[test]
fn markers_that_the_target_does_not_take_now() {
    let cases = [
        (
            31,
            ErrorKind::Authorization,
            "the target did not take markers for the hole at offset 10: CLUSTER_AUTHORIZATION_FAILED (31): an ACL on the \
             cluster is missing; asked again slowly so that a grant takes effect",
        ),
        (
            6,
            ErrorKind::Broker,
            "the target did not take markers for the hole at offset 10: NOT_LEADER_OR_FOLLOWER (6): the leader moved; nothing \
             was appended",
        ),
    ];
    for (code, kind, sentence) in cases {
        let mut partition = filling_up_to(12);
        let fill = partition.poll_fill(OPENED).unwrap();
        partition.handle_filled(fill.ticket, Filled::Refused(broker(code)), OPENED);
        assert_eq!(due(&partition), OPENED + BACKOFF);
        let error = partition.error().unwrap();
        assert_eq!((error.kind(), error.offset(), error.kafka_code()), (kind, Some(10), Some(code)));
        assert_eq!(error.message(), sentence);
    }
    let mut partition = filling_up_to(12);
    let fill = partition.poll_fill(OPENED).unwrap();
    let error = Error::new(ErrorKind::Unsupported, "the target does not know markers");
    partition.handle_filled(fill.ticket, Filled::Failed(error), OPENED);
    assert_eq!((due(&partition), partition.error().unwrap().offset()), (OPENED + BACKOFF, Some(10)));
}

#[test]
fn after_a_hole_the_sequence_numbers_go_on_where_the_records_ended() {
    let mut partition = running_at(0);
    fetched(&mut partition, &[batch(0, 5), batch(7, 5)]);
    let sequence = |partition: &mut Partition<()>| {
        let produce = partition.poll_produce().unwrap();
        (produce.ticket, produce.stamp.base_sequence)
    };
    let (ticket, first) = sequence(&mut partition);
    partition.handle_produced(ticket, appended(ticket), Duration::ZERO);
    assert_eq!(partition.poll_fill(Duration::ZERO), None);
    open(&mut partition, source(0, 1000), filled_to(5));
    let fill = partition.poll_fill(OPENED).unwrap();
    partition.handle_filled(fill.ticket, Filled::LogEnd(7), OPENED);
    assert_eq!((first, sequence(&mut partition).1), (0, 5));
}

#[test]
fn a_hole_that_would_take_hours_stops_the_partition_before_its_first_marker_and_one_of_minutes_does_not() {
    let longest = holes::LONGEST_HOLE;
    let mut partition = running_at(0);
    fetched(&mut partition, &[batch(0, 5)]);
    let gigantic = 5 + longest + 1;
    // In two parts: together they are too long.
    fetched_nothing(&mut partition, gigantic - 10);
    fetched(&mut partition, &[batch(gigantic, 5)]);
    assert_eq!(partition.poll_fetch(), None, "nothing more comes");
    let first = send_all(&mut partition);
    partition.handle_produced(first[0], appended(first[0]), Duration::ZERO);
    // What is before it is copied, and what of it was found first would be filled.
    assert_eq!(partition.position(), Some(5));
    assert_eq!(partition.hole(), Some((5, gigantic - 10)));

    let mut partition = running_at(0);
    fetched(&mut partition, &[batch(gigantic, 5)]);
    assert_eq!(partition.phase(), Phase::Parked);
    let error = partition.error().unwrap();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::OffsetGap, Some(0)));
    assert!(error.message().contains("offsets=translate") && error.message().contains("about 60 minutes"), "{error}");
    assert_eq!(partition.poll_fill(OPENED + SETTLE), None);

    let mut partition = running_at(0);
    fetched(&mut partition, &[batch(longest, 5)]);
    assert_eq!((partition.phase(), partition.hole()), (Phase::Running, Some((0, longest))));
}
