//! Batches that the target does not take: found to the very record, cut smaller where that helps, parked or left out.
//!
//! Nothing before a refused record is given up, and nothing but it is left out.

use super::*;

#[test]
fn a_refused_batch_waits_for_those_before_it_and_comes_again_record_by_record() {
    let (mut partition, tickets) = three_in_flight(limits());
    fetched(&mut partition, &[batch(40, 10)]);
    assert!(partition.can_produce());
    partition.handle_produced(tickets[1], refused(87), Duration::ZERO);
    assert_eq!(partition.phase(), Phase::Running, "the one before it may still land");
    assert!(!partition.can_produce());
    partition.handle_produced(tickets[0], appended(tickets[0]), Duration::ZERO);
    assert_eq!((due(&partition), partition.position(), partition.queued_bytes()), (Duration::ZERO, Some(20), 0));

    open(&mut partition, source(0, 1000), filled_to(20));
    assert_eq!((partition.poll_fetch(), partition.batch_bytes()), (Some(20), 1));
    fetched(&mut partition, &[batch(20, 1), batch(21, 1), batch(22, 1), batch(23, 1)]);
    assert_eq!((partition.poll_fetch(), partition.batch_bytes()), (Some(24), 1));
    let first = send_all(&mut partition);
    partition.handle_produced(first[0], appended(first[0]), Duration::ZERO);
    let rest = send_all(&mut partition);
    partition.handle_produced(rest[0], appended(rest[0]), Duration::ZERO);
    partition.handle_produced(rest[1], refused(87), Duration::ZERO);
    assert_parked(
        &partition,
        ErrorKind::RecordRefused,
        Some(22),
        "the target refuses the record at offset 22: INVALID_RECORD (87): the target's topic does not take such a record, for \
         example one without key where it compacts (said the broker)",
    );
    assert_eq!((partition.error().unwrap().kafka_code(), partition.position()), (Some(87), Some(22)));
    assert_eq!(told(&mut partition), []);
}

#[test]
fn a_request_that_the_target_cannot_work_with_is_no_reason_to_leave_a_record_out() {
    for code in [35, 42] {
        let mut partition = running_with(Limits { skip_refused: true, ..limits() }, 10);
        fetched(&mut partition, &[batch(10, 1), batch(11, 5)]);
        for _ in 0..3 {
            let ticket = send_all(&mut partition)[0];
            partition.handle_produced(ticket, refused(code), Duration::ZERO);
            assert!(matches!(partition.phase(), Phase::Closed { .. }) && partition.is_failing());
            let error = partition.error().unwrap();
            assert_eq!((error.kind(), error.kafka_code(), error.offset()), (ErrorKind::Broker, Some(code), Some(10)));
            open(&mut partition, source(0, 1000), filled_to(10));
            fetched(&mut partition, &[batch(10, 1), batch(11, 5)]);
        }
        assert_eq!((told(&mut partition), partition.position()), (vec![], Some(10)));
    }
}

#[test]
fn behind_the_refused_batch_records_come_together_again() {
    let mut partition = running_at(10);
    fetched(&mut partition, &[batch(10, 2)]);
    let ticket = send_all(&mut partition)[0];
    partition.handle_produced(ticket, refused(87), Duration::ZERO);
    open(&mut partition, source(0, 1000), filled_to(10));
    fetched(&mut partition, &[batch(10, 1)]);
    assert_eq!(partition.batch_bytes(), 1);
    fetched(&mut partition, &[batch(11, 1)]);
    assert_eq!(partition.batch_bytes(), limits().batch_bytes);
}

#[test]
fn a_refused_record_becomes_a_hole_if_that_is_the_policy_and_is_told_once() {
    let mut partition = running_with(Limits { skip_refused: true, ..limits() }, 10);
    fetched(&mut partition, &[batch(10, 1), batch(11, 5)]);
    for times in 0..2 {
        let ticket = send_all(&mut partition)[0];
        partition.handle_produced(ticket, refused(32), Duration::ZERO);
        let sentence = "the target refuses the record at offset 10: INVALID_TIMESTAMP (32): the record's time is outside \
                        message.timestamp.before.max.ms and .after.max.ms of the target's topic (said the broker)";
        let expected = if times == 0 { vec![(10, 11, sentence.to_string())] } else { vec![] };
        assert_eq!((told(&mut partition), partition.position()), (expected, Some(10)));
        open(&mut partition, source(0, 1000), filled_to(10));
        assert!(partition.can_fill() && !partition.can_produce());
        if times == 0 {
            // Whatever makes it fetch the record again.
            let error = Error::new(ErrorKind::Connect, "for a while");
            partition.handle_unreachable(error, Duration::ZERO);
            open(&mut partition, source(0, 1000), filled_to(10));
            fetched(&mut partition, &[batch(10, 1), batch(11, 5)]);
        }
    }
    filling::settle_at(&mut partition, 10);
    let fill = partition.poll_fill(OPENED).unwrap();
    assert_eq!((fill.from, fill.count), (10, 1));
    partition.handle_filled(fill.ticket, Filled::LogEnd(11), OPENED);
    append_all(&mut partition);
    assert_eq!((partition.position(), partition.replicated().records), (Some(16), 5));
}

#[test]
fn a_batch_that_is_too_large_is_cut_in_half_until_one_record_is_left() {
    let mut partition = running_with(Limits { skip_refused: true, ..limits() }, 10);
    let mut sizes = vec![partition.batch_bytes()];
    for records in [8, 4, 2] {
        fetched(&mut partition, &[batch(10, records)]);
        let ticket = send_all(&mut partition)[0];
        partition.handle_produced(ticket, refused(10), Duration::ZERO);
        assert_eq!((due(&partition), partition.queued_bytes()), (Duration::ZERO, 0));
        open(&mut partition, source(0, 1000), filled_to(10));
        assert_eq!(partition.poll_fetch(), Some(10));
        sizes.push(partition.batch_bytes());
    }
    assert_eq!(sizes, [1000, 50, 25, 12], "half of what was refused, then half of the limit");
    assert_eq!(told(&mut partition), [], "nothing is left out because a batch is too large");
}

#[test]
fn a_record_that_is_too_large_is_named_with_its_size() {
    let mut partition = running_at(10);
    fetched(&mut partition, &[batch(10, 1)]);
    let ticket = send_all(&mut partition)[0];
    partition.handle_produced(ticket, refused(10), Duration::ZERO);
    assert_parked(
        &partition,
        ErrorKind::RecordRefused,
        Some(10),
        "the target refuses the record at offset 10 of 100 bytes: MESSAGE_TOO_LARGE (10): the batch is larger than the \
         topic's max.message.bytes on the target (said the broker)",
    );
}

#[test]
fn a_newer_owner_has_the_epoch() {
    let (mut partition, tickets) = three_in_flight(limits());
    partition.handle_produced(tickets[1], refused(47), Duration::ZERO);
    assert_parked(
        &partition,
        ErrorKind::Fenced,
        Some(20),
        "the target gave to a newer owner the batch at offset 20: INVALID_PRODUCER_EPOCH (47): a newer owner raised the epoch; \
         nothing was appended (said the broker)",
    );
    assert_eq!(partition.error().unwrap().kafka_code(), Some(47));
}

#[test]
fn a_missing_permission_is_waited_for() {
    let (mut partition, tickets) = three_in_flight(limits());
    partition.handle_produced(tickets[1], refused(29), Duration::ZERO);
    assert_eq!(due(&partition), BACKOFF);
    let error = partition.error().unwrap();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Authorization, Some(20)));
    assert_eq!(
        error.message(),
        "the target does not allow the batch at offset 20: TOPIC_AUTHORIZATION_FAILED (29): an ACL on the topic is missing; \
         asked again slowly so that a grant takes effect (said the broker)"
    );
}

#[test]
fn damaged_three_times_is_damaged_at_the_source() {
    let mut partition = running_at(10);
    for times in 1..=3 {
        fetched(&mut partition, &[batch(10, 10)]);
        let tickets = send_all(&mut partition);
        partition.handle_produced(tickets[0], refused(2), Duration::ZERO);
        if times < 3 {
            assert_eq!(partition.queued_bytes(), 0, "it is fetched again");
            assert_eq!(partition.error().unwrap().kind(), ErrorKind::Broker);
            open(&mut partition, source(0, 1000), filled_to(10));
        }
    }
    assert_parked(
        &partition,
        ErrorKind::RecordRefused,
        Some(10),
        "the target refuses as damaged, again and again, the batch at offset 10: CORRUPT_MESSAGE (2): the checksum is carried \
         from the original producer: a mismatch is damage on the way, and the source has the original (said the broker)",
    );
}

#[test]
fn a_target_that_gives_records_its_own_time_gets_one_batch_and_no_more() {
    let mut partition = running_at(0);
    fetched(&mut partition, &[batch(0, 5), batch(5, 5)]);
    let sent = send_all(&mut partition);
    assert_eq!(sent.len(), 1);
    partition.handle_produced(sent[0], Produced::Restamped, Duration::ZERO);
    let error = partition.error().unwrap();
    assert_eq!((partition.phase(), error.kind(), error.offset()), (Phase::Parked, ErrorKind::TargetConflict, Some(0)));
    assert!(error.message().contains("message.timestamp.type=LogAppendTime"), "{error}");
    assert!(!partition.can_produce());
}
