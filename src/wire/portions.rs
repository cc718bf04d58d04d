//! How much goes into one request that a controller works on as a whole.
//!
//! A KRaft controller takes at most 10 000 records for one request: a topic, each of its partitions and each of its settings is one. What is
//! more is refused as a whole, and each topic gets that answer. The cut here stays well below. A cluster may have a lower limit, so a
//! refusal that is the same for all topics of a request is held against one of them alone, before it is believed of the others.

use std::ops::Range;

use crate::error::Result;
use crate::terms::broker_error::{BrokerError, Class};

/// Records that a controller writes for one request.
const RECORDS_AT_ONCE: usize = 5000;
/// Things in one request.
const THINGS_AT_ONCE: usize = 200;
/// Partitions that a topic gets at a time; it gets the others with the next look.
pub const PARTITIONS_AT_ONCE: i32 = 8000;

/// What a controller says of one thing.
pub trait Answer {
    /// Its error, 0 for none.
    fn code(&self) -> i16;
    /// Its text.
    fn text(&self) -> Option<&str>;
}

/// Neighbours that go into one request, given the records that each is.
pub fn ranges(weights: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let mut records = 0;
    for (at, weight) in weights.enumerate() {
        match ranges.last_mut() {
            Some(last) if records + weight <= RECORDS_AT_ONCE && last.len() < THINGS_AT_ONCE => last.end = at + 1,
            _ => {
                ranges.push(at..at + 1);
                records = 0;
            }
        }
        records += weight;
    }
    ranges
}

/// Asks for things in as many requests as it takes; the answers of all.
pub async fn ask<T: Clone, A: Answer>(
    things: &[T],
    weight: impl Fn(&T) -> usize,
    request: impl AsyncFn(&[T]) -> Result<Vec<A>>,
) -> Result<Vec<A>> {
    let mut answers = Vec::with_capacity(things.len());
    let ranges = ranges(things.iter().map(&weight));
    let mut open: Vec<Vec<T>> = ranges.into_iter().rev().map(|range| things[range].to_vec()).collect();
    while let Some(mut some) = open.pop() {
        let answer = request(&some).await?;
        if some.len() < 2 || !is_of_the_whole(&answer) {
            answers.extend(answer);
            continue;
        }
        let smallest = (0..some.len()).min_by_key(|at| weight(&some[*at])).unwrap_or_default();
        let alone = some.swap_remove(smallest);
        let of_one = request(std::slice::from_ref(&alone)).await?;
        let is_same = |one: &A| of_one.iter().all(|other| (one.code(), one.text()) == (other.code(), other.text()));
        if answer.first().is_some_and(is_same) {
            // Each of them is refused, not the request.
            answers.extend(answer);
            continue;
        }
        answers.extend(of_one);
        let rest = some.split_off(some.len() / 2);
        open.extend([rest, some].into_iter().filter(|some| !some.is_empty()));
    }
    Ok(answers)
}

/// Whether all are refused with the same words, so that it may be the request that is refused.
fn is_of_the_whole<A: Answer>(answers: &[A]) -> bool {
    let Some((first, others)) = answers.split_first() else { return false };
    let may_be_of_request = BrokerError::of(first.code()).is_some_and(|error| {
        matches!(error.class, Class::Refused | Class::Unsupported) || error.code == BrokerError::UNKNOWN_SERVER_ERROR
    });
    may_be_of_request && others.iter().all(|other| (other.code(), other.text()) == (first.code(), first.text()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::cell::RefCell;

    use super::*;

    const POLICY_VIOLATION: i16 = 44;

    /// A thing by its name, and what is said of it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Told(&'static str, i16, String);

    impl Answer for Told {
        fn code(&self) -> i16 {
            self.1
        }

        fn text(&self) -> Option<&str> {
            Some(&self.2)
        }
    }

    #[test]
    fn neither_records_nor_things_of_a_request_are_too_many() {
        assert!(ranges(std::iter::empty()).is_empty());
        assert_eq!(ranges([51; 205].into_iter()), [0..98, 98..196, 196..205]);
        assert_eq!(ranges([1; 401].into_iter()), [0..200, 200..400, 400..401]);
        // One that is too large by itself travels alone.
        assert_eq!(ranges([1, 6000, 1, 4999, 1].into_iter()), [0..1, 1..2, 2..4, 4..5]);
    }

    /// Asks a cluster that takes so many records in a request and refuses some things by name; its answers, and the sizes of the requests.
    async fn asked(
        things: &[(&'static str, usize)],
        limit: usize,
        refused: &[&str],
    ) -> (Vec<(&'static str, i16)>, Vec<usize>) {
        let sizes = RefCell::new(Vec::new());
        let answers = ask(
            things,
            |thing| thing.1,
            async |some: &[(&'static str, usize)]| {
                sizes.borrow_mut().push(some.len());
                let is_too_large = some.iter().map(|thing| thing.1).sum::<usize>() > limit;
                let told = |(name, _): &(&'static str, usize)| match (is_too_large, refused.contains(name)) {
                    (true, _) => Told(name, POLICY_VIOLATION, "excessively large".to_owned()),
                    (_, true) => Told(name, POLICY_VIOLATION, "not here".to_owned()),
                    _ => Told(name, 0, String::new()),
                };
                Ok(some.iter().map(told).collect())
            },
        );
        let mut answers: Vec<_> = answers.await.unwrap().into_iter().map(|told| (told.0, told.1)).collect();
        answers.sort_unstable();
        (answers, sizes.into_inner())
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_refusal_of_the_request_is_none_of_its_topics_and_the_other_way_round() {
        let things = [("a", 40), ("b", 10), ("c", 40), ("d", 40)];
        assert_eq!(asked(&things, 1000, &[]).await, (vec![("a", 0), ("b", 0), ("c", 0), ("d", 0)], vec![4]));
        // The request is too large, and one of its topics is refused besides.
        let (answers, sizes) = asked(&things, 90, &["c"]).await;
        assert_eq!(answers, [("a", 0), ("b", 0), ("c", POLICY_VIOLATION), ("d", 0)]);
        assert_eq!(sizes[..2], [4, 1]);
        // Each topic is refused, with the same words: one more question shows it.
        let (answers, sizes) = asked(&things, 1000, &["a", "b", "c", "d"]).await;
        assert!(answers.iter().all(|(_, code)| *code == POLICY_VIOLATION), "{answers:?}");
        assert_eq!(sizes, [4, 1]);
        // One of several is refused: nobody asks again.
        let (answers, sizes) = asked(&things, 1000, &["b"]).await;
        assert_eq!((answers[1], sizes), (("b", POLICY_VIOLATION), vec![4]));
    }
}
