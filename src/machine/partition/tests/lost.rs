//! A target that has lost what it had acknowledged: what the source has lost meanwhile, too, is a loss and no late start.
//! Nothing of the target's log shows that then; the partition remembers it.

use super::*;

#[test]
fn a_target_that_lost_everything_does_not_make_a_loss_at_the_source_a_late_start() {
    let mut partition = running_at(30);
    partition.reopen(Duration::ZERO);
    open(&mut partition, source(0, 100), filled_to(0));
    assert_eq!((partition.phase(), partition.poll_fetch()), (Phase::Running, Some(0)), "it is copied again");

    // Before it is, retention takes the beginning; the target's log is as that of a partition that was never copied.
    partition.reopen(Duration::ZERO);
    open(&mut partition, source(20, 100), filled_to(0));
    let error = partition.error().map(|error| (error.kind(), error.offset()));
    assert_eq!((partition.phase(), error), (Phase::Parked, Some((ErrorKind::DataLoss, Some(0)))));
}
