//! The one table of broker error codes: what each means for a mirror, and why.
//!
//! Codes and names: <https://kafka.apache.org/protocol#protocol_error_codes>. What is not listed is not expected here and is
//! retried slowly, with its number in the message.

/// What to do about a broker's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The leader is elsewhere or unknown: refresh the metadata, then read the position again and go on there.
    Leader,
    /// It passes by itself: wait, read the position again and go on.
    Wait,
    /// What we believed of the target's log is wrong: read the position again at once.
    Position,
    /// The payload did not arrive as it was produced: fetch it again.
    Corrupt,
    /// The target will never take this batch as it is.
    Refused,
    /// The target takes no batch of this size; smaller ones it may take.
    TooLarge,
    /// A newer owner of the mirror's identity has written.
    Fenced,
    /// A permission is missing; it may be granted while we wait.
    Unauthorized,
    /// The credentials are wrong.
    Unauthenticated,
    /// The offset is not, or no longer, in the source's log.
    OutOfRange,
    /// The fetch session is gone: start a new one.
    Session,
    /// The topic of this id is gone, or the broker has not heard of it yet: wait until the metadata shows it.
    Topic,
    /// The request cannot work with this broker.
    Unsupported,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerError {
    /// The code on the wire.
    pub code: i16,
    /// Its name in the protocol.
    pub name: &'static str,
    /// What to do.
    pub class: Class,
    /// Why that is right.
    pub reason: &'static str,
}

use Class::*;

/// Every code a mirror has an opinion on, by number.
#[rustfmt::skip]
pub const TABLE: &[BrokerError] = &[
    row(BrokerError::UNKNOWN_SERVER_ERROR, "UNKNOWN_SERVER_ERROR", Wait, "the broker failed inside; whether the batch landed is read from its log"),
    row(1, "OFFSET_OUT_OF_RANGE", OutOfRange, "retention or a truncation passed the position; compare with both ends of the source's log"),
    row(2, "CORRUPT_MESSAGE", Corrupt, "the checksum is carried from the original producer: a mismatch is damage on the way, and the source has the original"),
    BrokerError::UNKNOWN_PARTITION,
    row(5, "LEADER_NOT_AVAILABLE", Leader, "an election is going on"),
    row(6, "NOT_LEADER_OR_FOLLOWER", Leader, "the leader moved; nothing was appended"),
    row(7, "REQUEST_TIMED_OUT", Wait, "appended by the leader but not replicated in time: the log tells whether it stayed"),
    row(8, "BROKER_NOT_AVAILABLE", Leader, "the broker is shutting down"),
    row(9, "REPLICA_NOT_AVAILABLE", Leader, "the replica is being moved"),
    row(10, "MESSAGE_TOO_LARGE", TooLarge, "the batch is larger than the topic's max.message.bytes on the target"),
    row(12, "OFFSET_METADATA_TOO_LARGE", Refused, "the text beside a committed offset is longer than offset.metadata.max.bytes of the target"),
    row(13, "NETWORK_EXCEPTION", Leader, "the broker lost a connection of its own"),
    row(14, "COORDINATOR_LOAD_IN_PROGRESS", Wait, "a coordinator that has just moved reads its log first"),
    row(15, "COORDINATOR_NOT_AVAILABLE", Wait, "the coordinator's topic is being created or has no leader"),
    row(16, "NOT_COORDINATOR", Wait, "the coordinator moved"),
    row(17, "INVALID_TOPIC_EXCEPTION", Refused, "the name is not legal there"),
    row(18, "RECORD_LIST_TOO_LARGE", TooLarge, "the batch is larger than the topic's segment.bytes on the target"),
    row(19, "NOT_ENOUGH_REPLICAS", Wait, "fewer replicas in sync than min.insync.replicas; nothing was appended"),
    row(20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Wait, "appended by the leader alone: the log tells whether it stayed"),
    row(22, "ILLEGAL_GENERATION", Wait, "the group has members; only they commit its offsets"),
    row(23, "INCONSISTENT_GROUP_PROTOCOL", Refused, "the group is of another type than one that commits offsets like this"),
    row(24, "INVALID_GROUP_ID", Refused, "the name of the group is not legal there"),
    row(25, "UNKNOWN_MEMBER_ID", Wait, "the group has members; only they commit its offsets"),
    row(27, "REBALANCE_IN_PROGRESS", Wait, "the group has members; only they commit its offsets"),
    row(28, "INVALID_COMMIT_OFFSET_SIZE", Refused, "the coordinator cannot write so large a commit"),
    row(29, "TOPIC_AUTHORIZATION_FAILED", Unauthorized, "an ACL on the topic is missing; asked again slowly so that a grant takes effect"),
    row(30, "GROUP_AUTHORIZATION_FAILED", Unauthorized, "an ACL on the group is missing; asked again with every refresh so that a grant takes effect"),
    row(31, "CLUSTER_AUTHORIZATION_FAILED", Unauthorized, "an ACL on the cluster is missing; asked again slowly so that a grant takes effect"),
    row(32, "INVALID_TIMESTAMP", Refused, "the record's time is outside message.timestamp.before.max.ms and .after.max.ms of the target's topic"),
    row(33, "UNSUPPORTED_SASL_MECHANISM", Unauthenticated, "the broker does not offer the mechanism"),
    row(34, "ILLEGAL_SASL_STATE", Unauthenticated, "the broker wants authentication first"),
    row(35, "UNSUPPORTED_VERSION", Unsupported, "the versions negotiated on this connection do not fit the request"),
    row(36, "TOPIC_ALREADY_EXISTS", Leader, "someone created it first: look at it again"),
    row(37, "INVALID_PARTITIONS", Refused, "the number of partitions is not legal there"),
    row(38, "INVALID_REPLICATION_FACTOR", Refused, "the target has fewer brokers than the replication factor asks"),
    row(40, "INVALID_CONFIG", Refused, "the target does not know a configuration of the topic, or not its value: topic.configs.override sets another, topic.configs.exclude leaves it out"),
    row(41, "NOT_CONTROLLER", Leader, "the controller moved"),
    row(42, "INVALID_REQUEST", Unsupported, "the broker does not accept the request as it is"),
    row(44, "POLICY_VIOLATION", Refused, "a policy of the target forbids it"),
    row(45, "OUT_OF_ORDER_SEQUENCE_NUMBER", Position, "an earlier batch is missing or another process of this mirror wrote; nothing was appended"),
    row(46, "DUPLICATE_SEQUENCE_NUMBER", Position, "it landed before; the log end tells how far"),
    row(47, "INVALID_PRODUCER_EPOCH", Fenced, "a newer owner raised the epoch; nothing was appended"),
    row(48, "INVALID_TXN_STATE", Position, "the transaction was ended by somebody else; the log tells how"),
    row(49, "INVALID_PRODUCER_ID_MAPPING", Position, "the coordinator has given the transactional id another producer id"),
    row(50, "INVALID_TRANSACTION_TIMEOUT", Unsupported, "the cluster does not let a transaction be open for so long"),
    row(51, "CONCURRENT_TRANSACTIONS", Wait, "the transaction before is still being ended"),
    row(52, "TRANSACTION_COORDINATOR_FENCED", Fenced, "a later start of this mirror has written markers; nothing was appended"),
    row(53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Unauthorized, "an ACL on the transactional id is missing; asked again slowly so that a grant takes effect"),
    row(54, "SECURITY_DISABLED", Unsupported, "its brokers have no authorizer, so there are no ACLs"),
    row(56, "KAFKA_STORAGE_ERROR", Leader, "a disk failed or is full; the leader may move"),
    row(58, "SASL_AUTHENTICATION_FAILED", Unauthenticated, "the credentials are wrong"),
    row(59, "UNKNOWN_PRODUCER_ID", Position, "the broker forgot the producer; the log end tells how far it was"),
    row(60, "REASSIGNMENT_IN_PROGRESS", Wait, "partitions of the topic are being moved; ask again when that is over"),
    row(68, "NON_EMPTY_GROUP", Wait, "the group has members; only they commit its offsets"),
    row(69, "GROUP_ID_NOT_FOUND", Refused, "there is no such group of a type that commits offsets"),
    row(70, "FETCH_SESSION_ID_NOT_FOUND", Session, "evicted by the broker to make room, or the broker restarted"),
    row(71, "INVALID_FETCH_SESSION_EPOCH", Session, "an answer was lost"),
    row(72, "LISTENER_NOT_FOUND", Leader, "the leader has no such listener yet"),
    row(74, "FENCED_LEADER_EPOCH", Leader, "our metadata is older than the broker's"),
    row(75, "UNKNOWN_LEADER_EPOCH", Leader, "the broker's metadata is older than ours"),
    row(76, "UNSUPPORTED_COMPRESSION_TYPE", Refused, "the target is too old for the codec of the batch"),
    row(78, "OFFSET_NOT_AVAILABLE", Wait, "a new leader does not know its high watermark yet"),
    row(80, "PREFERRED_LEADER_NOT_AVAILABLE", Wait, "the preferred replica is down"),
    row(84, "ELECTION_NOT_NEEDED", Leader, "the leader is the preferred one already"),
    row(85, "NO_REASSIGNMENT_IN_PROGRESS", Wait, "nothing to change"),
    row(87, "INVALID_RECORD", Refused, "the target's topic does not take such a record, for example one without key where it compacts"),
    row(89, "THROTTLING_QUOTA_EXCEEDED", Wait, "a quota of the target delays it"),
    row(90, "PRODUCER_FENCED", Fenced, "a newer user of the transactional id has come; nothing was appended"),
    row(100, "UNKNOWN_TOPIC_ID", Topic, "the topic was deleted or created again"),
    row(103, "INCONSISTENT_TOPIC_ID", Topic, "the topic was created again"),
    row(106, "FETCH_SESSION_TOPIC_ID_ERROR", Session, "the session mixes names and ids"),
    row(110, "FENCED_MEMBER_EPOCH", Wait, "the group has members; only they commit its offsets"),
    row(113, "STALE_MEMBER_EPOCH", Wait, "the group has members; only they commit its offsets"),
];

const fn row(code: i16, name: &'static str, class: Class, reason: &'static str) -> BrokerError {
    BrokerError { code, name, class, reason }
}

impl BrokerError {
    /// The code of a failure inside the broker.
    pub const UNKNOWN_SERVER_ERROR: i16 = -1;

    /// What a broker means that leaves a partition out of its answer.
    pub const UNKNOWN_PARTITION: BrokerError =
        row(3, "UNKNOWN_TOPIC_OR_PARTITION", Leader, "just created, just deleted, or a broker with old metadata");

    /// No error of a broker: its answer has no records although its log goes on there.
    pub const NO_RECORDS: BrokerError = row(
        0,
        "NO_RECORDS",
        Wait,
        "the answer has no error and no records although the log goes on there; with tiered storage this is so while the remote \
         store takes longer than remote.fetch.max.wait.ms of the broker, or the quota of remote reads is used up",
    );

    /// No error of a broker: its answer ends before there is anything whole in it.
    pub const CUT_OFF: BrokerError = row(0, "CUT_OFF", Wait, "the answer ends before there is anything whole in it");

    /// No error of a broker: it was delayed by a quota, and what was asked for is not in the answer.
    pub const HELD_BACK: BrokerError = row(
        0,
        "HELD_BACK",
        Wait,
        "a quota of the cluster for this client.id or user holds the answer back (consumer_byte_rate, request_percentage)",
    );

    /// No error of a broker: an offset that no log can have.
    pub const NO_OFFSET: BrokerError =
        row(0, "NO_OFFSET", Wait, "the answer has no error and an offset that no log can have");

    /// The row of a code; `None` for 0, which is success.
    pub fn of(code: i16) -> Option<BrokerError> {
        if code == 0 {
            return None;
        }
        let known = TABLE.binary_search_by_key(&code, |row| row.code).ok().map(|at| TABLE[at]);
        Some(known.unwrap_or(BrokerError {
            code,
            name: "unexpected error",
            class: Wait,
            reason: "not expected here: tried again slowly",
        }))
    }
}

impl std::fmt::Display for BrokerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.code {
            0 => f.write_str(self.reason),
            code => write!(f, "{} ({code}): {}", self.name, self.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_named_as_in_the_protocol() {
        assert!(TABLE.windows(2).all(|pair| pair[0].code < pair[1].code));
        for row in TABLE.iter().filter(|row| row.code > 0) {
            let protocol = kafka_protocol::ResponseError::try_from_code(row.code).map(|error| format!("{error:?}"));
            let ours = row.name.replace('_', "").to_lowercase();
            assert_eq!(protocol.map(|name| name.to_lowercase()), Some(ours), "code {}", row.code);
        }
    }

    #[test]
    fn unknown_codes_are_tried_again_and_zero_is_success() {
        assert!(BrokerError::of(0).is_none());
        assert_eq!(BrokerError::of(32_000).map(|row| row.class), Some(Wait));
        assert_eq!(BrokerError::of(45).map(|row| row.class), Some(Position));
    }
}
