//! A transaction that nobody ends holds up what is behind it: the mirror says whose it is and where, and goes on by itself when it
//! has ended. Both lags are shown until then, against the last stable offset and against the high watermark.

use std::time::Duration;

use crate::support::cluster::{shared, unique};
use crate::support::failure::Context;
use crate::support::ledger;
use crate::support::mirroring::Mirroring;
use crate::support::records::{Generator, Writing};
use crate::support::transactions::{End, Transactions};
use crate::support::{Outcome, wait_for};

const LIMIT: Duration = Duration::from_secs(120);
/// As long as a transaction may be open without a word; a hang limit for the test is what comes on top.
const HELD_FOR: Duration = Duration::from_secs(900);

#[test]
fn a_transaction_that_stays_open_is_named_and_what_is_behind_it_comes_when_it_ends() -> Outcome {
    let pair = shared()?;
    let topic = unique("held-up");
    pair.source.create_topic(&topic, 1, &[])?;
    let id = unique("forgetful-writer");
    let forgetful = Transactions::open_as(&pair.source.bootstrap(), &Writing::default(), &id, HELD_FOR)?;
    let other = Transactions::open(&pair.source.bootstrap(), &Writing::default())?;
    other.write(&topic, 0, Generator::new(1).take(5), End::Commit)?;
    forgetful.begin()?;
    forgetful.send(&topic, 0, Generator::new(2).take(3))?;
    other.write(&topic, 0, Generator::new(3).take(5), End::Commit)?;

    // Five records and a marker; then three that are open, five more and their marker.
    let mut mirror = Mirroring::pair(pair, &topic).start()?;
    let target = pair.target.client();
    let end = || target.offset_at(&topic, 0, -1);
    wait_for("what is committed before it arrives", LIMIT, || Ok(end().is_ok_and(|end| end == 6).then_some(())))
        .context(mirror.stderr())?;
    let named = wait_for("the open transaction is named", LIMIT, || {
        let said = mirror.stderr();
        Ok(said.lines().find(|line| line.contains("has been open")).map(str::to_owned))
    })
    .context(mirror.stderr())?;
    for words in [&format!("transactional id '{id}'"), &format!("topic '{topic}' partition 0"), "since offset 6"] {
        assert!(named.contains(words), "{words} is missing in: {named}");
    }
    assert_eq!(end()?, 6, "nothing behind it is copied");

    forgetful.end(End::Commit)?;
    wait_for("the rest arrives", LIMIT, || Ok(end().is_ok_and(|end| end == 16).then_some(())))
        .context(mirror.stderr())?;
    ledger::expect_identical(&pair.source.bootstrap(), &pair.target.bootstrap(), &topic, 13)?;
    mirror.kill9()
}
