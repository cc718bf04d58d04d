//! What a mirror knows of itself at one moment, as an object that C can ask; it does not change any more.
//!
//! Topics are asked for by their number, partitions by topic and partition; everything else is in the JSON.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use engine::{AsOf, PartitionStatus, Status, TopicStatus};

use crate::boundary::{Json, ask, boundary, c_string, count, known, part_of, take_back};
use crate::error::kmirror_error_t;

/// What a mirror knew of itself at one moment.
pub struct kmirror_status_t {
    status: Status,
    name: CString,
    state: CString,
    error: Option<kmirror_error_t>,
    topics: Vec<CString>,
    partition_states: Vec<CString>,
    partition_errors: Vec<Option<kmirror_error_t>>,
    json: Json,
}

impl kmirror_status_t {
    pub(crate) fn new(status: Status) -> Self {
        let partitions = || status.topics.iter().flat_map(|topic| &topic.partitions);
        kmirror_status_t {
            name: c_string(&status.name),
            state: c_string(status.state.name()),
            error: status.error.as_ref().map(kmirror_error_t::new),
            topics: status.topics.iter().map(|topic| c_string(&topic.topic)).collect(),
            partition_states: partitions().map(|partition| c_string(partition.state.name())).collect(),
            partition_errors: partitions().map(|one| one.error.as_ref().map(kmirror_error_t::new)).collect(),
            json: Json::of(&status),
            status,
        }
    }

    fn topic(&self, topic: usize) -> Option<&TopicStatus> {
        self.status.topics.get(topic)
    }

    /// The number of a partition among all, and itself.
    fn partition(&self, topic: usize, partition: usize) -> Option<(usize, &PartitionStatus)> {
        let before: usize = self.status.topics.get(..topic)?.iter().map(|topic| topic.partitions.len()).sum();
        Some((before + partition, self.topic(topic)?.partitions.get(partition)?))
    }
}

const NOTHING: &CStr = c"";

/// The mirror's name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_name(status: *const kmirror_status_t) -> *const c_char {
    boundary!(else NOTHING.as_ptr(), {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe { ask(status, NOTHING.as_ptr(), |status| status.name.as_ptr()) }
    })
}

/// The mirror's state, for example "in_sync"; empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_state(status: *const kmirror_status_t) -> *const c_char {
    boundary!(else NOTHING.as_ptr(), {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe { ask(status, NOTHING.as_ptr(), |status| status.state.as_ptr()) }
    })
}

/// How many records the target is behind, in all topics; -1 if that is not known of all of them, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_lag_records(status: *const kmirror_status_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe { ask(status, -1, |status| known(status.status.lag.records)) }
    })
}

/// How many bytes the target is behind, estimated; -1 if that is not known, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_lag_bytes(status: *const kmirror_status_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe { ask(status, -1, |status| known(status.status.lag.bytes)) }
    })
}

/// How old the oldest record is that the target lacks, in milliseconds; -1 if that is not known, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_lag_ms(status: *const kmirror_status_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe { ask(status, -1, |status| known(status.status.lag.ms)) }
    })
}

/// When the source was heard last of the partition that was heard the longest ago, in milliseconds since 1970; -1 if one was never
/// heard, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_source_as_of_ms(status: *const kmirror_status_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe { ask(status, -1, |status| status.status.lag.as_of.source_ms.unwrap_or(-1)) }
    })
}

/// As kmirror_status_source_as_of_ms, of the target.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_target_as_of_ms(status: *const kmirror_status_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe { ask(status, -1, |status| status.status.lag.as_of.target_ms.unwrap_or(-1)) }
    })
}

/// Records replicated since the start; -1 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_replicated_records(status: *const kmirror_status_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe { ask(status, -1, |status| count(status.status.replicated_records)) }
    })
}

/// Bytes replicated since the start, as compressed; -1 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_replicated_bytes(status: *const kmirror_status_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe { ask(status, -1, |status| count(status.status.replicated_bytes)) }
    })
}

/// Events that were dropped because nobody polled them, or because callbacks took too long; -1 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_events_dropped(status: *const kmirror_status_t) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe { ask(status, -1, |status| count(status.status.events_dropped)) }
    })
}

/// Why the mirror has failed, NULL if it has not. It belongs to the status and is not to be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_error(status: *const kmirror_status_t) -> *const kmirror_error_t {
    boundary!(else ptr::null(), {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe { ask(status, ptr::null(), |status| part_of(status.error.as_ref())) }
    })
}

/// How many topics are mirrored; their numbers begin at 0. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_topic_count(status: *const kmirror_status_t) -> usize {
    boundary!(else 0, {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe { ask(status, 0, |status| status.topics.len()) }
    })
}

/// The name of a topic at the source; NULL if there is none of this number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_topic(status: *const kmirror_status_t, topic: usize) -> *const c_char {
    boundary!(else ptr::null(), {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe { ask(status, ptr::null(), |status| status.topics.get(topic).map_or(ptr::null(), |name| name.as_ptr())) }
    })
}

/// How many records a topic is behind; -1 if that is not known, or there is none of this number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_topic_lag_records(status: *const kmirror_status_t, topic: usize) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe { ask(status, -1, |status| status.topic(topic).map_or(-1, |topic| known(topic.lag.records))) }
    })
}

/// How old the oldest record of a topic is that the target lacks, in milliseconds; -1 if that is not known, or there is none of
/// this number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_topic_lag_ms(status: *const kmirror_status_t, topic: usize) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe { ask(status, -1, |status| status.topic(topic).map_or(-1, |topic| known(topic.lag.ms))) }
    })
}

/// How many partitions a topic has; their numbers begin at 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_partition_count(status: *const kmirror_status_t, topic: usize) -> usize {
    boundary!(else 0, {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe { ask(status, 0, |status| status.topic(topic).map_or(0, |topic| topic.partitions.len())) }
    })
}

/// The state of a partition, for example "in_sync"; NULL if there is none of these numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_partition_state(
    status: *const kmirror_status_t,
    topic: usize,
    partition: usize,
) -> *const c_char {
    boundary!(else ptr::null(), {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe {
            ask(status, ptr::null(), |status| {
                let index = status.partition(topic, partition).map(|(index, _)| index);
                index.and_then(|index| status.partition_states.get(index)).map_or(ptr::null(), |state| state.as_ptr())
            })
        }
    })
}

/// The next offset of the source that consumers can see; -1 if it is not known yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_partition_source_offset_next(
    status: *const kmirror_status_t,
    topic: usize,
    partition: usize,
) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe {
            ask(status, -1, |status| {
                status.partition(topic, partition).and_then(|(_, partition)| partition.source_offset_next).unwrap_or(-1)
            })
        }
    })
}

/// The next offset to be replicated, the same number on source and target; -1 if it is not known yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_partition_target_offset_next(
    status: *const kmirror_status_t,
    topic: usize,
    partition: usize,
) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe {
            ask(status, -1, |status| {
                status.partition(topic, partition).and_then(|(_, partition)| partition.target_offset_next).unwrap_or(-1)
            })
        }
    })
}

/// # Safety
/// A status that lives, or NULL.
unsafe fn partition_as_of(
    status: *const kmirror_status_t,
    [topic, partition]: [usize; 2],
    side: impl FnOnce(AsOf) -> Option<i64>,
) -> i64 {
    let ask_side = |status: &kmirror_status_t| side(status.partition(topic, partition)?.1.lag.as_of);
    // SAFETY: the caller vouches for it.
    unsafe { ask(status, -1, |status| ask_side(status).unwrap_or(-1)) }
}

/// When the source said last where a partition ends, in milliseconds since 1970; -1 if it never has, or there is none of these numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_partition_source_as_of_ms(
    status: *const kmirror_status_t,
    topic: usize,
    partition: usize,
) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe { partition_as_of(status, [topic, partition], |as_of| as_of.source_ms) }
    })
}

/// When the target said last where a partition ends, or that it has taken records; -1 if it never has, or there is none of these numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_partition_target_as_of_ms(
    status: *const kmirror_status_t,
    topic: usize,
    partition: usize,
) -> i64 {
    boundary!(else -1, {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe { partition_as_of(status, [topic, partition], |as_of| as_of.target_ms) }
    })
}

/// Records that were not copied since the start because they had come from the target: with `offsets=translate`, where another mirror
/// copies the other way. 0 if there is none of these numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_partition_left_out_as_echo(
    status: *const kmirror_status_t,
    topic: usize,
    partition: usize,
) -> u64 {
    boundary!(else 0, {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe {
            ask(status, 0, |status| {
                status.partition(topic, partition).map_or(0, |(_, partition)| partition.left_out_as_echo)
            })
        }
    })
}

/// Why a partition does not progress; NULL if it does. It belongs to the status and is not to be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_partition_error(
    status: *const kmirror_status_t,
    topic: usize,
    partition: usize,
) -> *const kmirror_error_t {
    boundary!(else ptr::null(), {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe {
            ask(status, ptr::null(), |status| {
                let index = status.partition(topic, partition).map(|(index, _)| index);
                part_of(index.and_then(|index| status.partition_errors.get(index)?.as_ref()))
            })
        }
    })
}

/// All of it as a JSON document, also what there is no function for; empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_json(status: *const kmirror_status_t) -> *const c_char {
    boundary!(else NOTHING.as_ptr(), {
        // SAFETY: the header asks for a status that lives, or NULL.
        unsafe { ask(status, NOTHING.as_ptr(), |status| status.json.as_ptr()) }
    })
}

/// Frees a status, and the strings and errors that were asked of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_status_free(status: *mut kmirror_status_t) {
    boundary!(else (), {
        // SAFETY: the header asks for an object that was not freed yet, or NULL.
        unsafe { take_back(status) }
    })
}
