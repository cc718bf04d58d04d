//! What the answers consist of that `kafka-protocol` decodes, in all versions it knows, and how long they may be.
//!
//! Only lengths and arrays count here, see [`super::layout`]; names are in Kafka's own definitions. A test makes answers of
//! these descriptions, which the generated decoder has to take and to write again byte by byte: so one that is wrong is found,
//! in whichever version.

use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Decodable;

use super::Decode;
use super::layout::{self, BYTES, Field, Layout, TEXT, list, number, plain, tagged};

/// Answers of a few numbers, or of one entry for each request or broker.
const SHORT: usize = 4 << 20;
/// Answers about what was asked for: some topics, groups, partitions or all ACLs.
const USUAL: usize = 32 << 20;
/// Answers about everything that there is; this is a cluster of some million partitions.
const LONG: usize = 96 << 20;

macro_rules! layouts {
    ($($message:ident: flexible $flexible:literal, $longest:ident [$($field:tt)*])*) => {
        $(impl Decode for $message {
            const LONGEST: usize = $longest;

            fn throttle_time_ms(answer: &[u8], version: i16) -> i32 {
                // Where a message begins with a number of this size, it is the time of KIP-219. Headers are no messages.
                const FIELDS: &[Field] = &[$($field)*];
                match FIELDS.first().is_some_and(|first| first.is_number(4, version)) {
                    true => layout::number_in_front(answer),
                    false => 0,
                }
            }

            fn decode_bounded(answer: &mut Bytes, version: i16) -> Result<Self, String> {
                const LAYOUT: &Layout = &Layout { flexible: $flexible, fields: &[$($field)*] };
                layout::check(LAYOUT, answer, version)?;
                <$message>::decode(answer, version).map_err(|error| error.to_string().trim_end().to_owned())
            }
        })*

        /// Calls a macro with every message that has a layout, and its layout.
        #[cfg(test)]
        macro_rules! for_each_layout {
            ($do:ident) => {
                $($do!($message, Layout { flexible: $flexible, fields: &[$($field)*] });)*
            };
        }
        #[cfg(test)]
        pub(crate) use for_each_layout;
    };
}

layouts! {
    AddPartitionsToTxnResponse: flexible 3, USUAL [
        number(4), number(2).since(4), list(&[TEXT.since(4), list(&[TEXT, list(&[number(4),
        number(2)])]).since(4)]).since(4), list(&[TEXT, list(&[number(4), number(2)])]).until(3)
    ]
    ApiVersionsResponse: flexible 3, SHORT [
        number(2), list(&[number(2), number(2), number(2)]), number(4).since(1), tagged(0, &list(&[TEXT.since(3),
        number(2).since(3), number(2).since(3)])), tagged(1, &number(8)), tagged(2, &list(&[TEXT.since(3),
        number(2).since(3), number(2).since(3)])), tagged(3, &number(1))
    ]
    CreateAclsResponse: flexible 2, USUAL [
        number(4), list(&[number(2), TEXT])
    ]
    CreatePartitionsResponse: flexible 2, USUAL [
        number(4), list(&[TEXT, number(2), TEXT])
    ]
    CreateTopicsResponse: flexible 5, USUAL [
        number(4), list(&[TEXT, number(16).since(7), number(2), TEXT, tagged(0, &number(2)), number(4).since(5),
        number(2).since(5), list(&[TEXT.since(5), TEXT.since(5), number(1).since(5), number(1).since(5),
        number(1).since(5)]).since(5)])
    ]
    DeleteAclsResponse: flexible 2, USUAL [
        number(4), list(&[number(2), TEXT, list(&[number(2), TEXT, number(1), TEXT, number(1), TEXT, TEXT,
        number(1), number(1)])])
    ]
    DeleteRecordsResponse: flexible 2, USUAL [
        number(4), list(&[TEXT, list(&[number(4), number(8), number(2)])])
    ]
    DeleteTopicsResponse: flexible 4, USUAL [
        number(4), list(&[TEXT, number(16).since(6), number(2), TEXT.since(5)])
    ]
    DescribeAclsResponse: flexible 2, USUAL [
        number(4), number(2), TEXT, list(&[number(1), TEXT, number(1), list(&[TEXT, TEXT, number(1), number(1)])])
    ]
    DescribeClientQuotasResponse: flexible 1, USUAL [
        number(4), number(2), TEXT, list(&[list(&[TEXT, TEXT]), list(&[TEXT, number(8)])])
    ]
    DescribeClusterResponse: flexible 0, USUAL [
        number(4), number(2), TEXT, number(1).since(1), TEXT, number(4), list(&[number(4), TEXT, number(4), TEXT,
        number(1).since(2)]), number(4)
    ]
    DescribeConfigsResponse: flexible 4, USUAL [
        number(4), list(&[number(2), TEXT, number(1), TEXT, list(&[TEXT, TEXT, number(1), number(1), number(1),
        list(&[TEXT, TEXT, number(1)]), number(1).since(3), TEXT.since(3)])])
    ]
    DescribeGroupsResponse: flexible 5, USUAL [
        number(4).since(1), list(&[number(2), TEXT.since(6), TEXT, TEXT, TEXT, TEXT, list(&[TEXT, TEXT.since(4),
        TEXT, TEXT, BYTES, BYTES]), number(4).since(3)])
    ]
    DescribeProducersResponse: flexible 0, USUAL [
        number(4), list(&[TEXT, list(&[number(4), number(2), TEXT, list(&[number(8), number(4), number(4),
        number(8), number(4), number(8)])])])
    ]
    DescribeQuorumResponse: flexible 0, USUAL [
        number(2), TEXT.since(2), list(&[TEXT, list(&[number(4), number(2), TEXT.since(2), number(4), number(4),
        number(8), list(&[number(4), number(16).since(2), number(8), number(8).since(1), number(8).since(1)]),
        list(&[number(4), number(16).since(2), number(8), number(8).since(1), number(8).since(1)])])]),
        list(&[number(4).since(2), list(&[TEXT.since(2), TEXT.since(2), number(2).since(2)]).since(2)]).since(2)
    ]
    EndTxnResponse: flexible 3, SHORT [
        number(4), number(2), number(8).since(5), number(2).since(5)
    ]
    FindCoordinatorResponse: flexible 3, USUAL [
        number(4).since(1), number(2).until(3), TEXT.since(1).until(3), number(4).until(3), TEXT.until(3),
        number(4).until(3), list(&[TEXT.since(4), number(4).since(4), TEXT.since(4), number(4).since(4),
        number(2).since(4), TEXT.since(4)]).since(4)
    ]
    IncrementalAlterConfigsResponse: flexible 1, USUAL [
        number(4), list(&[number(2), TEXT, number(1), TEXT])
    ]
    InitProducerIdResponse: flexible 2, SHORT [
        number(4), number(2), number(8), number(2), number(8).since(6), number(2).since(6)
    ]
    ListGroupsResponse: flexible 3, USUAL [
        number(4).since(1), number(2), list(&[TEXT, TEXT, TEXT.since(4), TEXT.since(5)])
    ]
    ListOffsetsResponse: flexible 6, USUAL [
        number(4).since(2), list(&[TEXT, list(&[number(4), number(2), number(8), number(8), number(4).since(4)])])
    ]
    ListTransactionsResponse: flexible 0, USUAL [
        number(4), number(2), plain(&TEXT), list(&[TEXT, number(8), TEXT])
    ]
    MetadataResponse: flexible 9, LONG [
        number(4).since(3), list(&[number(4), TEXT, number(4), TEXT.since(1)]), TEXT.since(2), number(4).since(1),
        list(&[number(2), TEXT, number(16).since(10), number(1).since(1), list(&[number(2), number(4), number(4),
        number(4).since(7), plain(&number(4)), plain(&number(4)), plain(&number(4)).since(5)]),
        number(4).since(8)]), number(4).since(8).until(10), number(2).since(13)
    ]
    OffsetCommitResponse: flexible 8, USUAL [
        number(4).since(3), list(&[TEXT.until(9), number(16).since(10), list(&[number(4), number(2)])])
    ]
    OffsetFetchResponse: flexible 6, USUAL [
        number(4).since(3), list(&[TEXT.until(7), list(&[number(4).until(7), number(8).until(7),
        number(4).since(5).until(7), TEXT.until(7), number(2).until(7)]).until(7)]).until(7),
        number(2).since(2).until(7), list(&[TEXT.since(8), list(&[TEXT.since(8).until(9), number(16).since(10),
        list(&[number(4).since(8), number(8).since(8), number(4).since(8), TEXT.since(8),
        number(2).since(8)]).since(8)]).since(8), number(2).since(8)]).since(8)
    ]
    OffsetForLeaderEpochResponse: flexible 4, USUAL [
        number(4), list(&[TEXT, list(&[number(2), number(4), number(4), number(8)])])
    ]
    ResponseHeader: flexible 1, SHORT [
        number(4)
    ]
    WriteTxnMarkersResponse: flexible 0, USUAL [
        list(&[number(8), list(&[TEXT, list(&[number(4), number(2)])])])
    ]
}
