//! The classes of what a verification finds, each with its count and the words for it: the one table from which counting, adding up,
//! telling and judging follow.

use std::fmt;

use serde::Serialize;

use super::report::{Difference, DifferenceKind, FieldDifference, Finding};

macro_rules! classes {
    (
        different: { $($(#[$doc:meta])* $real:ident, $real_words:literal;)* }
        explained: { $($(#[$explained_doc:meta])* $explained:ident, $explained_words:literal;)* }
        findings: { $($(#[$finding_doc:meta])* $class:ident = $count:ident, $words:literal, allowed: $allowed:ident, $help:literal;)* }
    ) => {
        /// How many of each class a verification found.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        #[non_exhaustive]
        pub struct VerifyCounts {
            $($(#[$doc])* #[doc = "A real difference."] pub $real: u64,)*
            $($(#[$explained_doc])* pub $explained: u64,)*
            $($(#[$finding_doc])* pub $count: u64,)*
        }

        /// Why something is not proved to be equal, though no difference was seen.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum FindingKind { $($(#[$finding_doc])* $class,)* }

        impl FindingKind {
            /// Every class.
            pub const ALL: &'static [FindingKind] = &[$(FindingKind::$class,)*];

            /// The name, in snake_case.
            pub fn name(self) -> &'static str { match self { $(FindingKind::$class => stringify!($count),)* } }

            /// What to do about it.
            pub fn help(self) -> &'static str { match self { $(FindingKind::$class => $help,)* } }

            /// What it is, in few words.
            pub fn words(self) -> &'static str { match self { $(FindingKind::$class => $words,)* } }

            fn allowed_by(self) -> AllowedBy { match self { $(FindingKind::$class => AllowedBy::$allowed,)* } }
        }

        impl VerifyCounts {
            /// How many of the classes that make a real difference.
            pub fn real(&self) -> u64 { 0 $(+ self.$real)* }

            pub(super) fn add(&mut self, other: &VerifyCounts) {
                $(self.$real += other.$real;)*
                $(self.$explained += other.$explained;)*
                $(self.$count += other.$count;)*
            }

            /// The count of a class.
            pub(super) fn of(&mut self, class: FindingKind) -> &mut u64 {
                match class { $(FindingKind::$class => &mut self.$count,)* }
            }

            fn all(&self) -> Vec<(u64, &'static str)> {
                vec![
                    $((self.$real, $real_words),)*
                    $((self.$explained, $explained_words),)*
                    $((self.$count, $words),)*
                ]
            }
        }
    };
}

/// What has to be allowed that a class does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AllowedBy {
    Behind,
    Expired,
    Nothing,
}

classes! {
    different: {
        /// Partitions that the target does not have.
        missing_partitions, "partitions missing on the target";
        /// Records that the source has and the target, whose log goes on beyond them, has not.
        missing, "missing on the target";
        /// Records that the target has and the source has not.
        extra, "only on the target";
        /// Records of the source that are on the target once more, written by others than the mirror, where offsets are translated.
        repeated, "on the target once more";
        /// Records with the same offset and different content.
        different, "different";
        /// Offsets of the target beyond the end of the source's log.
        beyond_source_end, "beyond the source's end";
    }
    explained: {
        /// Records that compaction has removed on one side: a later record with the key was found, or it was a tombstone and all
        /// earlier records of its key are gone there, too. They make no difference.
        compacted, "compacted on one side";
        /// Records of the source that are not compared because they had come from the target: with `offsets=translate`, where another
        /// mirror copies the other way. They make no difference.
        left_out_as_echo, "left out because they came from the target";
    }
    findings: {
        /// Records of compacted topics that are on one side only, of which it could not be found out whether compaction has removed
        /// them.
        PerhapsCompacted = perhaps_compacted, "perhaps compacted on one side", allowed: Nothing,
            "verify without a sample, with more keys at a time (--max-keys)";
        /// Offsets before the source's log start that the target still has.
        ExpiredOnSource = expired_on_source, "expired on the source", allowed: Expired,
            "if the source's retention has removed them, --allow-expired accepts it";
        /// Records before the source's log start that the target has, and that this mirror did not write.
        Foreign = foreign, "written by others, before the source's first offset", allowed: Nothing,
            "find out who wrote them: the source has no such records, and consumers of the target read them";
        /// Offsets of the source before the target's log start.
        ExpiredOnTarget = expired_on_target, "expired on the target", allowed: Expired,
            "compare the retention of both topics, and see whether 'start' has left them out; --allow-expired accepts it";
        /// Offsets that the target does not have yet.
        NotYetReplicated = not_yet_replicated, "not yet replicated", allowed: Behind,
            "see that the mirror runs, wait longer (--wait), or accept it (--allow-behind)";
        /// Offsets that the target does not have because the mirror has parked the partition.
        Parked = parked, "not replicated, as the partition is parked", allowed: Nothing,
            "see to the reason, and verify again";
        /// Offsets of the source behind an open transaction: nobody who reads committed sees them yet.
        OpenTransaction = open_transaction, "behind an open transaction of the source", allowed: Behind,
            "wait until it has ended (--wait), or accept it (--allow-behind)";
        /// Records that others have written to the target, where offsets are translated, and that were too many to be compared with those
        /// of the source: some may be second copies.
        PerhapsRepeated = perhaps_repeated, "written by others, and not compared with the source's", allowed: Nothing,
            "verify with more of them at a time (--max-keys)";
        /// Offsets that were not looked at, because the sample that was asked for is empty.
        NotLookedAt = not_looked_at, "not looked at", allowed: Nothing,
            "verify with a larger sample, or all of it";
    }
}

impl FindingKind {
    /// Whether it is no matter if the target may be behind.
    pub(super) fn is_about_being_behind(self) -> bool {
        self.allowed_by() == AllowedBy::Behind
    }

    /// Whether it is no matter if records may have expired.
    pub(super) fn is_about_expiry(self) -> bool {
        self.allowed_by() == AllowedBy::Expired
    }
}

/// The classes that are not empty, as `2 missing, 1 different`.
impl fmt::Display for VerifyCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (count, what) in self.all().into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{separator}{count} {what}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// `orders-0 offsets 3 to 7`.
fn place(f: &mut fmt::Formatter<'_>, topic: &str, partition: i32, first: i64, last: i64) -> fmt::Result {
    match last > first {
        false => write!(f, "{topic}-{partition} offset {first}"),
        true => write!(f, "{topic}-{partition} offsets {first} to {last}"),
    }
}

/// One line, without what to do.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, &self.topic, self.partition, self.offset, self.last_offset)?;
        write!(f, ": {}", self.kind.words())?;
        if self.count != (self.last_offset - self.offset + 1) as u64 {
            write!(f, " ({} of them)", self.count)?;
        }
        self.reason.iter().try_for_each(|reason| write!(f, ": {reason}"))
    }
}

/// One line, without the content of records.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == DifferenceKind::MissingPartition {
            return write!(f, "{}-{} is missing on the target", self.topic, self.partition);
        }
        place(f, &self.topic, self.partition, self.offset, self.last_offset)?;
        match self.kind {
            DifferenceKind::Missing => f.write_str(": missing on the target"),
            DifferenceKind::Extra => f.write_str(": only on the target"),
            DifferenceKind::Repeated => f.write_str(": on the target once more, written by others than the mirror"),
            DifferenceKind::BeyondSourceEnd => write!(f, ": the source's log ends before, at {}", self.offset),
            DifferenceKind::MissingPartition => Ok(()),
            DifferenceKind::Different => {
                f.write_str(": different")?;
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
