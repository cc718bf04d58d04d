//! Changes what brokers and clients say to each other on its way through a [`Proxy`](super::proxy::Proxy): records in Produce
//! requests and in Fetch answers.
//!
//! The proxy hands whole frames to an [`Editor`]; which request an answer belongs to is known from its correlation id.
//! Frames that are not changed go on as the bytes they were.

use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, FetchResponse, MetadataResponse, ProduceRequest, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};
use uuid::Uuid;

use super::Outcome;
use super::proxy::Direction;
use super::raw::described;

/// Length of a record batch's header, and of the part of it that its length field does not count.
pub(crate) const HEADER: usize = 61;
const OVERHEAD: usize = 12;
/// The longest frame taken for one.
const FRAME_LIMIT: usize = 200 << 20;

/// One frame on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passing {
    pub(crate) direction: Direction,
    pub(crate) api_key: i16,
    pub(crate) version: i16,
}

/// Changes a frame (without its length) or leaves it alone.
pub(crate) type Editor = Arc<dyn Fn(Passing, &mut Vec<u8>) + Send + Sync>;

/// Changes the records of one partition and says whether it did. They may be cut off at the end, as brokers answer.
pub(crate) trait RecordsEditor: FnMut(&str, i32, &mut Vec<u8>) -> bool + Send + 'static {}
impl<T: FnMut(&str, i32, &mut Vec<u8>) -> bool + Send + 'static> RecordsEditor for T {}

/// Edits what clients send to be written.
pub(crate) fn produce_requests(edit: impl RecordsEditor) -> Editor {
    let edit = Mutex::new((edit, Names::new()));
    Arc::new(move |passing, frame| {
        let (edit, names) = &mut *edit.lock().unwrap_or_else(|it| it.into_inner());
        learn(passing, frame, names);
        if passing.direction == Direction::ToBroker && passing.api_key == ApiKey::Produce as i16 {
            let edited = edit_produce(passing.version, frame, names, edit);
            replace(frame, edited);
        }
    })
}

/// Edits what brokers answer to those who read.
pub(crate) fn fetch_answers(edit: impl RecordsEditor) -> Editor {
    let edit = Mutex::new((edit, Names::new()));
    Arc::new(move |passing, frame| {
        let (edit, names) = &mut *edit.lock().unwrap_or_else(|it| it.into_inner());
        learn(passing, frame, names);
        if passing.direction == Direction::ToClient && passing.api_key == ApiKey::Fetch as i16 {
            let edited = edit_fetch(passing.version, frame, names, edit);
            replace(frame, edited);
        }
    })
}

/// What topics are called, by their ids: newer requests name the ids only.
type Names = HashMap<Uuid, TopicName>;

/// Takes in what a Metadata answer says of topics.
fn learn(passing: Passing, frame: &[u8], names: &mut Names) {
    if passing.direction != Direction::ToClient || passing.api_key != ApiKey::Metadata as i16 {
        return;
    }
    let mut bytes = Bytes::copy_from_slice(frame);
    let header = ResponseHeader::decode(&mut bytes, MetadataResponse::header_version(passing.version));
    if let Ok(answer) = header.and_then(|_| MetadataResponse::decode(&mut bytes, passing.version)) {
        names.extend(answer.topics.into_iter().filter_map(|topic| Some((topic.topic_id, topic.name?))));
        names.remove(&Uuid::nil());
    }
}

fn replace(frame: &mut Vec<u8>, edited: Outcome<Option<BytesMut>>) {
    match edited {
        Ok(None) => {}
        Ok(Some(edited)) => *frame = edited.to_vec(),
        // On the proxy's thread nobody catches a panic; the test then misses the change it waits for.
        Err(failure) => eprintln!("the proxy cannot edit a frame: {failure}"),
    }
}

fn edit_produce(version: i16, frame: &[u8], names: &Names, edit: &mut impl RecordsEditor) -> Outcome<Option<BytesMut>> {
    let mut bytes = Bytes::copy_from_slice(frame);
    let header_version = ProduceRequest::header_version(version);
    let header = RequestHeader::decode(&mut bytes, header_version).map_err(described)?;
    let mut request = ProduceRequest::decode(&mut bytes, version).map_err(described)?;
    let mut changed = false;
    for topic in &mut request.topic_data {
        let name = names.get(&topic.topic_id).unwrap_or(&topic.name);
        for partition in &mut topic.partition_data {
            changed |= edit_records(name, partition.index, &mut partition.records, edit);
        }
    }
    encoded(changed, (&header, header_version), (&request, version))
}

fn edit_fetch(version: i16, frame: &[u8], names: &Names, edit: &mut impl RecordsEditor) -> Outcome<Option<BytesMut>> {
    let mut bytes = Bytes::copy_from_slice(frame);
    let header_version = FetchResponse::header_version(version);
    let header = ResponseHeader::decode(&mut bytes, header_version).map_err(described)?;
    let mut answer = FetchResponse::decode(&mut bytes, version).map_err(described)?;
    let mut changed = false;
    for topic in &mut answer.responses {
        let name = names.get(&topic.topic_id).unwrap_or(&topic.topic);
        for partition in &mut topic.partitions {
            changed |= edit_records(name, partition.partition_index, &mut partition.records, edit);
        }
    }
    encoded(changed, (&header, header_version), (&answer, version))
}

fn edit_records(topic: &TopicName, partition: i32, records: &mut Option<Bytes>, edit: &mut impl RecordsEditor) -> bool {
    let Some(bytes) = records.as_ref().filter(|bytes| !bytes.is_empty()) else { return false };
    let mut bytes = bytes.to_vec();
    let changed = edit(topic.0.as_str(), partition, &mut bytes);
    if changed {
        *records = Some(bytes.into());
    }
    changed
}

fn encoded(
    changed: bool,
    (header, header_version): (&impl Encodable, i16),
    (body, version): (&impl Encodable, i16),
) -> Outcome<Option<BytesMut>> {
    if !changed {
        return Ok(None);
    }
    let mut frame = BytesMut::new();
    header.encode(&mut frame, header_version).map_err(described)?;
    body.encode(&mut frame, version).map_err(described)?;
    Ok(Some(frame))
}

/// Where the whole batches lie in the records of a partition.
pub(crate) fn batches(records: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(length) = records.get(at + 8..at + OVERHEAD) {
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let end = at + OVERHEAD + length;
        if end > records.len() {
            break;
        }
        found.push(at..end);
        at = end;
    }
    found
}

/// The base offset of a batch.
pub(crate) fn base_offset(batch: &[u8]) -> i64 {
    let mut field = [0; 8];
    field.copy_from_slice(&batch[..8]);
    i64::from_be_bytes(field)
}

/// Makes the checksum of a batch right again after a change.
pub(crate) fn seal(batch: &mut [u8]) {
    let checksum = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
}

/// Which requests have gone over a connection and are not answered yet, by correlation id.
pub(crate) type Asked = Arc<Mutex<HashMap<i32, (i16, i16)>>>;

/// Reads a whole frame, length included, and has it edited; `None` at the end of the stream, or when it is no frame.
pub(crate) fn next_frame(
    from: &mut impl Read,
    direction: Direction,
    asked: &Asked,
    editor: &Editor,
) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).ok()?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok().filter(|length| *length <= FRAME_LIMIT)?;
    let mut frame = vec![0; length];
    from.read_exact(&mut frame).ok()?;
    if let Some(passing) = passing(&frame, direction, asked) {
        editor(passing, &mut frame);
    }
    let mut whole = u32::try_from(frame.len()).ok()?.to_be_bytes().to_vec();
    whole.append(&mut frame);
    Some(whole)
}

fn passing(frame: &[u8], direction: Direction, asked: &Asked) -> Option<Passing> {
    let short = |at: usize| Some(i16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let correlation = |at: usize| Some(i32::from_be_bytes(frame.get(at..at + 4)?.try_into().ok()?));
    let mut asked = asked.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (api_key, version) = match direction {
        Direction::ToBroker => {
            let request = (short(0)?, short(2)?);
            asked.insert(correlation(4)?, request);
            request
        }
        Direction::ToClient => asked.remove(&correlation(0)?)?,
    };
    Some(Passing { direction, api_key, version })
}
