//! What users see of a partition that stops: the kind, the offset and the sentence; and the pace of retries.
//! Sentences are compared as they are, because they are what somebody acts upon at night.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::batch::attributes;

impl<P> Partition<P> {
    /// For a planted bug of the simulation: as if the broker had something to check the next batch against.
    pub(in crate::machine) fn pretend_producer_state(&mut self) {
        self.alone = false;
    }
}

const OURS: Identity = Identity { producer_id: 7, producer_epoch: 0 };
const BACKOFF: Duration = Duration::from_millis(100);

fn new() -> Partition<()> {
    let limits =
        Limits { max_in_flight: 5, queued_bytes: 10_000, backoff: BACKOFF, backoff_max: Duration::from_secs(1) };
    Partition::new(OURS, limits)
}

fn source(log_start_offset: i64, log_end_offset: i64) -> SourceLog {
    SourceLog { log_start_offset, log_end_offset }
}

/// A target that this mirror has filled up to an offset.
fn filled_to(end: i64) -> TargetLog {
    let writer = match end {
        0 => Writer::Nobody,
        _ => Writer::Mirror { producer_epoch: 0, last_sequence: end as i32 - 1 },
    };
    TargetLog { log_start_offset: 0, log_end_offset: end, high_watermark: end, writer }
}

fn written_by(writer: Writer) -> TargetLog {
    TargetLog { writer, ..filled_to(10) }
}

/// Reads the position, and once more if the machine wants it confirmed.
fn open(partition: &mut Partition<()>, source: SourceLog, target: TargetLog) {
    for seconds in [1000, 1001] {
        let later = Duration::from_secs(seconds);
        if partition.poll_open(later) {
            partition.handle_opened(source, target, later);
        }
    }
}

fn running_at(position: i64) -> Partition<()> {
    let mut partition = new();
    open(&mut partition, source(0, 1000), filled_to(position));
    assert_eq!((partition.phase(), partition.position()), (Phase::Running, Some(position)));
    partition
}

/// A batch of dense records; tests change what they are about.
fn batch(base_offset: i64, records: i32) -> Header {
    Header {
        base_offset,
        length: 100,
        partition_leader_epoch: 0,
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: records - 1,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: records,
    }
}

fn fetched(partition: &mut Partition<()>, headers: &[Header]) {
    let from = partition.poll_fetch().unwrap();
    let batches = headers.iter().map(|header| Ok(Fetched { header: *header, size: 100, payload: () }));
    partition.handle_fetched(from, batches, &[(50, 3)]);
}

fn send_all(partition: &mut Partition<()>) -> Vec<Ticket> {
    std::iter::from_fn(|| partition.poll_produce().map(|produce| produce.ticket)).collect()
}

fn appended(ticket: Ticket) -> Produced {
    Produced::Appended { base_offset: ticket.base_offset }
}

fn refused(code: i16) -> Produced {
    Produced::Refused(BrokerError::of(code).unwrap(), Some("said the broker".to_string()))
}

/// Three batches of ten under way, from an offset; the one before them was acknowledged.
fn three_in_flight() -> (Partition<()>, Vec<Ticket>) {
    let mut partition = running_at(0);
    fetched(&mut partition, &[batch(0, 10), batch(10, 10), batch(20, 10), batch(30, 10)]);
    let first = send_all(&mut partition);
    assert_eq!(first.len(), 1, "the first one travels alone");
    partition.handle_produced(first[0], appended(first[0]), Duration::ZERO);
    let tickets = send_all(&mut partition);
    assert_eq!(tickets.len(), 3);
    (partition, tickets)
}

#[track_caller]
fn assert_parked(partition: &Partition<()>, kind: ErrorKind, offset: Option<i64>, sentence: &str) {
    let error = partition.error().unwrap_or_else(|| panic!("no error: {:?}", partition.phase()));
    assert_eq!((partition.phase(), error.kind(), error.offset()), (Phase::Parked, kind, offset), "{error:?}");
    assert_eq!(error.message(), sentence);
    assert!(!partition.can_produce() && partition.poll_fetch().is_none() && partition.queued_bytes() == 0);
}

#[test]
fn a_source_that_does_not_begin_at_0() {
    let mut partition = new();
    open(&mut partition, source(500, 1000), filled_to(0));
    assert_parked(
        &partition,
        ErrorKind::OffsetGap,
        Some(0),
        "the source begins at offset 500; this version can only begin at 0, because nothing can stand for the offsets before",
    );
}

#[test]
fn retention_was_faster_than_the_mirror() {
    let mut partition = new();
    open(&mut partition, source(40, 100), filled_to(30));
    assert_parked(
        &partition,
        ErrorKind::DataLoss,
        Some(30),
        "source offsets 30 to 39 were removed before they were replicated (the source begins at 40 now)",
    );
}

#[test]
fn what_was_fetched_before_retention_took_it_is_still_copied() {
    let mut partition = running_at(30);
    fetched(&mut partition, &[batch(30, 5), batch(35, 5)]);
    partition.handle_out_of_range(40, Duration::ZERO);
    open(&mut partition, source(60, 100), filled_to(30));
    for _ in 0..2 {
        for ticket in send_all(&mut partition) {
            partition.handle_produced(ticket, appended(ticket), Duration::ZERO);
        }
    }
    assert_eq!(partition.position(), Some(40));
    assert_parked(
        &partition,
        ErrorKind::DataLoss,
        Some(40),
        "source offsets 40 to 59 were removed before they were replicated (the source begins at 60 now)",
    );
}

#[test]
fn a_source_that_was_cut_back() {
    let mut partition = new();
    open(&mut partition, source(0, 20), filled_to(30));
    assert_parked(
        &partition,
        ErrorKind::DataLoss,
        Some(30),
        "the source ends at offset 20 but offset 30 was replicated already: its log was cut back, or the topic was deleted \
         and created again; compare both before deleting the target topic to start anew",
    );
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
    assert!(partition.poll_open(Duration::ZERO));
    partition.handle_opened(source(0, 20), filled_to(30), Duration::ZERO);
    assert!(partition.poll_open(REPLICATION_PAUSE));
    partition.handle_opened(source(0, 35), filled_to(40), REPLICATION_PAUSE);
    open(&mut partition, source(0, 50), filled_to(45));
    assert_eq!((partition.phase(), partition.position()), (Phase::Running, Some(45)));
}

#[test]
fn a_source_that_went_on_differently() {
    let mut partition = running_at(35);
    fetched(&mut partition, &[batch(30, 10)]);
    assert_parked(
        &partition,
        ErrorKind::DataLoss,
        Some(35),
        "offset 35 is inside the source's batch 30 to 39, of which the target has the first part already: the source's log \
         was cut back and went on differently, or its topic was deleted and created again",
    );
}

#[test]
fn offsets_without_a_record() {
    let gap = |from: i64, to: i64, why: &str| {
        format!(
            "source offsets {from} to {to} hold no record ({why}); this version cannot reproduce such a gap at the same offsets"
        )
    };
    let transactional = Header { producer_id: 50, attributes: attributes::TRANSACTIONAL, ..batch(10, 5) };
    let cases = [
        (batch(13, 5), 12, "removed by compaction or deletion"),
        (Header { attributes: attributes::CONTROL, ..batch(10, 1) }, 10, "a transaction marker"),
        (transactional, 14, "an aborted transaction"),
        (Header { record_count: 3, ..batch(10, 5) }, 14, "some were removed by compaction"),
        (Header { record_count: 0, ..batch(10, 5) }, 14, "some were removed by compaction"),
    ];
    for (header, last, why) in cases {
        let mut partition = running_at(10);
        fetched(&mut partition, &[header, batch(header.last_offset() + 1, 5)]);
        assert_parked(&partition, ErrorKind::OffsetGap, Some(10), &gap(10, last, why));
    }
    let mut partition = running_at(10);
    fetched(&mut partition, &[Header { producer_id: 51, ..transactional }]);
    assert!(partition.can_produce(), "a transaction of somebody else was aborted");
}

#[test]
fn what_comes_before_a_gap_is_copied_first() {
    let mut partition = running_at(0);
    fetched(&mut partition, &[batch(0, 5), batch(7, 5)]);
    assert_eq!((partition.phase(), partition.poll_fetch(), partition.has_ended()), (Phase::Running, None, true));
    let tickets = send_all(&mut partition);
    partition.handle_produced(tickets[0], appended(tickets[0]), Duration::ZERO);
    assert_eq!(partition.position(), Some(5));
    assert_eq!((partition.phase(), partition.error().unwrap().offset()), (Phase::Parked, Some(5)));
}

#[test]
fn batches_that_cannot_be_passed_on() {
    let mut partition = running_at(10);
    fetched(&mut partition, &[Header { attributes: attributes::LOG_APPEND_TIME, ..batch(10, 2) }]);
    assert_parked(
        &partition,
        ErrorKind::RecordRefused,
        Some(10),
        "the batch at offset 10 carries the source broker's append time for 2 records, which this version cannot keep; set \
         message.timestamp.type=CreateTime on the source topic for new records",
    );
    let cases = [
        (
            Malformed::OldFormat { offset: 10, magic: 1 },
            "the batch at offset 10 has message format 1, which this version cannot copy",
        ),
        (
            Malformed::Corrupt { offset: 10, reason: "its length is smaller than a batch header" },
            "the batch at offset 10 of the source is not a record batch: its length is smaller than a batch header",
        ),
    ];
    for (malformed, sentence) in cases {
        let mut partition = running_at(10);
        partition.handle_fetched(10, [Err(malformed)], &[]);
        assert_parked(&partition, ErrorKind::RecordRefused, Some(10), sentence);
    }
}

#[test]
fn one_record_with_the_append_time_passes() {
    let mut partition = running_at(10);
    fetched(&mut partition, &[Header { attributes: attributes::LOG_APPEND_TIME, ..batch(10, 1) }]);
    assert!(partition.can_produce());
}

#[test]
fn a_target_with_data_from_elsewhere() {
    let ours = |last_sequence| Writer::Mirror { producer_epoch: 0, last_sequence };
    let cases = [
        (written_by(Writer::Other), "it holds offsets 0 to 9 that this mirror did not write"),
        (written_by(Writer::Nobody), "it holds offsets 0 to 9 that this mirror did not write"),
        (written_by(ours(6)), "its log ends at offset 10 but this mirror's last record there is number 6"),
        (written_by(ours(12)), "its log ends at offset 10 but this mirror's last record there is number 12"),
    ];
    for (target, what) in cases {
        let mut partition = new();
        open(&mut partition, source(0, 5), target);
        let advice = "mirror into a topic that nobody else writes to, or delete it on the target to start anew";
        let sentence = format!("the target partition has another writer: {what}; {advice}");
        assert_parked(&partition, ErrorKind::TargetConflict, None, &sentence);
    }
}

#[test]
fn a_late_batch_between_the_reads_is_no_other_writer() {
    let mut partition = new();
    assert!(partition.poll_open(Duration::ZERO));
    let late = Writer::Mirror { producer_epoch: 0, last_sequence: 14 };
    partition.handle_opened(source(0, 100), written_by(late), Duration::ZERO);
    assert_eq!(partition.phase(), Phase::Closed { due: REPLICATION_PAUSE });
    open(&mut partition, source(0, 100), filled_to(15));
    assert_eq!((partition.phase(), partition.position()), (Phase::Running, Some(15)));
}

#[test]
fn somebody_else_wrote_in_between() {
    let (mut partition, tickets) = three_in_flight();
    partition.handle_produced(tickets[0], Produced::Appended { base_offset: 11 }, Duration::ZERO);
    assert_parked(
        &partition,
        ErrorKind::TargetConflict,
        None,
        "the target partition has another writer: the batch of source offset 10 was appended at target offset 11; mirror into \
         a topic that nobody else writes to, or delete it on the target to start anew",
    );
}

#[test]
fn a_newer_owner() {
    let mut partition = new();
    open(&mut partition, source(0, 100), written_by(Writer::Mirror { producer_epoch: 1, last_sequence: 3 }));
    let sentence = "the target has writes of a newer owner of this mirror (epoch 1, ours is 0)";
    assert_parked(&partition, ErrorKind::Fenced, None, sentence);

    let (mut partition, tickets) = three_in_flight();
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
fn an_older_epoch_of_our_own_is_not_gone_on_with() {
    let mut partition = Partition::new(Identity { producer_epoch: 2, ..OURS }, new().limits);
    open(&mut partition, source(0, 100), filled_to(10));
    assert_eq!((partition.phase(), partition.error().unwrap().kind()), (Phase::Parked, ErrorKind::TargetConflict));
}

#[test]
fn a_refused_record_waits_for_those_before_it() {
    let (mut partition, tickets) = three_in_flight();
    fetched(&mut partition, &[batch(40, 10)]);
    assert!(partition.can_produce());
    partition.handle_produced(tickets[1], refused(10), Duration::ZERO);
    assert_eq!(partition.phase(), Phase::Running);
    assert!(!partition.can_produce());
    partition.handle_produced(tickets[0], appended(tickets[0]), Duration::ZERO);
    assert_eq!(partition.position(), Some(20));
    assert_parked(
        &partition,
        ErrorKind::RecordRefused,
        Some(20),
        "the target refuses the batch at offset 20: MESSAGE_TOO_LARGE (10): the batch is larger than the topic's \
         max.message.bytes on the target (said the broker)",
    );
}

#[test]
fn damaged_three_times_is_damaged_at_the_source() {
    let mut partition = running_at(10);
    let mut now = Duration::ZERO;
    for times in 1..=3 {
        fetched(&mut partition, &[batch(10, 10)]);
        let tickets = send_all(&mut partition);
        partition.handle_produced(tickets[0], refused(2), now);
        if times < 3 {
            assert_eq!(partition.queued_bytes(), 0, "it is fetched again");
            assert_eq!(partition.error().unwrap().kind(), ErrorKind::Broker);
            open(&mut partition, source(0, 1000), filled_to(10));
        }
        now += Duration::from_secs(10);
    }
    let error = partition.error().unwrap();
    assert_eq!((partition.phase(), error.kind(), error.offset()), (Phase::Parked, ErrorKind::RecordRefused, Some(10)));
    assert!(error.message().starts_with("the target refuses as damaged, again and again, the batch at offset 10"));
}

#[test]
fn failures_in_a_row_wait_longer_and_an_answer_ends_the_row() {
    let mut partition = running_at(10);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        fetched(&mut partition, &[batch(10, 10)]);
        let tickets = send_all(&mut partition);
        partition.handle_produced(tickets[0], refused(19), Duration::ZERO);
        let Phase::Closed { due } = partition.phase() else { panic!("{:?}", partition.phase()) };
        pauses.push(due.as_millis());
        open(&mut partition, source(0, 1000), filled_to(10));
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
    assert!(partition.is_failing() && partition.error().is_some());
    fetched(&mut partition, &[batch(10, 10)]);
    let tickets = send_all(&mut partition);
    partition.handle_produced(tickets[0], appended(tickets[0]), Duration::ZERO);
    assert!(!partition.is_failing() && partition.error().is_none());
}

#[test]
fn a_sequence_error_is_read_again_at_once_but_not_in_a_busy_loop() {
    let mut partition = running_at(10);
    fetched(&mut partition, &[batch(10, 10)]);
    let mut pauses = Vec::new();
    for _ in 0..3 {
        if partition.queued_bytes() == 0 {
            fetched(&mut partition, &[batch(10, 10)]);
        }
        let tickets = send_all(&mut partition);
        partition.handle_produced(tickets[0], refused(45), Duration::ZERO);
        let Phase::Closed { due } = partition.phase() else { panic!("{:?}", partition.phase()) };
        pauses.push(due.as_millis());
        open(&mut partition, source(0, 1000), filled_to(10));
    }
    assert_eq!(pauses, [0, 200, 400]);
}

#[test]
fn after_a_pause_the_first_batch_travels_alone_again() {
    let (mut partition, tickets) = three_in_flight();
    for ticket in tickets {
        partition.handle_produced(ticket, appended(ticket), Duration::ZERO);
    }
    fetched(&mut partition, &[batch(40, 1), batch(41, 1)]);
    assert_eq!(send_all(&mut partition).len(), 1);
}

#[test]
fn answers_to_older_questions_are_left_out() {
    let (mut partition, tickets) = three_in_flight();
    partition.reopen(Duration::ZERO);
    assert!(partition.is_idle());
    open(&mut partition, source(0, 1000), filled_to(10));
    assert_eq!(send_all(&mut partition).len(), 1);
    partition.handle_produced(tickets[0], Produced::Lost, Duration::ZERO);
    partition.handle_produced(tickets[0], Produced::Appended { base_offset: 99 }, Duration::ZERO);
    partition.handle_produced(tickets[1], Produced::Appended { base_offset: 99 }, Duration::ZERO);
    partition.handle_fetched(5, [Err(Malformed::OldFormat { offset: 5, magic: 0 })], &[]);
    partition.handle_out_of_range(5, Duration::ZERO);
    assert_eq!((partition.phase(), partition.position()), (Phase::Running, Some(10)));

    partition.reopen(Duration::ZERO);
    assert!(partition.poll_open(Duration::ZERO));
    partition.reopen(Duration::ZERO);
    assert!(!partition.poll_open(Duration::ZERO), "one reading at a time");
    partition.handle_opened(source(0, 1000), filled_to(10), Duration::ZERO);
    assert_eq!(partition.phase(), Phase::Closed { due: Duration::ZERO });
}

#[test]
fn a_lost_answer_closes_and_keeps_no_memory() {
    let (mut partition, tickets) = three_in_flight();
    partition.handle_produced(tickets[2], Produced::Lost, Duration::ZERO);
    assert_eq!(partition.phase(), Phase::Closed { due: BACKOFF });
    assert_eq!((partition.queued_bytes(), partition.is_idle(), partition.position()), (0, true, Some(10)));
}

#[test]
fn nothing_is_gone_on_with_before_all_replicas_have_it() {
    let mut partition = new();
    assert!(partition.poll_open(Duration::ZERO));
    partition.handle_opened(source(0, 100), TargetLog { high_watermark: 8, ..filled_to(10) }, Duration::ZERO);
    assert_eq!((partition.phase(), partition.position()), (Phase::Closed { due: REPLICATION_PAUSE }, None));

    // More than the log end that was read: it grew meanwhile.
    assert!(partition.poll_open(REPLICATION_PAUSE));
    partition.handle_opened(source(0, 100), TargetLog { high_watermark: 12, ..filled_to(10) }, Duration::ZERO);
    assert_eq!((partition.phase(), partition.position()), (Phase::Closed { due: REPLICATION_PAUSE }, None));
}
