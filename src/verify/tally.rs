//! Counts what the comparison of one partition finds, and keeps the first differences.
//! Differences of the same kind in a row are one entry, so that a million lost records do not need a million.

use super::classes::FindingKind;
use super::records::Record;
use super::report::{Difference, DifferenceKind, FieldDifference, Finding, VerifyCounts};

/// What was found in one partition so far.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Records that were on both sides.
    pub records_compared: u64,
    /// Bytes of the source's batches.
    pub bytes_compared: u64,
    /// Of those, in batches that were opened.
    pub bytes_decoded: u64,
    /// How many of each class.
    pub counts: VerifyCounts,
    /// The first differences; topic and partition are filled in by who knows them.
    pub differences: Vec<Difference>,
    /// Whether there were more than are kept.
    pub more: bool,
    /// What is not proved to be equal, one for each class; topic and partition are filled in, too.
    pub findings: Vec<Finding>,
    limit: usize,
    /// Whether the last record that was looked at belongs to the last difference.
    in_row: bool,
}

impl Tally {
    /// Keeps so many differences.
    pub fn new(limit: usize) -> Self {
        Tally { limit, ..Tally::default() }
    }

    /// What a progress display shows: records, bytes, real differences.
    pub fn shown(&self) -> [u64; 3] {
        [self.records_compared, self.bytes_compared, self.counts.real()]
    }

    /// So many records are the same.
    pub fn same(&mut self, records: u64) {
        self.records_compared += records;
        self.in_row &= records == 0;
    }

    /// A record that only one side has, or that one has twice.
    pub fn lonely(&mut self, kind: DifferenceKind, offset: i64) {
        match kind {
            DifferenceKind::Extra => self.counts.extra += 1,
            DifferenceKind::Repeated => self.counts.repeated += 1,
            _ => self.counts.missing += 1,
        }
        let in_row = std::mem::replace(&mut self.in_row, true);
        match self.differences.last_mut() {
            Some(last) if in_row && last.kind == kind && !self.more => {
                last.last_offset = offset;
                last.records += 1;
            }
            _ => self.keep(kind, offset, offset, 1, Vec::new()),
        }
    }

    /// A lonely record that has an explanation.
    pub fn explained(&mut self) {
        self.in_row = false;
    }

    /// So many offsets or records, from the first to before the last, are not proved to be equal.
    pub fn found(&mut self, kind: FindingKind, from: i64, to: i64, count: u64) {
        if count == 0 {
            return;
        }
        *self.counts.of(kind) += count;
        let last_offset = to.saturating_sub(1).max(from);
        match self.findings.iter_mut().find(|finding| finding.kind == kind) {
            Some(finding) => {
                finding.offset = finding.offset.min(from);
                finding.last_offset = finding.last_offset.max(last_offset);
                finding.count += count;
            }
            None => {
                let (topic, partition, offset) = (String::new(), 0, from);
                let (allowed, reason) = (false, None);
                self.findings.push(Finding { kind, topic, partition, offset, last_offset, count, allowed, reason });
            }
        }
    }

    /// As [`found`](Self::found), for all offsets between.
    pub fn found_between(&mut self, kind: FindingKind, from: i64, to: i64) {
        self.found(kind, from, to, to.saturating_sub(from).max(0) as u64);
    }

    /// Records with the same offset.
    pub fn compare(&mut self, source: &Record<'_>, target: &Record<'_>) {
        let fields = differing_fields(source, target);
        self.same(1);
        if !fields.is_empty() {
            self.counts.different += 1;
            self.keep(DifferenceKind::Different, source.offset, source.offset, 1, fields);
        }
    }

    /// Offsets of the target beyond the source's end.
    pub fn beyond_source_end(&mut self, from: i64, to: i64) {
        let offsets = to.saturating_sub(from).max(0) as u64;
        self.counts.beyond_source_end += offsets;
        self.keep(DifferenceKind::BeyondSourceEnd, from, to - 1, offsets, Vec::new());
    }

    /// The target does not have the partition.
    pub fn missing_partition(&mut self, from: i64, to: i64) {
        self.counts.missing_partitions += 1;
        let records = to.saturating_sub(from).max(0) as u64;
        self.keep(DifferenceKind::MissingPartition, from, (to - 1).max(from), records, Vec::new());
    }

    fn keep(
        &mut self,
        kind: DifferenceKind,
        offset: i64,
        last_offset: i64,
        records: u64,
        fields: Vec<FieldDifference>,
    ) {
        if self.differences.len() >= self.limit {
            self.more = true;
            return;
        }
        let (topic, partition) = (String::new(), 0);
        self.differences.push(Difference { topic, partition, kind, offset, last_offset, records, fields });
    }
}

fn differing_fields(source: &Record<'_>, target: &Record<'_>) -> Vec<FieldDifference> {
    let mut fields = Vec::new();
    let mut differs = |field, source: String, target: String| fields.push(FieldDifference { field, source, target });
    if source.timestamp != target.timestamp {
        differs("timestamp", source.timestamp.to_string(), target.timestamp.to_string());
    }
    // A broker that stamps has replaced the producer's time, even if it is the same millisecond. The other way round is no
    // difference: nobody but a broker can write its own time, so the copy of one is a producer's.
    if target.has_append_time && !source.has_append_time {
        differs("timestamp_type", "CreateTime".to_owned(), "LogAppendTime".to_owned());
    }
    for (field, source, target) in [("key", source.key, target.key), ("value", source.value, target.value)] {
        if source != target {
            differs(field, sized(source), sized(target) + &first_other(source, target));
        }
    }
    if !source.headers.is_same(&target.headers) {
        let [from, to] = [source.headers.count, target.headers.count];
        let others = if from == to { ", others or in another order" } else { "" };
        differs("headers", counted(from), counted(to) + others);
    }
    fields
}

fn counted(headers: usize) -> String {
    format!("{headers} header{}", if headers == 1 { "" } else { "s" })
}

/// Where two of the same length begin to differ: their lengths alone would tell nothing.
fn first_other(source: Option<&[u8]>, target: Option<&[u8]>) -> String {
    match (source, target) {
        (Some(source), Some(target)) if source.len() == target.len() => {
            let at = source.iter().zip(target).take_while(|(source, target)| source == target).count();
            format!(", others from byte {at}")
        }
        _ => String::new(),
    }
}

fn sized(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "null".to_owned(),
        Some([_]) => "1 byte".to_owned(),
        Some(bytes) => format!("{} bytes", bytes.len()),
    }
}
