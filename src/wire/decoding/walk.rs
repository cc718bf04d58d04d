//! Reads the answers to Fetch (versions 4 to 13) and Produce (3 to 13) by hand, with every length checked against the bytes left.
//!
//! Tagged fields that nobody here knows are skipped and not kept.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{FetchResponse, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// How many times the bytes that are left an array may take in memory before its elements have come.
const ROOM: usize = 8;

type Walked<T> = Result<T, String>;

/// Reads an answer to Fetch from the front of `answer`.
pub fn fetch(answer: &mut Bytes, version: i16) -> Walked<FetchResponse> {
    if !(4..=13).contains(&version) {
        return Err(format!("version {version} of Fetch is not known"));
    }
    let mut walk = Walk { bytes: answer, flexible: version >= 12 };
    let mut response = FetchResponse::default().with_throttle_time_ms(walk.i32()?);
    if version >= 7 {
        response.error_code = walk.i16()?;
        response.session_id = walk.i32()?;
    }
    let least = topic_length(version >= 13, walk.flexible);
    response.responses = walk.required_array("topics", least, |walk, topic: &mut FetchableTopicResponse| {
        match version {
            13.. => topic.topic_id = walk.id()?,
            _ => topic.topic = TopicName(walk.name()?),
        }
        topic.partitions =
            walk.required_array("partitions", fetched_length(version), |walk, data| fetched(walk, data, version))?;
        walk.skip_tags()
    })?;
    walk.skip_tags()?;
    Ok(response)
}

/// The fewest bytes of a topic: an id, or a name of a byte at least, and how many partitions it has.
fn topic_length(by_id: bool, flexible: bool) -> usize {
    match (by_id, flexible) {
        (true, _) => 18,
        (false, true) => 4,
        (false, false) => 7,
    }
}

/// The fewest bytes of a partition.
fn fetched_length(version: i16) -> usize {
    match version {
        4 => 30,
        5..=10 => 38,
        11 => 42,
        _ => 37,
    }
}

fn fetched(walk: &mut Walk, data: &mut PartitionData, version: i16) -> Walked<()> {
    data.partition_index = walk.i32()?;
    data.error_code = walk.i16()?;
    data.high_watermark = walk.i64()?;
    data.last_stable_offset = walk.i64()?;
    if version >= 5 {
        data.log_start_offset = walk.i64()?;
    }
    data.aborted_transactions = walk.array("aborted transactions", 16, |walk, aborted: &mut AbortedTransaction| {
        aborted.producer_id = walk.i64()?.into();
        aborted.first_offset = walk.i64()?;
        walk.skip_tags()
    })?;
    if version >= 11 {
        data.preferred_read_replica = walk.i32()?.into();
    }
    data.records = walk.bytes("bytes of records")?;
    walk.tags(|tag, walk| {
        match tag {
            0 => {
                data.diverging_epoch.epoch = walk.i32()?;
                data.diverging_epoch.end_offset = walk.i64()?;
            }
            1 => {
                data.current_leader.leader_id = walk.i32()?.into();
                data.current_leader.leader_epoch = walk.i32()?;
            }
            2 => {
                data.snapshot_id.end_offset = walk.i64()?;
                data.snapshot_id.epoch = walk.i32()?;
            }
            _ => {}
        }
        Ok(())
    })
}

/// Reads an answer to Produce from the front of `answer`.
pub fn produce(answer: &mut Bytes, version: i16) -> Walked<ProduceResponse> {
    if !(3..=13).contains(&version) {
        return Err(format!("version {version} of Produce is not known"));
    }
    let mut walk = Walk { bytes: answer, flexible: version >= 9 };
    let least = topic_length(version >= 13, walk.flexible);
    let responses = walk.required_array("topics", least, |walk, topic: &mut TopicProduceResponse| {
        match version {
            13.. => topic.topic_id = walk.id()?,
            _ => topic.name = TopicName(walk.name()?),
        }
        let least = produced_length(version);
        topic.partition_responses =
            walk.required_array("partitions", least, |walk, partition| produced(walk, partition, version))?;
        walk.skip_tags()
    })?;
    let throttle_time_ms = walk.i32()?;
    walk.skip_tags()?;
    Ok(ProduceResponse::default().with_responses(responses).with_throttle_time_ms(throttle_time_ms))
}

/// The fewest bytes of a partition.
fn produced_length(version: i16) -> usize {
    match version {
        3..=4 => 22,
        5..=7 => 30,
        8 => 36,
        _ => 33,
    }
}

fn produced(walk: &mut Walk, partition: &mut PartitionProduceResponse, version: i16) -> Walked<()> {
    partition.index = walk.i32()?;
    partition.error_code = walk.i16()?;
    partition.base_offset = walk.i64()?;
    partition.log_append_time_ms = walk.i64()?;
    if version >= 5 {
        partition.log_start_offset = walk.i64()?;
    }
    if version >= 8 {
        partition.record_errors =
            walk.required_array("record errors", 6, |walk, error: &mut BatchIndexAndErrorMessage| {
                error.batch_index = walk.i32()?;
                error.batch_index_error_message = walk.string("an error message")?;
                walk.skip_tags()
            })?;
        partition.error_message = walk.string("an error message")?;
    }
    walk.tags(|tag, walk| {
        if tag == 0 && version >= 10 {
            partition.current_leader.leader_id = walk.i32()?.into();
            partition.current_leader.leader_epoch = walk.i32()?;
        }
        Ok(())
    })
}

struct Walk<'a> {
    bytes: &'a mut Bytes,
    /// Whether lengths are of variable size and structures end with tagged fields (KIP-482).
    flexible: bool,
}

impl Walk<'_> {
    #[inline]
    fn i16(&mut self) -> Walked<i16> {
        self.bytes.try_get_i16().map_err(|_| ends())
    }

    #[inline]
    fn i32(&mut self) -> Walked<i32> {
        self.bytes.try_get_i32().map_err(|_| ends())
    }

    #[inline]
    fn i64(&mut self) -> Walked<i64> {
        self.bytes.try_get_i64().map_err(|_| ends())
    }

    /// The id of a topic.
    fn id(&mut self) -> Walked<Uuid> {
        self.bytes.try_get_u128().map(Uuid::from_u128).map_err(|_| ends())
    }

    fn unsigned(&mut self) -> Walked<u32> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.bytes.try_get_u8().map_err(|_| ends())?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number of variable size does not end".to_owned())
    }

    /// A length as it is written in this version, `fixed` where it is not of variable size. -1 is none.
    fn length(&mut self, what: &str, least: usize, fixed: impl Fn(&mut Self) -> Walked<i32>) -> Walked<Option<usize>> {
        let length = if self.flexible { i64::from(self.unsigned()?) - 1 } else { i64::from(fixed(self)?) };
        let left = self.bytes.len();
        match usize::try_from(length) {
            Ok(length) if length > left / least => {
                Err(format!("it claims {length} {what} where {left} bytes are left"))
            }
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(format!("the number of {what} is {length}")),
        }
    }

    fn bytes(&mut self, what: &str) -> Walked<Option<Bytes>> {
        let length = self.length(what, 1, Self::i32)?;
        Ok(length.map(|length| self.bytes.split_to(length)))
    }

    fn string(&mut self, what: &str) -> Walked<Option<StrBytes>> {
        let length = self.length("bytes of text", 1, |walk| walk.i16().map(i32::from))?;
        let Some(length) = length else { return Ok(None) };
        let text = StrBytes::try_from(self.bytes.split_to(length));
        text.map(Some).map_err(|_| format!("{what} is not text"))
    }

    /// A topic's name, which is never empty.
    fn name(&mut self) -> Walked<StrBytes> {
        let name = self.string("a topic's name")?.filter(|name| !name.is_empty());
        name.ok_or_else(|| "a topic has no name".to_owned())
    }

    /// An array of elements of `least` bytes or more, each filled where it stays.
    fn array<T: Default>(
        &mut self,
        what: &str,
        least: usize,
        mut fill: impl FnMut(&mut Self, &mut T) -> Walked<()>,
    ) -> Walked<Option<Vec<T>>> {
        let Some(length) = self.length(what, least, Self::i32)? else { return Ok(None) };
        // Elements may be larger in memory than on the wire: room for more than a few times the bytes that are left is
        // only made when that many have really come.
        let room = self.bytes.len() * ROOM / size_of::<T>().max(1);
        let mut elements = Vec::with_capacity(length.min(room));
        for _ in 0..length {
            elements.push(T::default());
            elements.last_mut().map_or(Ok(()), |element| fill(self, element))?;
        }
        Ok(Some(elements))
    }

    fn required_array<T: Default>(
        &mut self,
        what: &str,
        least: usize,
        fill: impl FnMut(&mut Self, &mut T) -> Walked<()>,
    ) -> Walked<Vec<T>> {
        self.array(what, least, fill)?.ok_or_else(|| format!("the {what} are missing"))
    }

    /// The tagged fields, each as bytes of its own.
    fn tags(&mut self, mut field: impl FnMut(u32, &mut Walk) -> Walked<()>) -> Walked<()> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.unsigned()? {
            let tag = self.unsigned()?;
            let size = self.unsigned()? as usize;
            if size > self.bytes.len() {
                return Err(ends());
            }
            field(tag, &mut Walk { bytes: &mut self.bytes.split_to(size), flexible: true })?;
        }
        Ok(())
    }

    fn skip_tags(&mut self) -> Walked<()> {
        self.tags(|_, _| Ok(()))
    }
}

#[cold]
fn ends() -> String {
    "it ends too early".to_owned()
}
