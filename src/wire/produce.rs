//! The Produce request, written by hand around the payloads.
//!
//! The request is the only large thing sent, so its payloads are never copied: it is a rope of framing, 61 header bytes
//! and payload for each batch. Topics go by their ids where the broker takes that (KIP-516): a topic that was created
//! again under the same name gets nothing that was meant for the old one. Otherwise version 8 or older, which all brokers
//! from 2.4 on take. One batch for each partition: brokers keep only the last of several and answer as if all were
//! there. The response is read in `decoding`.

use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, ResponseHeader};
use kafka_protocol::protocol::HeaderVersion;

use super::connection::{Answer, Connection};
use super::decoding::Decode;
use super::rope::Rope;
use crate::batch::HEADER_LEN;
use crate::error::Result;

/// The newest version that this file writes, which names topics by their ids only.
const BY_ID: i16 = 13;
/// The newest one by names that it writes.
const BY_NAME: i16 = 8;
/// From this version on lengths are of variable size, and structures end with tagged fields (KIP-482).
const FLEXIBLE: i16 = 9;
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

/// The batches for one topic.
pub struct TopicParts {
    /// Its name.
    pub name: Rc<str>,
    /// Its id, nil if that is not known.
    pub id: u128,
    /// No partition may be there twice.
    pub parts: Vec<Part>,
}

/// A request under way.
pub struct Sent {
    answer: Answer,
    version: i16,
}

/// Sends batches, grouped by topic. The answer names topics as the request does.
pub async fn send(connection: &Connection, topics: &[TopicParts], timeout: std::time::Duration) -> Result<Sent> {
    let version = version(connection, topics)?;
    let head = connection.header(PRODUCE_KEY, version, ProduceRequest::header_version(version))?;
    // The broker has to give up first: its answer says more than silence.
    let rope = write(head, topics, (timeout.as_millis() * 2 / 3) as i32, version);
    let answer = connection.send(rope, None, ProduceResponse::LONGEST, timeout).await?;
    Ok(Sent { answer, version })
}

/// By id where the broker can and all ids are known.
fn version(connection: &Connection, topics: &[TopicParts]) -> Result<i16> {
    if topics.iter().all(|topic| topic.id != 0) {
        let version = connection.version::<ProduceRequest>(BY_ID)?;
        if version == BY_ID {
            return Ok(version);
        }
    }
    connection.version::<ProduceRequest>(BY_NAME)
}

impl Sent {
    /// Waits for the answer.
    pub async fn wait(self, connection: &Connection) -> Result<ProduceResponse> {
        let mut answer = self.answer.wait().await?;
        let header = ResponseHeader::decode_bounded(&mut answer.bytes, ProduceResponse::header_version(self.version));
        debug_assert!(header.is_ok(), "the connection has checked the correlation id");
        let response = connection.decode::<ProduceRequest>(answer, self.version)?;
        // The last field here, so that it is known only now.
        connection.hold_back(response.throttle_time_ms);
        Ok(response)
    }
}

fn write(framing: BytesMut, topics: &[TopicParts], timeout_ms: i32, version: i16) -> Rope {
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut framing = Framing { bytes: framing, flexible: version >= FLEXIBLE };
    framing.put_null_text(); // no transactional id
    framing.bytes.put_i16(ACKS_ALL);
    framing.bytes.put_i32(timeout_ms);
    framing.put_length(topics.len());
    for topic in topics {
        match version {
            BY_ID.. => framing.bytes.put_u128(topic.id),
            _ => framing.put_text(&topic.name),
        }
        framing.put_length(topic.parts.len());
        for part in &topic.parts {
            framing.bytes.put_i32(part.partition);
            framing.put_length(HEADER_LEN + part.payload.len());
            framing.bytes.put_slice(&part.header);
            pieces.push(framing.bytes.split().freeze());
            pieces.push(part.payload.clone());
            framing.end_structure();
        }
        framing.end_structure();
    }
    framing.end_structure();
    if !framing.bytes.is_empty() {
        pieces.push(framing.bytes.freeze());
    }
    with_length(pieces)
}

/// What stands around the payloads.
struct Framing {
    bytes: BytesMut,
    flexible: bool,
}

impl Framing {
    /// The length of an array, or of bytes.
    fn put_length(&mut self, length: usize) {
        match self.flexible {
            true => self.put_unsigned(length as u32 + 1),
            false => self.bytes.put_i32(length as i32),
        }
    }

    fn put_text(&mut self, text: &str) {
        match self.flexible {
            true => self.put_unsigned(text.len() as u32 + 1),
            false => self.bytes.put_i16(text.len() as i16),
        }
        self.bytes.put_slice(text.as_bytes());
    }

    fn put_null_text(&mut self) {
        match self.flexible {
            true => self.put_unsigned(0),
            false => self.bytes.put_i16(-1),
        }
    }

    /// No tagged fields.
    fn end_structure(&mut self) {
        if self.flexible {
            self.put_unsigned(0);
        }
    }

    fn put_unsigned(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.put_u8(value as u8);
    }
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
    use uuid::Uuid;

    #[test]
    fn equals_what_the_generated_code_writes() {
        let payload = Bytes::from(vec![7; 300]);
        let part = |partition| Part { partition, header: [9; HEADER_LEN], payload: payload.clone() };
        let topics = |name: &str, id, parts| TopicParts { name: Rc::from(name), id, parts };
        let topics = [topics("a", 5, vec![part(0), part(7)]), topics("bc", u128::MAX - 1, vec![part(1)])];
        let records = [vec![9; HEADER_LEN], payload.to_vec()].concat();
        for version in (3..=BY_NAME).chain([BY_ID]) {
            let partition = |part: &Part| {
                PartitionProduceData::default().with_index(part.partition).with_records(Some(records.clone().into()))
            };
            let topic = |topic: &TopicParts| {
                let mut data = TopicProduceData::default();
                match version {
                    BY_ID => data.topic_id = Uuid::from_u128(topic.id),
                    _ => data.name = crate::wire::cluster::topic_name(&topic.name),
                }
                data.with_partition_data(topic.parts.iter().map(partition).collect())
            };
            let request = ProduceRequest::default()
                .with_acks(ACKS_ALL)
                .with_timeout_ms(30_000)
                .with_topic_data(topics.iter().map(topic).collect());
            let mut expected = BytesMut::new();
            request.encode(&mut expected, version).expect("encodes");

            let mut rope = write(BytesMut::from(&[0u8; 4][..]), &topics, 30_000, version);
            let length = rope.get_i32() as usize;
            let written = rope.copy_to_bytes(rope.remaining());
            assert_eq!(written.len(), length);
            assert_eq!(expected.freeze(), written, "version {version}");
        }
    }
}
