//! The one table of error kinds, and the error that reaches the user.
//!
//! A kind is *a different thing a caller would do*, not a place in the code. Its number is stable for ever: the C
//! header, the Python exceptions and the exit codes are derived from [`ErrorKind`], and a test compares the table with
//! an append-only list. The sentence of an [`Error`] says what happened, where, and what to do; it never
//! carries the value of a configuration key, because that may be a secret.

use std::fmt;

use crate::text;

macro_rules! error_kinds {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, retriable: $retriable:literal, fatal: $fatal:literal,
       exit: $exit:literal, $help:literal;)*) => {
        /// What kind of trouble an [`Error`] is: one kind for each different thing a caller would do about it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(i32)]
        pub enum ErrorKind { $($(#[$doc])* $variant = $number,)* }

        impl ErrorKind {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$variant,)*];

            /// The stable number, also the value of `kmirror_error_code` in C. Never 0, which means success.
            pub fn code(self) -> i32 { self as i32 }

            /// The stable name in snake_case.
            pub fn name(self) -> &'static str { match self { $(ErrorKind::$variant => $name,)* } }

            /// Whether the same call may succeed later without anybody changing anything.
            pub fn is_retriable(self) -> bool { match self { $(ErrorKind::$variant => $retriable,)* } }

            /// Whether the mirror (or, for errors of one partition, that partition) cannot go on.
            pub fn is_fatal(self) -> bool { match self { $(ErrorKind::$variant => $fatal,)* } }

            /// The exit code with which the command line ends because of it.
            pub fn exit_code(self) -> u8 { match self { $(ErrorKind::$variant => $exit,)* } }

            /// One line on what it means and what to do.
            pub fn help(self) -> &'static str { match self { $(ErrorKind::$variant => $help,)* } }
        }
    };
}

error_kinds! {
    /// A bug in kmirror.
    Internal = 1, "internal", retriable: false, fatal: true, exit: 1,
        "a bug in kmirror: please report it with the log";
    /// The configuration, or a combination of source, target and topics, cannot work.
    Config = 2, "config", retriable: false, fatal: true, exit: 2,
        "the configuration cannot work: every problem is listed, with the nearest known key";
    /// A cluster or a broker cannot be reached, or what answers is not Kafka.
    Connect = 3, "connect", retriable: true, fatal: false, exit: 3,
        "a cluster cannot be reached: check bootstrap.servers, the advertised listeners and the network";
    /// The cluster does not accept who we are.
    Authentication = 4, "authentication", retriable: false, fatal: true, exit: 3,
        "the cluster refused the credentials: check security.protocol and the sasl. and ssl. keys";
    /// The cluster does not allow what we need.
    Authorization = 5, "authorization", retriable: true, fatal: false, exit: 4,
        "a permission is missing: the message names the resource and the operation to allow";
    /// A topic cannot be mirrored as it is: wrong number of partitions, cannot be created, or refused by a policy.
    Topic = 6, "topic", retriable: true, fatal: false, exit: 5,
        "this topic cannot be mirrored as it is; the others go on";
    /// Records of the source were removed before they were replicated, or the source was cut back.
    DataLoss = 7, "data_loss", retriable: false, fatal: true, exit: 5,
        "source records are gone before they were replicated: on.data.loss decides what happens";
    /// The source topic was deleted and created again.
    TopicReset = 8, "topic_reset", retriable: false, fatal: true, exit: 5,
        "the source topic is not the one that was mirrored: on.topic.reset decides what happens";
    /// The target partition holds something the mirror did not write there.
    TargetConflict = 9, "target_conflict", retriable: false, fatal: true, exit: 5,
        "the target partition has data from elsewhere: mirror to an empty topic, or remove the other writer";
    /// The source log has offsets without a record, and they cannot be reproduced on the target.
    OffsetGap = 10, "offset_gap", retriable: false, fatal: true, exit: 5,
        "offsets without a record at the source cannot be reproduced on this target";
    /// The target refuses a record, or the mirror cannot pass it on unchanged.
    RecordRefused = 11, "record_refused", retriable: false, fatal: true, exit: 5,
        "the target does not take this record: on.record.refused decides what happens";
    /// Another owner of this mirror has taken over.
    Fenced = 12, "fenced", retriable: false, fatal: true, exit: 5,
        "another process runs the mirror of this name: stop one of them";
    /// A broker is too old, or not Kafka enough, for what is asked.
    Unsupported = 13, "unsupported", retriable: false, fatal: true, exit: 2,
        "the broker does not offer a request that is needed";
    /// A source and a target differ, or are not proved to be equal.
    VerificationFailed = 14, "verification_failed", retriable: false, fatal: false, exit: 6,
        "source and target differ, or are not proved to be equal: the report says where";
    /// Something did not happen in the time given.
    TimedOut = 15, "timed_out", retriable: true, fatal: false, exit: 7,
        "it did not happen in the time given; it may still happen";
    /// The call does not fit the state the mirror is in.
    State = 16, "state", retriable: false, fatal: false, exit: 1,
        "the call does not fit the state of the mirror, for example because it was stopped";
    /// A broker answers with an error that is expected to pass.
    Broker = 17, "broker", retriable: true, fatal: false, exit: 3,
        "a broker answers with an error that usually passes: it is retried";
    /// Source and target do not hold the same record at the same offset.
    Diverged = 18, "diverged", retriable: false, fatal: true, exit: 5,
        "source and target hold different records at the same offset: compare them with kmirror verify";
    /// The mirror was started by another process, of which this one is a fork.
    Forked = 19, "forked", retriable: false, fatal: true, exit: 1,
        "the mirror belongs to the process this one was forked from: start one in the process that uses it";
}

/// An error as it reaches the user: a sentence, a [kind](ErrorKind), and the place where it happened.
///
/// ```
/// use kmirror::{Error, ErrorKind};
/// let error = Error::new(ErrorKind::Topic, "topic 'orders' has 3 partitions on the target and 5 on the source")
///     .with_topic("orders");
/// assert_eq!(error.kind().exit_code(), 5);
/// assert_eq!(error.topic(), Some("orders"));
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    kafka_code: Option<i16>,
    topic: Option<String>,
    partition: Option<i32>,
    offset: Option<i64>,
}

/// The result of a kmirror call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of a kind, with the sentence for the user. What names and brokers' texts in it could do to a terminal or a log
    /// is escaped, and a very long one is cut; only the lists of [`ErrorKind::Config`] have several lines.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            kind,
            message: text::sentence(message.into(), kind == ErrorKind::Config),
            kafka_code: None,
            topic: None,
            partition: None,
            offset: None,
        }))
    }

    /// The error of a thread that could not be started, and what it was for: names the limit and its number.
    #[must_use]
    pub fn no_thread(what: &str, error: &std::io::Error) -> Self {
        crate::limits::no_thread(what, error)
    }

    /// Adds the topic it is about.
    #[must_use]
    pub fn with_topic(mut self, topic: impl Into<String>) -> Self {
        self.0.topic = Some(topic.into());
        self
    }

    /// Adds the partition it is about.
    #[must_use]
    pub fn with_partition(mut self, topic: impl Into<String>, partition: i32) -> Self {
        self.0.topic = Some(topic.into());
        self.0.partition = Some(partition);
        self
    }

    /// Adds the source offset it is about.
    #[must_use]
    pub fn with_offset(mut self, source_offset: i64) -> Self {
        self.0.offset = Some(source_offset);
        self
    }

    /// Adds the error code a broker answered with, see
    /// <https://kafka.apache.org/protocol#protocol_error_codes>; 0 is none.
    #[must_use]
    pub fn with_kafka_code(mut self, kafka_code: i16) -> Self {
        self.0.kafka_code = Some(kafka_code).filter(|code| *code != 0);
        self
    }

    /// Puts words before the sentence, to say what was being done.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        let message = format!("{what}: {}", self.0.message);
        self.0.message = text::sentence(message, self.0.kind == ErrorKind::Config);
        self
    }

    /// What kind of trouble it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether it may pass without anybody changing anything.
    pub fn is_retriable(&self) -> bool {
        self.0.kind.is_retriable()
    }

    /// Whether the mirror, or the partition it is about, cannot go on.
    pub fn is_fatal(&self) -> bool {
        self.0.kind.is_fatal()
    }

    /// The broker's error code, if a broker's answer is the cause.
    pub fn kafka_code(&self) -> Option<i16> {
        self.0.kafka_code
    }

    /// The topic it is about, if it is about one.
    pub fn topic(&self) -> Option<&str> {
        self.0.topic.as_deref()
    }

    /// The partition it is about, if it is about one.
    pub fn partition(&self) -> Option<i32> {
        self.0.partition
    }

    /// The source offset it is about, if it is about one.
    pub fn offset(&self) -> Option<i64> {
        self.0.offset
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind.name(), self.0.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sentence_is_two_lines_or_moves_the_cursor() {
        let evil = "a\n2026-01-01T00:00:00Z ERROR forged\u{1b}[2J";
        let error =
            Error::new(ErrorKind::Broker, format!("the source refuses: {evil}")).context(format!("group '{evil}'"));
        assert!(!error.message().chars().any(text::is_obeyed), "{error}");
        assert!(error.message().contains(r"a\n2026-01-01T00:00:00Z ERROR forged\u{1b}[2J"), "{error}");
        let list = Error::new(ErrorKind::Config, "two problems:\n  one\n  two\u{1b}");
        assert_eq!(list.message(), "two problems:\n  one\n  two\\u{1b}");
    }

    #[test]
    fn numbers_and_names_are_unique_and_never_success() {
        let mut codes: Vec<_> = ErrorKind::ALL.iter().map(|kind| kind.code()).collect();
        let mut names: Vec<_> = ErrorKind::ALL.iter().map(|kind| kind.name()).collect();
        codes.sort_unstable();
        codes.dedup();
        names.sort_unstable();
        names.dedup();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
        assert_eq!(names.len(), ErrorKind::ALL.len());
        assert!(codes.iter().all(|code| *code > 0));
    }
}
