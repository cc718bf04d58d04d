//! Translated offsets: where holes are is written down, without waiting for the records before them, and nothing passes a hole
//! before that is durable.

use super::*;

fn mapping() -> Partition<()> {
    let mut partition = running_with(Limits { holes: Holes::Mapped, ..limits() }, 10);
    partition.filling = Filling::Settled;
    partition
}

fn anchors(mapping: &Mapping) -> Vec<(i64, i32)> {
    mapping.anchors.iter().map(|anchor| (anchor.source_offset, anchor.sequence)).collect()
}

fn offsets(tickets: &[Ticket]) -> Vec<i64> {
    tickets.iter().map(|ticket| ticket.base_offset).collect()
}

#[test]
fn all_holes_are_written_down_at_once_while_records_before_them_are_under_way() {
    let mut partition = mapping();
    // Records 10 to 14, a hole, 17 to 21, a hole, 30 to 31, a hole up to 40.
    fetched(&mut partition, &[batch(10, 5), batch(17, 5), batch(30, 2)]);
    fetched_nothing(&mut partition, 40);
    let first = send_all(&mut partition);
    assert_eq!(offsets(&first), [10], "nothing passes the hole");
    assert!(partition.can_fill(), "the records before it need not be there yet");
    let order = partition.poll_map(OPENED).unwrap();
    assert_eq!(anchors(&order), [(17, 15), (30, 20), (40, 22)], "sequence numbers count records");
    assert_eq!(partition.poll_map(OPENED), None, "one order at a time");
    assert_eq!(send_all(&mut partition).len(), 0);
    partition.handle_filled(order.ticket, Filled::Mapped, OPENED);
    assert_eq!(partition.position(), Some(10), "what is before the holes is not there yet");
    partition.handle_produced(first[0], appended(first[0]), OPENED);
    assert_eq!(partition.position(), Some(17), "the hole needs nothing more");
    let rest = send_all(&mut partition);
    assert_eq!(offsets(&rest), [17, 30]);
    for ticket in rest {
        partition.handle_produced(ticket, appended(ticket), OPENED);
    }
    assert_eq!((partition.position(), partition.is_idle(), partition.is_empty()), (Some(40), true, true));
}

#[test]
fn a_hole_that_comes_while_others_are_written_down_has_its_own_order() {
    let mut partition = mapping();
    fetched_nothing(&mut partition, 12);
    let first = partition.poll_map(OPENED).unwrap();
    fetched_nothing(&mut partition, 15);
    assert_eq!(partition.poll_map(OPENED), None);
    partition.handle_filled(first.ticket, Filled::Mapped, OPENED);
    assert_eq!(partition.position(), Some(12));
    let second = partition.poll_map(OPENED).unwrap();
    assert_eq!((anchors(&first), anchors(&second)), (vec![(12, 10)], vec![(15, 10)]));
    partition.handle_filled(second.ticket, Filled::Mapped, OPENED);
    assert_eq!(partition.position(), Some(15));
}

#[test]
fn an_order_without_an_answer_may_land_later_so_the_next_has_a_higher_fence_and_waits() {
    let mut partition = mapping();
    fetched(&mut partition, &[batch(12, 2)]);
    let lost = partition.poll_map(OPENED).unwrap();
    partition.handle_filled(lost.ticket, Filled::Lost, OPENED);
    let reopened = OPENED + BACKOFF;
    assert_ne!(read_once(&mut partition, source(0, 1000), filled_to(10), reopened), Phase::Running);
    let stood_still = reopened + SETTLE;
    assert_eq!(read_once(&mut partition, source(0, 1000), filled_to(10), stood_still), Phase::Running);
    fetched(&mut partition, &[batch(12, 2)]);
    let again = partition.poll_map(stood_still).unwrap();
    assert_eq!((anchors(&again), again.fence), (vec![(12, 10)], lost.fence + 1));
    partition.handle_filled(lost.ticket, Filled::Mapped, stood_still);
    assert_eq!(partition.position(), Some(10), "an answer to the first order says nothing of the second");
}

#[test]
fn a_log_stands_still_also_when_it_is_read_that_the_hole_was_written_down_before() {
    let mut partition = running_with(Limits { holes: Holes::Mapped, ..limits() }, 10);
    fetched(&mut partition, &[batch(12, 2), batch(20, 2)]);
    assert_eq!(partition.poll_map(OPENED), None);
    let stood_still = OPENED + SETTLE;
    // Seen through the map, the target goes on behind the hole; of the mirror's records it has none more.
    let behind_the_hole = TargetLog { log_end_offset: 12, high_watermark: 12, ..filled_to(10) };
    assert_eq!(read_once(&mut partition, source(0, 1000), behind_the_hole, stood_still), Phase::Running);
    assert_eq!(partition.position(), Some(12));
    let order = partition.poll_map(stood_still).unwrap();
    assert_eq!(anchors(&order), [(20, 12)], "and the next hole has not to wait again");
}
