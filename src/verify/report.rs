//! What a verification found: the outcome, counts of each class, the differences, and what keeps it from being complete.
//!
//! Nothing that is unknown counts as equal. A difference was seen; whatever else is not proved equal is a [`Finding`], and makes the
//! outcome `incomplete` unless it was allowed.

use serde::Serialize;

use super::classes::FindingKind;
pub use super::classes::VerifyCounts;
use crate::error::{Error, ErrorKind};

/// What a verification found.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// What it comes to.
    pub outcome: VerifyOutcome,
    /// Whether the outcome is [`Identical`](VerifyOutcome::Identical), or
    /// [`IdenticalInASample`](VerifyOutcome::IdenticalInASample) where only a sample was asked for.
    pub identical: bool,
    /// Topics that were looked at.
    pub topics: u64,
    /// Partitions that were looked at.
    pub partitions: u64,
    /// Records that were read from both sides and compared.
    pub records_compared: u64,
    /// Bytes of the source's batches with those records, as compressed.
    pub bytes_compared: u64,
    /// Bytes of those batches that had to be opened, because the other side's batch was another.
    pub bytes_decoded: u64,
    /// How many of each class.
    pub counts: VerifyCounts,
    /// The first real differences, by topic, partition and offset.
    pub differences: Vec<Difference>,
    /// Whether there are more differences than are listed.
    pub more_differences: bool,
    /// What is not proved to be equal, and is no difference that was seen: one for each class and partition.
    pub findings: Vec<Finding>,
    /// What could not be compared, and why.
    pub unread: Vec<Unread>,
    /// Whether it was allowed that the target is behind.
    pub allow_behind: bool,
    /// Whether it was allowed that records have expired on one side.
    pub allow_expired: bool,
    /// The seed of the random stretches, if only a sample was compared.
    pub sample_seed: Option<u64>,
    /// Each partition, with the offsets between which it was compared.
    pub details: Vec<VerifiedPartition>,
}

/// What a verification comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VerifyOutcome {
    /// Every record that the source had when the verification began is on the target, equal, at its place, and nothing else is in
    /// the range. What was allowed to be missing is missing perhaps.
    Identical,
    /// The same of the offsets that were looked at, as only a sample was asked for.
    IdenticalInASample,
    /// No difference was seen, but not everything is proved to be equal: the findings and what is unread say what is not.
    #[default]
    Incomplete,
    /// Source and target differ.
    Different,
}

impl VerifyOutcome {
    /// The name, in snake_case.
    pub fn name(self) -> &'static str {
        match self {
            VerifyOutcome::Identical => "identical",
            VerifyOutcome::IdenticalInASample => "identical_in_a_sample",
            VerifyOutcome::Incomplete => "incomplete",
            VerifyOutcome::Different => "different",
        }
    }
}

/// How a difference shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DifferenceKind {
    /// The target lacks records.
    Missing,
    /// The target has records that the source lacks.
    Extra,
    /// The target has records of the source once more, written by others than the mirror, where offsets are translated. The offsets
    /// are those of the source.
    Repeated,
    /// A record differs.
    Different,
    /// The target does not have the partition.
    MissingPartition,
    /// The target's log is longer than the source's.
    BeyondSourceEnd,
}

/// A real difference: of one record, or of several in a row that differ in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// How it differs.
    pub kind: DifferenceKind,
    /// The first offset that differs.
    pub offset: i64,
    /// The last one of the row.
    pub last_offset: i64,
    /// Records from the first to the last.
    pub records: u64,
    /// What differs in the record, if it is [`DifferenceKind::Different`].
    pub fields: Vec<FieldDifference>,
}

/// A field of a record that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FieldDifference {
    /// `key`, `value`, `headers`, `timestamp` or `timestamp_type`.
    pub field: &'static str,
    /// What the source has, in short: never the content.
    pub source: String,
    /// What the target has.
    pub target: String,
}

/// Offsets or records of a partition that are not proved to be equal, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Why.
    pub kind: FindingKind,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub offset: i64,
    /// The last one; others may lie between.
    pub last_offset: i64,
    /// How many offsets or records, see the count of this class.
    pub count: u64,
    /// Whether it was allowed.
    pub allowed: bool,
    /// What more is known of it.
    pub reason: Option<String>,
}

/// A topic or partition that could not be compared.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Unread {
    /// The topic.
    pub topic: String,
    /// The partition; `None` for the whole topic.
    pub partition: Option<i32>,
    /// From here on it was not compared; `None` if nothing of it was.
    pub offset: Option<i64>,
    /// Why.
    #[serde(serialize_with = "error_text")]
    pub error: Error,
}

fn error_text<S: serde::Serializer>(error: &Error, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(error.message())
}

/// A partition as it was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifiedPartition {
    /// The topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// First offset of the source.
    pub source_offset_start: i64,
    /// Where the source ended for consumers when the verification began, or, if a transaction was open then, later.
    pub source_offset_end: i64,
    /// First offset of the target.
    pub target_offset_start: i64,
    /// Up to where the target was compared; never beyond the source's end.
    pub target_offset_end: i64,
    /// Records that were compared.
    pub records_compared: u64,
    /// How many of each class.
    pub counts: VerifyCounts,
}

impl VerifyReport {
    /// Whether the target has the same as the source, see [`identical`](Self::identical).
    pub fn identical(&self) -> bool {
        self.identical
    }

    /// The first real differences.
    pub fn differences(&self) -> &[Difference] {
        &self.differences
    }

    /// The share of the compared bytes that had to be opened, from 0 to 1.
    pub fn decoded_share(&self) -> f64 {
        self.bytes_decoded as f64 / self.bytes_compared.max(1) as f64
    }

    /// Judges it again: whether the target may be behind, and whether records may have expired on one side. Nothing is compared anew.
    pub fn allow(&mut self, behind: bool, expired: bool) {
        (self.allow_behind, self.allow_expired) = (behind, expired);
        for finding in &mut self.findings {
            finding.allowed =
                (behind && finding.kind.is_about_being_behind()) || (expired && finding.kind.is_about_expiry());
        }
        let complete = self.unread.is_empty() && self.findings.iter().all(|finding| finding.allowed);
        self.outcome = match (self.counts.real(), complete, self.sample_seed) {
            (1.., ..) => VerifyOutcome::Different,
            (0, false, _) => VerifyOutcome::Incomplete,
            (0, true, Some(_)) => VerifyOutcome::IdenticalInASample,
            (0, true, None) => VerifyOutcome::Identical,
        };
        self.identical = matches!(self.outcome, VerifyOutcome::Identical | VerifyOutcome::IdenticalInASample);
    }

    /// What is not proved to be equal and was not allowed.
    pub fn not_allowed(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| !finding.allowed)
    }

    /// Tells of partitions that are behind that they are parked, and why.
    pub(crate) fn park(&mut self, why: impl Fn(&str, i32) -> Option<String>) {
        for finding in self.findings.iter_mut().filter(|finding| finding.kind == FindingKind::NotYetReplicated) {
            let Some(reason) = why(&finding.topic, finding.partition) else { continue };
            (finding.kind, finding.reason) = (FindingKind::Parked, Some(reason));
            let is_it =
                |one: &&mut VerifiedPartition| (&one.topic, one.partition) == (&finding.topic, finding.partition);
            let of_partition = self.details.iter_mut().find(is_it).map(|one| &mut one.counts);
            for counts in of_partition.into_iter().chain([&mut self.counts]) {
                counts.not_yet_replicated -= finding.count;
                counts.parked += finding.count;
            }
        }
        self.allow(self.allow_behind, self.allow_expired);
    }

    /// What is wrong, as an error with the place of the first difference, or of what is not proved to be equal; `None` if source and
    /// target are identical.
    pub fn error(&self) -> Option<Error> {
        if self.identical {
            return None;
        }
        if self.counts.real() > 0 {
            let error = Error::new(ErrorKind::VerificationFailed, format!("source and target differ: {}", self.counts));
            return Some(match self.differences.first() {
                Some(first) => error.with_partition(&first.topic, first.partition).with_offset(first.offset),
                None => error,
            });
        }
        let first = self.not_allowed().next();
        let mut reasons: Vec<String> = first.map(ToString::to_string).into_iter().collect();
        let others = self.not_allowed().count().saturating_sub(1);
        if others > 0 {
            reasons.push(format!("and {others} more"));
        }
        reasons.extend(self.unread.first().map(|unread| unread.error.message().to_owned()));
        if self.unread.len() > 1 {
            reasons.push(format!("{} topics or partitions could not be compared in all", self.unread.len()));
        }
        let message = format!("the comparison is incomplete: {}", reasons.join("; "));
        let error = Error::new(ErrorKind::VerificationFailed, message);
        Some(match (first, self.unread.first()) {
            (Some(first), _) => error.with_partition(&first.topic, first.partition).with_offset(first.offset),
            (None, Some(unread)) => {
                let error = match unread.partition {
                    Some(partition) => error.with_partition(&unread.topic, partition),
                    None => error.with_topic(&unread.topic),
                };
                unread.error.offset().or(unread.offset).into_iter().fold(error, Error::with_offset)
            }
            (None, None) => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: FindingKind) -> Finding {
        let topic = "orders".to_owned();
        Finding { kind, topic, partition: 1, offset: 10, last_offset: 19, count: 10, allowed: false, reason: None }
    }

    fn judged(classes: &[FindingKind], behind: bool, expired: bool) -> VerifyReport {
        let findings = classes.iter().map(|class| finding(*class)).collect();
        let mut report = VerifyReport { findings, ..VerifyReport::default() };
        report.allow(behind, expired);
        report
    }

    #[test]
    fn only_what_was_allowed_is_left_out_of_the_judgement() {
        assert_eq!(judged(&[], false, false).outcome, VerifyOutcome::Identical);
        for class in FindingKind::ALL {
            let report = judged(&[*class], false, false);
            assert_eq!((report.outcome, report.identical), (VerifyOutcome::Incomplete, false), "{class:?}");
            let error = report.error().expect("it is no success");
            assert_eq!(
                (error.kind(), error.topic(), error.offset()),
                (ErrorKind::VerificationFailed, Some("orders"), Some(10))
            );
            // Whatever is allowed, never more than one of both allows a class.
            let by_one =
                [(true, false), (false, true)].map(|(behind, expired)| judged(&[*class], behind, expired).identical);
            assert!(by_one != [true, true], "{class:?}");
            assert_eq!(judged(&[*class], true, true).identical, by_one != [false, false], "{class:?}");
        }
        let allowed = |class, behind, expired| judged(&[class], behind, expired).identical;
        assert!(
            allowed(FindingKind::NotYetReplicated, true, false) && allowed(FindingKind::OpenTransaction, true, false)
        );
        assert!(
            allowed(FindingKind::ExpiredOnTarget, false, true) && allowed(FindingKind::ExpiredOnSource, false, true)
        );
        for never in [FindingKind::Parked, FindingKind::Foreign, FindingKind::PerhapsCompacted] {
            assert!(!allowed(never, true, true), "{never:?}");
        }
        assert!(!judged(&[FindingKind::NotYetReplicated, FindingKind::ExpiredOnTarget], true, false).identical);
    }

    #[test]
    fn a_sample_is_never_simply_identical_and_unread_is_never_identical() {
        let mut report = VerifyReport { sample_seed: Some(1), ..VerifyReport::default() };
        report.allow(false, false);
        assert_eq!((report.outcome, report.identical), (VerifyOutcome::IdenticalInASample, true));
        let error = Error::new(ErrorKind::Broker, "nothing came");
        report.unread.push(Unread { topic: "orders".to_owned(), partition: Some(2), offset: Some(7), error });
        report.allow(true, true);
        assert_eq!((report.outcome, report.identical), (VerifyOutcome::Incomplete, false));
        let error = report.error().expect("it is no success");
        assert_eq!((error.kind().exit_code(), error.partition(), error.offset()), (6, Some(2), Some(7)));
        assert!(error.message().contains("nothing came"), "{error}");
        report.counts.missing = 1;
        report.allow(true, true);
        assert_eq!(report.outcome, VerifyOutcome::Different);
    }

    #[test]
    fn the_manual_has_every_class_and_every_field() {
        let manual = include_str!("../manual/verify.md");
        let mut report = VerifyReport { outcome: VerifyOutcome::Different, ..VerifyReport::default() };
        report.findings.push(finding(FindingKind::Parked));
        let document = serde_json::to_value(&report).expect("it is JSON");
        let names =
            |value: &serde_json::Value| value.as_object().map(|it| it.keys().cloned().collect()).unwrap_or_default();
        let classes: Vec<String> = names(&document["counts"]);
        assert!(classes.len() > FindingKind::ALL.len(), "{classes:?}");
        for class in classes {
            assert!(manual.contains(&format!("| `{class}` |")), "{class}");
        }
        let fields: Vec<String> = names(&document);
        for field in fields.into_iter().filter(|field| field != "outcome").chain(names(&document["findings"][0])) {
            let places = ["`result.", "`."].map(|before| format!("{before}{field}"));
            assert!(
                places.iter().any(|place| manual.contains(place)) || manual.contains(&format!("`{field}`")),
                "{field}"
            );
        }
    }

    #[test]
    fn a_parked_partition_is_not_merely_behind() {
        let mut report = judged(&[FindingKind::NotYetReplicated], true, false);
        report.counts.not_yet_replicated = 10;
        report.park(|topic, partition| (topic == "orders" && partition == 1).then(|| "it was refused".to_owned()));
        assert_eq!((report.counts.not_yet_replicated, report.counts.parked), (0, 10));
        assert_eq!(report.outcome, VerifyOutcome::Incomplete);
        assert!(report.error().is_some_and(|error| error.message().contains("it was refused")));
    }
}
