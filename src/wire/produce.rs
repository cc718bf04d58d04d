//! The Produce request, written by hand around the payloads.
//!
//! The request is the only large thing sent, so its payloads are never copied: it is a rope of framing, 61 header bytes
//! and payload for each batch. Version 8 or older, because all brokers from 2.4 to 4.x take it and its strings have
//! fixed-width lengths. One batch for each partition: brokers keep only the last of several and answer as if all were
//! there. The response is read in `decoding`.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, ResponseHeader};
use kafka_protocol::protocol::HeaderVersion;

use super::connection::{Answer, Connection};
use super::decoding::Decode;
use super::rope::Rope;
use crate::batch::HEADER_LEN;
use crate::error::Result;

/// The newest version this file writes.
const MAX_VERSION: i16 = 8;
/// `acks=all`: an answer means that all in-sync replicas have it.
const ACKS_ALL: i16 = -1;
const PRODUCE_KEY: i16 = 0;

/// One batch for one partition.
pub struct Part {
    /// The partition's number.
    pub partition: i32,
    /// The header under which the target gets it.
    pub header: [u8; HEADER_LEN],
    /// The records as they came from the source.
    pub payload: Bytes,
}

/// A request under way.
pub struct Sent {
    answer: Answer,
    version: i16,
}

/// Sends batches, grouped by topic. No partition may be there twice.
pub async fn send(
    connection: &Connection,
    topics: &[(impl AsRef<str>, Vec<Part>)],
    timeout: std::time::Duration,
) -> Result<Sent> {
    let version = connection.version::<ProduceRequest>(MAX_VERSION)?;
    let head = connection.header(PRODUCE_KEY, version, ProduceRequest::header_version(version))?;
    // The broker has to give up first: its answer says more than silence.
    let rope = write(head, topics, (timeout.as_millis() * 2 / 3) as i32);
    let answer = connection.send(rope, None, ProduceResponse::LONGEST, timeout).await?;
    Ok(Sent { answer, version })
}

impl Sent {
    /// Waits for the answer.
    pub async fn wait(self, connection: &Connection) -> Result<ProduceResponse> {
        let mut answer = self.answer.wait().await?;
        let header = ResponseHeader::decode_bounded(&mut answer.bytes, ProduceResponse::header_version(self.version));
        debug_assert!(header.is_ok(), "the connection has checked the correlation id");
        connection.decode::<ProduceRequest>(answer, self.version)
    }
}

fn write(mut framing: BytesMut, topics: &[(impl AsRef<str>, Vec<Part>)], timeout_ms: i32) -> Rope {
    let mut pieces: Vec<Bytes> = Vec::new();
    framing.put_i16(-1); // no transactional id
    framing.put_i16(ACKS_ALL);
    framing.put_i32(timeout_ms);
    framing.put_i32(topics.len() as i32);
    for (topic, parts) in topics {
        let topic = topic.as_ref();
        framing.put_i16(topic.len() as i16);
        framing.put_slice(topic.as_bytes());
        framing.put_i32(parts.len() as i32);
        for part in parts {
            framing.put_i32(part.partition);
            framing.put_i32((HEADER_LEN + part.payload.len()) as i32);
            framing.put_slice(&part.header);
            pieces.push(framing.split().freeze());
            pieces.push(part.payload.clone());
        }
    }
    with_length(pieces)
}

/// Fills the length of the request into its first four bytes.
fn with_length(mut pieces: Vec<Bytes>) -> Rope {
    let total: usize = pieces.iter().map(Bytes::len).sum();
    let mut rope = Rope::default();
    if let Some(first) = pieces.first_mut() {
        let mut head = BytesMut::from(&first[..]);
        head[..4].copy_from_slice(&(total as i32 - 4).to_be_bytes());
        *first = head.freeze();
    }
    for piece in pieces {
        rope.push(piece);
    }
    rope
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Buf;
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use kafka_protocol::protocol::Encodable;

    #[test]
    fn equals_what_the_generated_code_writes() {
        let payload = Bytes::from_static(b"some records");
        let part = |partition| Part { partition, header: [9; HEADER_LEN], payload: payload.clone() };
        let mut rope =
            write(BytesMut::from(&[0u8; 4][..]), &[("a", vec![part(0), part(7)]), ("bc", vec![part(1)])], 30_000);
        let length = rope.get_i32() as usize;
        let written = rope.copy_to_bytes(rope.remaining());
        assert_eq!(written.len(), length);

        let records = [vec![9; HEADER_LEN], payload.to_vec()].concat();
        let partition =
            |index| PartitionProduceData::default().with_index(index).with_records(Some(records.clone().into()));
        let topic = |name, partitions| {
            TopicProduceData::default()
                .with_name(crate::wire::cluster::topic_name(name))
                .with_partition_data(partitions)
        };
        let request = ProduceRequest::default()
            .with_acks(ACKS_ALL)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![topic("a", vec![partition(0), partition(7)]), topic("bc", vec![partition(1)])]);
        for version in 3..=MAX_VERSION {
            let mut expected = BytesMut::new();
            request.encode(&mut expected, version).expect("encodes");
            assert_eq!(expected.freeze(), written, "version {version}");
        }
    }
}
