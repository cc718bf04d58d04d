//! What users see of a partition that stops: the kind, the offset and the sentence; and the pace of retries.
//! Sentences are compared as they are, because they are what somebody acts upon at night.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::resume::REPLICATION_PAUSE;
use super::*;
use crate::batch::{Header, attributes};
use crate::terms::broker_error::BrokerError;

mod filling;
mod lost;
mod mapped;
mod opening;
mod refusals;

impl<P> Partition<P> {
    /// For a planted bug of the simulation: as if the broker had something to check the next batch against.
    pub(in crate::machine) fn pretend_producer_state(&mut self) {
        self.alone = false;
    }

    /// For planted bugs: where the fill under way from an offset is to end.
    pub(in crate::machine) fn fill_under_way(&self, offset: i64) -> Option<i64> {
        match self.filling {
            Filling::UnderWay { from, next } if from == offset => Some(next),
            _ => None,
        }
    }

    /// For a planted bug: holes in front of records are not waited for.
    pub(in crate::machine) fn pretend_no_holes(&mut self) {
        self.window.drop_holes();
    }
}

const OURS: Identity = Identity { producer_id: 7, producer_epoch: 0, fence: 512 };
const BACKOFF: Duration = Duration::from_millis(100);
const SETTLE: Duration = Duration::from_secs(3);
/// When `open` reads the position.
const OPENED: Duration = Duration::from_secs(1000);

fn limits() -> Limits {
    Limits {
        max_in_flight: 5,
        queued_bytes: 10_000,
        batch_bytes: 1000,
        holes: Holes::Filled { at_once: 3 },
        settle: SETTLE,
        backoff: BACKOFF,
        backoff_max: Duration::from_secs(1),
        go_on_after_loss: false,
        skip_refused: false,
    }
}

fn new() -> Partition<()> {
    Partition::new(OURS, limits())
}

fn source(log_start_offset: i64, log_end_offset: i64) -> SourceLog {
    SourceLog { log_start_offset, log_end_offset, epoch_end_offset: None, last_epoch: -1 }
}

fn records_of(producer_id: i64, last_sequence: i32) -> Tail {
    Tail::Records { producer_id, producer_epoch: 0, last_sequence }
}

/// A target that this mirror has filled up to an offset, with records only.
fn filled_to(end: i64) -> TargetLog {
    let last = end as i32 - 1;
    let tail = if end == 0 { Tail::Empty } else { records_of(OURS.producer_id, last) };
    let last_record = (end > 0).then_some((0, last));
    let (log_start_offset, last_writer) = (0, (end > 0).then_some(OURS.producer_id));
    let begun = end > 0;
    TargetLog { log_start_offset, log_end_offset: end, high_watermark: end, last_record, last_writer, tail, begun }
}

fn reading(source: SourceLog, target: TargetLog) -> Reading {
    Reading { source, target, likeness: Likeness::Unknown }
}

/// Reads the position, and once more if the machine wants it confirmed.
fn open(partition: &mut Partition<()>, source: SourceLog, target: TargetLog) {
    for now in [OPENED, OPENED + REPLICATION_PAUSE] {
        if partition.poll_open(now) {
            partition.handle_opened(reading(source, target), now);
        }
    }
}

/// What one reading makes of a partition.
fn read_once(partition: &mut Partition<()>, source: SourceLog, target: TargetLog, now: Duration) -> Phase {
    assert!(partition.poll_open(now), "{:?}", partition.phase());
    partition.handle_opened(reading(source, target), now);
    partition.phase()
}

fn running_with(limits: Limits, position: i64) -> Partition<()> {
    let mut partition = Partition::new(OURS, limits);
    open(&mut partition, source(0, 1000), filled_to(position));
    assert_eq!((partition.phase(), partition.position()), (Phase::Running, Some(position)));
    partition
}

fn running_at(position: i64) -> Partition<()> {
    running_with(limits(), position)
}

/// A batch of dense records; tests change what they are about.
fn batch(base_offset: i64, records: i32) -> Header {
    Header {
        base_offset,
        length: 100,
        partition_leader_epoch: 4,
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

fn records(header: Header) -> Content<()> {
    Content::Records(Fetched { header, size: 100, payload: () })
}

fn nothing_up_to(next_offset: i64) -> Content<()> {
    Content::Nothing { next_offset, leader_epoch: 6 }
}

fn fetched(partition: &mut Partition<()>, headers: &[Header]) {
    let from = partition.poll_fetch().unwrap();
    partition.handle_fetched(from, headers.iter().map(|header| Ok(records(*header))));
}

fn fetched_nothing(partition: &mut Partition<()>, next_offset: i64) {
    let from = partition.poll_fetch().unwrap();
    partition.handle_fetched(from, [Ok(nothing_up_to(next_offset))]);
}

fn send_all(partition: &mut Partition<()>) -> Vec<Ticket> {
    std::iter::from_fn(|| partition.poll_produce().map(|produce| produce.ticket)).collect()
}

fn appended(ticket: Ticket) -> Produced {
    Produced::Appended { base_offset: ticket.base_offset }
}

fn broker(code: i16) -> BrokerError {
    BrokerError::of(code).unwrap()
}

fn refused(code: i16) -> Produced {
    Produced::Refused(broker(code), Some("said the broker".to_string()))
}

/// Sends what can be sent, has it appended, until there is no more.
fn append_all(partition: &mut Partition<()>) {
    while partition.can_produce() {
        for ticket in send_all(partition) {
            partition.handle_produced(ticket, appended(ticket), Duration::ZERO);
        }
    }
}

/// Three batches of ten under way, from offset 10; the one before them was acknowledged.
fn three_in_flight(limits: Limits) -> (Partition<()>, Vec<Ticket>) {
    let mut partition = running_with(limits, 0);
    fetched(&mut partition, &[batch(0, 10), batch(10, 10), batch(20, 10), batch(30, 10)]);
    let first = send_all(&mut partition);
    assert_eq!(first.len(), 1, "the first one travels alone");
    partition.handle_produced(first[0], appended(first[0]), Duration::ZERO);
    let tickets = send_all(&mut partition);
    assert_eq!(tickets.len(), 3);
    (partition, tickets)
}

fn due(partition: &Partition<()>) -> Duration {
    let Phase::Closed { due } = partition.phase() else { panic!("{:?}", partition.phase()) };
    due
}

/// What was left out and told since the last call: ranges and sentences.
fn told(partition: &mut Partition<()>) -> Vec<(i64, i64, String)> {
    let told = partition.take_left_out().into_iter();
    told.map(|left_out| (left_out.from, left_out.next, left_out.error.message().to_string())).collect()
}

#[track_caller]
fn assert_parked(partition: &Partition<()>, kind: ErrorKind, offset: Option<i64>, sentence: &str) {
    let error = partition.error().unwrap_or_else(|| panic!("no error: {:?}", partition.phase()));
    assert_eq!((partition.phase(), error.kind(), error.offset()), (Phase::Parked, kind, offset), "{error:?}");
    assert_eq!(error.message(), sentence);
    assert!(!partition.can_produce() && !partition.can_fill() && partition.poll_fetch().is_none());
    assert_eq!(partition.queued_bytes(), 0);
}

#[test]
fn a_source_that_says_nothing_is_waited_for_and_nothing_is_concluded() {
    let mut partition = running_at(10);
    let nothing: [Result<Content<()>, Malformed>; 0] = [];
    let silence = || Error::new(ErrorKind::Broker, "the source gives nothing").with_offset(10);
    partition.handle_silence(9, silence());
    assert!(!partition.is_failing(), "that was an older question");
    partition.handle_silence(10, silence());
    partition.handle_fetched(10, nothing);
    assert_eq!((partition.phase(), partition.position(), partition.poll_fetch()), (Phase::Running, Some(10), Some(10)));
    assert!(
        partition.is_failing()
            && !partition.can_fill()
            && partition.error().is_some_and(|error| error.offset() == Some(10))
    );
    fetched(&mut partition, &[batch(10, 5)]);
    assert!(!partition.is_failing() && partition.error().is_none() && partition.can_produce());
    partition.handle_silence(15, silence());
    partition.reopen(Duration::ZERO);
    assert!(!partition.is_failing(), "the next opening asks anew");
}

#[test]
fn what_was_not_asked_for_is_a_bug() {
    let cases = [
        batch(30, 10),
        Header { record_count: 3, ..batch(35, 5) },
        Header { attributes: attributes::CONTROL, ..batch(35, 1) },
    ];
    for header in cases {
        let mut partition = running_at(35);
        fetched(&mut partition, &[header]);
        let offset = header.base_offset;
        let sentence = format!("the batch at offset {offset} is not what the position asks for (offset 35)");
        assert_parked(&partition, ErrorKind::Internal, Some(offset), &sentence);
    }
}

#[test]
fn batches_that_cannot_be_passed_on() {
    let cases = [
        (
            Malformed::OldFormat { offset: 10, magic: 1 },
            "the batch at offset 10 has message format 1, which this version cannot copy",
        ),
        (
            Malformed::Corrupt { offset: 10, reason: "its length is smaller than a batch header" },
            "the batch at offset 10 of the source is not a record batch: its length is smaller than a batch header",
        ),
        (
            Malformed::Damaged { offset: 10 },
            "the batch at offset 10 of the source does not fit its checksum: its bytes were changed, on their way or on the \
             broker's disk; if it stays so, look at that broker and its replicas",
        ),
    ];
    for (malformed, sentence) in cases {
        let mut partition = running_at(10);
        // What was damaged may have been so on its way, and is fetched again.
        let attempts = if matches!(malformed, Malformed::Damaged { .. }) { 3 } else { 1 };
        for _ in 0..attempts {
            assert_eq!((partition.phase(), partition.poll_fetch()), (Phase::Running, Some(10)));
            partition.handle_fetched(10, [Err(malformed.clone())]);
        }
        assert_parked(&partition, ErrorKind::RecordRefused, Some(10), sentence);
    }
}

#[test]
fn what_comes_before_the_end_is_copied_first() {
    let mut partition = running_at(0);
    assert!(!partition.has_ended());
    let lies = Err(Malformed::Corrupt { offset: 7, reason: "its last offset is before its first" });
    partition.handle_fetched(0, [Ok(records(batch(0, 5))), Ok(nothing_up_to(7)), lies]);
    assert_eq!((partition.phase(), partition.poll_fetch(), partition.has_ended()), (Phase::Running, None, true));
    append_all(&mut partition);
    assert_eq!(
        (partition.phase(), partition.position()),
        (Phase::Running, Some(5)),
        "the hole before it is filled, too"
    );
    filling::settle_at(&mut partition, 5);
    let fill = partition.poll_fill(OPENED).unwrap();
    // The opening has not taken the end away.
    assert!(partition.has_ended());
    partition.handle_filled(fill.ticket, Filled::LogEnd(7), OPENED);
    assert_eq!(partition.position(), Some(7));
    assert_eq!((partition.phase(), partition.error().unwrap().offset()), (Phase::Parked, Some(7)));
}

#[test]
fn somebody_else_wrote_in_between() {
    let (mut partition, tickets) = three_in_flight(limits());
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
fn failures_in_a_row_wait_longer_and_an_answer_ends_the_row() {
    let mut partition = running_at(10);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        fetched(&mut partition, &[batch(10, 10)]);
        let tickets = send_all(&mut partition);
        partition.handle_produced(tickets[0], refused(19), Duration::ZERO);
        pauses.push(due(&partition).as_millis());
        open(&mut partition, source(0, 1000), filled_to(10));
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
    assert!(partition.is_failing());
    assert_eq!(
        partition.error().unwrap().message(),
        "the target did not take the batch at offset 10: NOT_ENOUGH_REPLICAS (19): fewer replicas in sync than \
         min.insync.replicas; nothing was appended (said the broker)"
    );
    fetched(&mut partition, &[batch(10, 10)]);
    append_all(&mut partition);
    assert!(!partition.is_failing() && partition.error().is_none());
}

#[test]
fn a_sequence_error_is_read_again_at_once_but_not_in_a_busy_loop() {
    let mut partition = running_at(10);
    let mut pauses = Vec::new();
    for _ in 0..3 {
        if partition.queued_bytes() == 0 {
            fetched(&mut partition, &[batch(10, 10)]);
        }
        let tickets = send_all(&mut partition);
        partition.handle_produced(tickets[0], refused(45), Duration::ZERO);
        pauses.push(due(&partition).as_millis());
        open(&mut partition, source(0, 1000), filled_to(10));
    }
    assert_eq!(pauses, [0, 200, 400]);
}

#[test]
fn after_a_pause_the_first_batch_travels_alone_again() {
    let (mut partition, tickets) = three_in_flight(limits());
    for ticket in tickets {
        partition.handle_produced(ticket, appended(ticket), Duration::ZERO);
    }
    fetched(&mut partition, &[batch(40, 1), batch(41, 1)]);
    assert_eq!(send_all(&mut partition).len(), 1);
}

#[test]
fn answers_to_older_questions_are_left_out() {
    let (mut partition, tickets) = three_in_flight(limits());
    partition.reopen(Duration::ZERO);
    assert!(partition.is_idle());
    open(&mut partition, source(0, 1000), filled_to(10));
    assert_eq!(send_all(&mut partition).len(), 1);
    partition.handle_produced(tickets[0], Produced::Lost, Duration::ZERO);
    partition.handle_produced(tickets[0], Produced::Appended { base_offset: 99 }, Duration::ZERO);
    partition.handle_produced(tickets[1], Produced::Appended { base_offset: 99 }, Duration::ZERO);
    partition.handle_fetched(5, [Err(Malformed::OldFormat { offset: 5, magic: 0 })]);
    partition.handle_out_of_range(5, Duration::ZERO);
    partition.handle_diverged(5, Duration::ZERO);
    assert_eq!((partition.phase(), partition.position()), (Phase::Running, Some(10)));

    partition.reopen(Duration::ZERO);
    assert!(partition.poll_open(Duration::ZERO));
    partition.reopen(Duration::ZERO);
    assert!(!partition.poll_open(Duration::ZERO), "one reading at a time");
    partition.handle_opened(reading(source(0, 1000), filled_to(10)), Duration::ZERO);
    assert_eq!(partition.phase(), Phase::Closed { due: Duration::ZERO });
}

#[test]
fn what_was_asked_before_a_stop_is_no_answer_after_it() {
    let mut partition = new();
    assert!(partition.poll_open(Duration::ZERO));
    partition.park(Error::new(ErrorKind::Topic, "gone"));
    partition.resume(Duration::ZERO);
    assert!(partition.poll_open(Duration::ZERO));
    partition.handle_opened(reading(source(0, 1000), filled_to(10)), Duration::ZERO);
    assert_eq!((partition.phase(), partition.position()), (Phase::Closed { due: Duration::ZERO }, None));
    open(&mut partition, source(0, 1000), filled_to(20));
    assert_eq!(partition.position(), Some(20));
}

#[test]
fn it_is_empty_until_something_is_fetched_and_when_all_is_acknowledged() {
    let mut partition = running_at(0);
    assert!(partition.is_empty());
    fetched(&mut partition, &[batch(0, 5)]);
    assert!(!partition.is_empty());
    append_all(&mut partition);
    assert!(partition.is_empty());
}

#[test]
fn a_lost_answer_closes_and_keeps_no_memory() {
    let (mut partition, tickets) = three_in_flight(limits());
    partition.handle_produced(tickets[2], Produced::Lost, Duration::ZERO);
    assert_eq!(due(&partition), BACKOFF);
    assert_eq!((partition.queued_bytes(), partition.is_idle(), partition.position()), (0, true, Some(10)));
}
