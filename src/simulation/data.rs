//! What a broker in this process answers that reads or changes logs, with the waits that a Kafka broker has: for
//! records that were asked for, and for replicas.

use std::time::Duration;

use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset as Diverging, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use kafka_protocol::messages::*;
use uuid::Uuid;

use super::broker::Broker;
use super::cluster::{FetchSession, NOT_LEADER, State, UNKNOWN_TOPIC_OR_PARTITION};
use super::log::{INVALID_RECORD, Log, OFFSET_OUT_OF_RANGE};
use crate::clock::Instant;
use crate::wire::cluster::topic_name;

const REQUEST_TIMED_OUT: i16 = 7;
const NOT_ENOUGH_REPLICAS: i16 = 19;
const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
const INVALID_FETCH_SESSION_EPOCH: i16 = 71;
const OFFSET_NOT_AVAILABLE: i16 = 78;
const UNKNOWN_TOPIC_ID: i16 = 100;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// Who may see what is not replicated.
const DEBUGGING_REPLICA: i32 = -2;
/// How long markers may take until all in-sync replicas have them.
const MARKER_LIMIT: Duration = Duration::from_secs(30);

/// What was appended and is waited for: topic, partition, leader epoch and end.
type Appended = (String, i32, i32, i64);

impl Broker<'_> {
    pub(super) async fn fetch(self, request: FetchRequest) -> FetchResponse {
        let by_id = request.topics.iter().any(|topic| !topic.topic_id.is_nil());
        let (session, wanted) = match self.session_of(&request) {
            Ok(found) => found,
            Err(error_code) => return FetchResponse::default().with_error_code(error_code),
        };
        let by_id = by_id || (session != 0 && self.cluster.by_id);
        if self.cluster.is_silent.take() {
            return self.read(&request, &wanted, session, by_id, true);
        }
        let deadline = Instant::now() + Duration::from_millis(request.max_wait_ms.max(0) as u64);
        loop {
            let changed = self.cluster.changed.notified();
            let response = self.read(&request, &wanted, session, by_id, false);
            let bytes: usize =
                partitions_of(&response).map(|data| data.records.as_ref().map_or(0, |it| it.len())).sum();
            let is_urgent =
                partitions_of(&response).any(|data| data.error_code != 0 || data.diverging_epoch.end_offset >= 0);
            let is_late = Instant::now() >= deadline;
            if is_urgent || is_late || bytes >= request.min_bytes.max(0) as usize || wanted.wanted.is_empty() {
                return response;
            }
            // Late is late, whatever has changed.
            let _ = tokio::time::timeout_at(deadline, changed).await;
        }
    }

    /// The session of a request, and what is asked for with it.
    fn session_of(self, request: &FetchRequest) -> Result<(i32, FetchSession), i16> {
        let state = &mut *self.cluster.state.borrow_mut();
        let (id, mut session) = match (request.session_id, request.session_epoch) {
            (_, -1) => (0, FetchSession::default()),
            (_, 0) => {
                state.sessions.remove(&request.session_id);
                (state.new_session(), FetchSession::default())
            }
            (id, epoch) => {
                let known = state.sessions.get(&id).ok_or(FETCH_SESSION_ID_NOT_FOUND)?;
                if known.epoch != epoch {
                    return Err(INVALID_FETCH_SESSION_EPOCH);
                }
                (id, FetchSession { epoch, wanted: known.wanted.clone() })
            }
        };
        for topic in &request.forgotten_topics_data {
            let name = state.name_of(&topic.topic.0, topic.topic_id.as_u128()).unwrap_or_default();
            session.wanted.retain(|(known, index), _| *known != name || !topic.partitions.contains(index));
        }
        for topic in &request.topics {
            let name = state.name_of(&topic.topic.0, topic.topic_id.as_u128());
            let name = name.unwrap_or_else(|| topic.topic_id.to_string());
            for one in &topic.partitions {
                let wanted = (one.fetch_offset, one.last_fetched_epoch, one.partition_max_bytes);
                self.cluster.tell(self.number, &name, || {
                    format!(
                        "{} is read from offset {}, behind epoch {}",
                        one.partition, one.fetch_offset, one.last_fetched_epoch
                    )
                });
                session.wanted.insert((name.clone(), one.partition), wanted);
            }
        }
        if id != 0 {
            let kept = FetchSession { epoch: session.epoch + 1, wanted: session.wanted.clone() };
            state.sessions.insert(id, kept);
        }
        Ok((id, session))
    }

    fn read(
        self,
        request: &FetchRequest,
        session: &FetchSession,
        id: i32,
        by_id: bool,
        is_silent: bool,
    ) -> FetchResponse {
        let state = &mut *self.cluster.state.borrow_mut();
        let mut room = request.max_bytes.max(0) as usize;
        let mut topics: Vec<FetchableTopicResponse> = Vec::new();
        for ((name, index), &(offset, last_epoch, max_bytes)) in &session.wanted {
            let mut data = match state.led(self.number, name, *index) {
                Ok(log) => fetched(log, offset, last_epoch, (max_bytes as usize).min(room), request.isolation_level),
                Err(UNKNOWN_TOPIC_OR_PARTITION) if by_id => PartitionData::default().with_error_code(UNKNOWN_TOPIC_ID),
                Err(error_code) => PartitionData::default().with_error_code(error_code).with_high_watermark(-1),
            };
            data.partition_index = *index;
            if is_silent {
                data.records = Some(bytes::Bytes::new());
            }
            let bytes = data.records.as_ref().map_or(0, |records| records.len());
            room = room.saturating_sub(bytes);
            let is_news = bytes > 0 || data.error_code != 0 || data.diverging_epoch.end_offset >= 0;
            if id != 0 && request.session_epoch > 0 && !is_news {
                continue;
            }
            let topic_id = Uuid::from_u128(state.topics.get(name).map_or(0, |topic| topic.id));
            let topic_id = if topic_id.is_nil() { Uuid::parse_str(name).unwrap_or_default() } else { topic_id };
            match topics.iter_mut().find(|topic| topic.topic.0.as_str() == name) {
                Some(topic) => topic.partitions.push(data),
                None => topics.push(
                    FetchableTopicResponse::default()
                        .with_topic(topic_name(name))
                        .with_topic_id(topic_id)
                        .with_partitions(vec![data]),
                ),
            }
        }
        FetchResponse::default().with_session_id(id).with_responses(topics)
    }

    pub(super) async fn produce(self, request: ProduceRequest) -> ProduceResponse {
        let mut appended: Vec<Appended> = Vec::new();
        let mut responses = self.cluster.change(|state| {
            let topics = request.topic_data.iter().map(|topic| {
                let name = state.name_of(&topic.name.0, topic.topic_id.as_u128());
                let partitions = topic.partition_data.iter().map(|data| {
                    let records = data.records.clone().unwrap_or_default();
                    let outcome = match &name {
                        Some(name) => self.append(state, name, data.index, &records, &mut appended),
                        None => Err(UNKNOWN_TOPIC_ID),
                    };
                    let response =
                        PartitionProduceResponse::default().with_index(data.index).with_log_append_time_ms(-1);
                    match outcome {
                        Ok(base) => response.with_base_offset(base),
                        Err(code) => response.with_error_code(code).with_base_offset(-1),
                    }
                });
                TopicProduceResponse::default()
                    .with_name(topic.name.clone())
                    .with_topic_id(topic.topic_id)
                    .with_partition_responses(partitions.collect())
            });
            topics.collect::<Vec<_>>()
        });
        let limit = Duration::from_millis(request.timeout_ms.max(0) as u64);
        let failed = self.replicated(&appended, limit).await;
        for topic in &mut responses {
            let name = self.cluster.state.borrow().name_of(&topic.name.0, topic.topic_id.as_u128()).unwrap_or_default();
            for partition in &mut topic.partition_responses {
                let of_it = |((topic, index), _): &&((String, i32), i16)| *topic == name && *index == partition.index;
                if let Some((_, code)) = failed.iter().find(of_it) {
                    (partition.error_code, partition.base_offset) = (*code, -1);
                }
            }
        }
        ProduceResponse::default().with_responses(responses)
    }

    fn append(
        self,
        state: &mut State,
        topic: &str,
        partition: i32,
        records: &bytes::Bytes,
        appended: &mut Vec<Appended>,
    ) -> Result<i64, i16> {
        let needed = state.min_in_sync;
        let log = state.led(self.number, topic, partition)?;
        if log.in_sync() < needed {
            return Err(NOT_ENOUGH_REPLICAS);
        }
        let header = crate::batch::Header::read(records).ok_or(INVALID_RECORD)?;
        let (count, sequence, producer) = (header.last_offset_delta, header.base_sequence, header.producer_id);
        let outcome = log.append(records);
        self.cluster.tell(self.number, topic, || {
            format!("{partition}: {} records of producer {producer:x} from {sequence} on: {outcome:?}", count + 1)
        });
        let base = outcome?;
        appended.push((topic.to_owned(), partition, log.leader_epoch(), base + i64::from(count) + 1));
        Ok(base)
    }

    /// Waits until all in-sync replicas have what was appended; the errors of those that have not in time.
    async fn replicated(self, appended: &[Appended], limit: Duration) -> Vec<((String, i32), i16)> {
        let deadline = Instant::now() + limit;
        loop {
            let changed = self.cluster.changed.notified();
            let is_late = Instant::now() >= deadline;
            let mut failed = Vec::new();
            let mut waits = false;
            for (topic, partition, epoch, end) in appended {
                let state = &mut *self.cluster.state.borrow_mut();
                let error = match state.led(self.number, topic, *partition) {
                    Ok(log) if log.leader_epoch() != *epoch => Some(NOT_LEADER),
                    Ok(log) if log.high_watermark >= *end => None,
                    Ok(_) if is_late => Some(REQUEST_TIMED_OUT),
                    Ok(_) => {
                        waits = true;
                        None
                    }
                    Err(code) => Some(code),
                };
                failed.extend(error.map(|error| ((topic.clone(), *partition), error)));
            }
            if !waits {
                return failed;
            }
            let _ = tokio::time::timeout_at(deadline, changed).await;
        }
    }

    pub(super) fn list_offsets(self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let state = &mut *self.cluster.state.borrow_mut();
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|one| {
                let response = ListOffsetsPartitionResponse::default().with_partition_index(one.partition_index);
                let found = state
                    .led(self.number, &topic.name.0, one.partition_index)
                    .and_then(|log| offset_of(log, one.timestamp, request.replica_id.0, request.isolation_level));
                match found {
                    Ok((offset, epoch)) => response.with_offset(offset).with_leader_epoch(epoch),
                    Err(code) => response.with_error_code(code).with_offset(-1),
                }
            });
            ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }

    pub(super) fn epoch_ends(self, request: &OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
        let state = &mut *self.cluster.state.borrow_mut();
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|one| {
                let response = EpochEndOffset::default().with_partition(one.partition);
                match state.led(self.number, &topic.topic.0, one.partition) {
                    Ok(log) => {
                        let (epoch, end) = log.epoch_end(one.leader_epoch).unwrap_or((-1, -1));
                        response.with_leader_epoch(epoch).with_end_offset(end)
                    }
                    Err(code) => response.with_error_code(code),
                }
            });
            OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone()).with_partitions(partitions.collect())
        });
        OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
    }

    pub(super) fn producers(self, request: &DescribeProducersRequest) -> DescribeProducersResponse {
        let state = &mut *self.cluster.state.borrow_mut();
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|index| {
                let response = PartitionResponse::default().with_partition_index(*index);
                let log = match state.led(self.number, &topic.name.0, *index) {
                    Ok(log) => log,
                    Err(code) => return response.with_error_code(code),
                };
                let producers = log.producers.iter().map(|(id, known)| {
                    ProducerState::default()
                        .with_producer_id(ProducerId(*id))
                        .with_producer_epoch(i32::from(known.epoch))
                        .with_last_sequence(known.last_sequence())
                        .with_coordinator_epoch(known.coordinator_epoch)
                        .with_current_txn_start_offset(known.open_since.unwrap_or(-1))
                });
                response.with_active_producers(producers.collect())
            });
            TopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
        });
        DescribeProducersResponse::default().with_topics(topics.collect())
    }

    pub(super) async fn write_markers(self, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
        let mut appended: Vec<Appended> = Vec::new();
        let markers = self.cluster.change(|state| {
            let markers = request.markers.iter().map(|marker| {
                let topics = marker.topics.iter().map(|topic| {
                    let name = topic.name.0.as_str();
                    let partitions = topic.partition_indexes.iter().map(|index| {
                        let outcome = state.led(self.number, name, *index).and_then(|log| {
                            let (id, epoch) = (marker.producer_id.0, marker.producer_epoch);
                            let fence = marker.coordinator_epoch;
                            let base = log.append_marker(id, epoch, fence, marker.transaction_result);
                            self.cluster.tell(self.number, name, || format!("{index}: a marker of {fence}: {base:?}"));
                            let base = base?;
                            Ok((base + 1, log.leader_epoch()))
                        });
                        if let Ok((end, epoch)) = outcome {
                            appended.push((name.to_owned(), *index, epoch, end));
                        }
                        WritableTxnMarkerPartitionResult::default()
                            .with_partition_index(*index)
                            .with_error_code(outcome.err().unwrap_or(0))
                    });
                    WritableTxnMarkerTopicResult::default()
                        .with_name(topic.name.clone())
                        .with_partitions(partitions.collect())
                });
                WritableTxnMarkerResult::default().with_producer_id(marker.producer_id).with_topics(topics.collect())
            });
            markers.collect()
        });
        // Brokers answer for all markers of a producer id together; who wrote them looks where the logs end.
        self.replicated(&appended, MARKER_LIMIT).await;
        WriteTxnMarkersResponse::default().with_markers(markers)
    }

    pub(super) fn delete_records(self, request: &DeleteRecordsRequest) -> DeleteRecordsResponse {
        let topics = self.cluster.change(|state| {
            let topics = request.topics.iter().map(|topic| {
                let partitions = topic.partitions.iter().map(|one| {
                    let result = DeleteRecordsPartitionResult::default().with_partition_index(one.partition_index);
                    let deleted = state.led(self.number, &topic.name.0, one.partition_index).and_then(|log| {
                        let offset = if one.offset < 0 { log.high_watermark } else { one.offset };
                        if offset > log.high_watermark {
                            return Err(OFFSET_OUT_OF_RANGE);
                        }
                        log.delete_before(offset);
                        Ok(log.start)
                    });
                    match deleted {
                        Ok(start) => result.with_low_watermark(start),
                        Err(code) => result.with_error_code(code).with_low_watermark(-1),
                    }
                });
                DeleteRecordsTopicResult::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
            });
            topics.collect()
        });
        DeleteRecordsResponse::default().with_topics(topics)
    }
}

fn partitions_of(response: &FetchResponse) -> impl Iterator<Item = &PartitionData> {
    response.responses.iter().flat_map(|topic| &topic.partitions)
}

fn fetched(log: &Log, offset: i64, last_epoch: i32, max_bytes: usize, isolation: i8) -> PartitionData {
    let (high_watermark, last_stable) = (log.high_watermark, log.last_stable());
    let mut data = PartitionData::default()
        .with_high_watermark(high_watermark)
        .with_last_stable_offset(last_stable)
        .with_log_start_offset(log.start);
    if last_epoch >= 0 {
        match log.epoch_end(last_epoch) {
            None => return data.with_error_code(OFFSET_OUT_OF_RANGE),
            Some((epoch, end)) if epoch < last_epoch || end < offset => {
                data.diverging_epoch = Diverging::default().with_epoch(epoch).with_end_offset(end);
                return data;
            }
            Some(_) => {}
        }
    }
    if offset < log.start || offset > log.end() {
        return data.with_error_code(OFFSET_OUT_OF_RANGE);
    }
    let until = if isolation == 0 { high_watermark } else { last_stable };
    let records = log.read(offset, until, max_bytes);
    if isolation != 0 {
        let aborted = log.aborted_between(offset, until).into_iter().map(|aborted| {
            AbortedTransaction::default()
                .with_producer_id(ProducerId(aborted.producer_id))
                .with_first_offset(aborted.first)
        });
        data.aborted_transactions = Some(aborted.collect());
    }
    data.with_records(Some(records.into()))
}

fn offset_of(log: &Log, timestamp: i64, replica: i32, isolation: i8) -> Result<(i64, i32), i16> {
    match timestamp {
        EARLIEST => Ok((log.start, log.leader_epoch().min(0))),
        LATEST if replica == DEBUGGING_REPLICA => Ok((log.end(), log.leader_epoch())),
        // A new leader knows what was acknowledged only when its followers have come to where it began.
        LATEST if log.high_watermark < log.epoch_start() => Err(OFFSET_NOT_AVAILABLE),
        LATEST if isolation == 0 => Ok((log.high_watermark, log.leader_epoch())),
        LATEST => Ok((log.last_stable(), log.leader_epoch())),
        _ => {
            let mut batches = log.batches.iter().filter(|batch| batch.header.max_timestamp >= timestamp);
            let found =
                batches.find_map(|batch| Some((batch.first_of(timestamp)?, batch.header.partition_leader_epoch)));
            Ok(found.unwrap_or((-1, -1)))
        }
    }
}
