//! What a verification found: counts of each class, the first differences, what was looked at.
//!
//! Real differences are listed; what has an explanation (expired, compacted, not yet replicated) is counted only.

use std::fmt;

use serde::Serialize;

use crate::error::{Error, ErrorKind};

/// What a verification found.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Whether consumers read the same from both sides, as far as both sides have it. What is not yet replicated, has
    /// expired on one side or was compacted there makes no difference; what could not be read does.
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
    /// What could not be compared, and why.
    pub unread: Vec<Unread>,
    /// The seed of the random stretches, if only a sample was compared.
    pub sample_seed: Option<u64>,
    /// Each partition, with the offsets between which it was compared.
    pub details: Vec<VerifiedPartition>,
}

/// How many of each class a verification found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifyCounts {
    /// Records that the source has and the target, whose log goes on beyond them, has not. A real difference.
    pub missing: u64,
    /// Records that the target has and the source has not. A real difference.
    pub extra: u64,
    /// Records with the same offset and different content. A real difference.
    pub different: u64,
    /// Partitions that the target does not have. A real difference.
    pub missing_partitions: u64,
    /// Offsets of the target beyond the end of the source's log. A real difference.
    pub beyond_source_end: u64,
    /// Records that compaction has removed on one side: a later record with the key was found, or it was a tombstone.
    pub compacted: u64,
    /// Records of compacted topics that are on one side only, where no later record with the key was found in what was
    /// read: in a sample, or where too many of them had to be remembered.
    pub perhaps_compacted: u64,
    /// Offsets before the source's log start that the target still has.
    pub expired_on_source: u64,
    /// Offsets of the source before the target's log start.
    pub expired_on_target: u64,
    /// Offsets that the target does not have yet.
    pub not_yet_replicated: u64,
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
    /// `key`, `value`, `headers` or `timestamp`.
    pub field: &'static str,
    /// What the source has, in short: never the content.
    pub source: String,
    /// What the target has.
    pub target: String,
}

/// A topic or partition that could not be compared.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Unread {
    /// The topic.
    pub topic: String,
    /// The partition; `None` for the whole topic.
    pub partition: Option<i32>,
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
    /// Where the source ended for consumers when the verification began.
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
    /// Whether consumers read the same from both sides, see [`identical`](Self::identical).
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

    /// What is wrong, as an error with the place of the first difference; `None` if both sides are identical.
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
        // A damaged batch is no matter of reaching a broker: it counts before others.
        let damaged = self.unread.iter().find(|unread| unread.error.kind() == ErrorKind::VerificationFailed);
        let first = damaged.or(self.unread.first())?;
        let count = self.unread.len();
        let error = first.error.clone();
        Some(match count {
            1 => error,
            _ => error.context(format!("{count} topics or partitions could not be compared, the first of them")),
        })
    }
}

impl VerifyCounts {
    /// How many of the classes that make a real difference.
    pub fn real(&self) -> u64 {
        self.missing + self.extra + self.different + self.missing_partitions + self.beyond_source_end
    }

    pub(super) fn add(&mut self, other: &VerifyCounts) {
        self.missing += other.missing;
        self.extra += other.extra;
        self.different += other.different;
        self.missing_partitions += other.missing_partitions;
        self.beyond_source_end += other.beyond_source_end;
        self.compacted += other.compacted;
        self.perhaps_compacted += other.perhaps_compacted;
        self.expired_on_source += other.expired_on_source;
        self.expired_on_target += other.expired_on_target;
        self.not_yet_replicated += other.not_yet_replicated;
    }
}

/// The classes that are not empty, as `2 missing, 1 different`.
impl fmt::Display for VerifyCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            (self.missing_partitions, "partitions missing on the target"),
            (self.missing, "missing on the target"),
            (self.extra, "only on the target"),
            (self.different, "different"),
            (self.beyond_source_end, "beyond the source's end"),
            (self.compacted, "compacted on one side"),
            (self.perhaps_compacted, "perhaps compacted on one side"),
            (self.expired_on_source, "expired on the source"),
            (self.expired_on_target, "expired on the target"),
            (self.not_yet_replicated, "not yet replicated"),
        ];
        let mut separator = "";
        for (count, what) in all.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{separator}{count} {what}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// One line, without the content of records.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{} ", self.topic, self.partition)?;
        let offsets = match self.last_offset - self.offset {
            0 => format!("offset {}", self.offset),
            _ => format!("offsets {} to {}", self.offset, self.last_offset),
        };
        match self.kind {
            DifferenceKind::Missing => write!(f, "{offsets}: missing on the target"),
            DifferenceKind::Extra => write!(f, "{offsets}: only on the target"),
            DifferenceKind::MissingPartition => write!(f, "is missing on the target"),
            DifferenceKind::BeyondSourceEnd => {
                write!(f, "{offsets}: the source's log ends before, at {}", self.offset)
            }
            DifferenceKind::Different => {
                write!(f, "{offsets}: different")?;
                let mut separator = ": ";
                for FieldDifference { field, source, target } in &self.fields {
                    write!(f, "{separator}{field} (source {source}, target {target})")?;
                    separator = "; ";
                }
                Ok(())
            }
        }
    }
}
