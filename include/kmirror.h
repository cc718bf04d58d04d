/*
 * kmirror: copies a Kafka cluster to another one, live, from inside a program.
 *
 * Generated from bindings/c; to change it, change the comments there and run
 * KMIRROR_BLESS=1 cargo test --test it c_header
 *
 *     kmirror_config_t *config = kmirror_config_new();
 *     kmirror_config_set(config, "source.bootstrap.servers", "a:9092");
 *     kmirror_config_set(config, "target.bootstrap.servers", "b:9092");
 *     kmirror_config_set(config, "topics", "orders");
 *     kmirror_t *mirror = NULL;
 *     kmirror_error_t *error = kmirror_start(config, &mirror);
 *     kmirror_config_free(config);
 *
 * Errors. A function that can fail returns kmirror_error_t *: NULL is success, and anything else is the caller's to free.
 * What a function gives back through a pointer is written on success only. A NULL where an object or a string is needed is an
 * error, never a crash. A bug in the library is KMIRROR_ERROR_INTERNAL.
 *
 * Ownership. What a function returns through kmirror_..._t * is the caller's, to be freed once with the _free function of
 * its type; each of them takes NULL. A string belongs to the object it was asked of and lives as long as that. Arguments
 * are copied. Strings are UTF-8 and end with a NUL.
 *
 * Threads. A kmirror_t may be used from any number of threads at once; nothing may use it while or after it is freed. Every
 * other object: from one thread at a time. The library has threads of its own for each mirror, calls no code of the
 * host, installs no signal handler and keeps no global state. A mirror does not live on in a child after fork(): start
 * it in the process that uses it.
 *
 * Time. A timeout is in milliseconds; below 0 means without limit.
 */


#ifndef KMIRROR_H
#define KMIRROR_H

#include <stdbool.h>
#include <stdint.h>

/** The version of this header. */
#define KMIRROR_VERSION "0.1.0"
#define KMIRROR_VERSION_MAJOR 0
#define KMIRROR_VERSION_MINOR 1
#define KMIRROR_VERSION_PATCH 0

/* What kmirror_error_code returns. A number keeps its meaning for ever; later versions may have more. */
/** A bug in kmirror: please report it with the log. */
#define KMIRROR_ERROR_INTERNAL 1
/** The configuration cannot work: every problem is listed, with the nearest known key. */
#define KMIRROR_ERROR_CONFIG 2
/** A cluster cannot be reached: check bootstrap.servers, the advertised listeners and the network. */
#define KMIRROR_ERROR_CONNECT 3
/** The cluster refused the credentials: check security.protocol and the sasl. and ssl. keys. */
#define KMIRROR_ERROR_AUTHENTICATION 4
/** A permission is missing: the message names the resource and the operation to allow. */
#define KMIRROR_ERROR_AUTHORIZATION 5
/** This topic cannot be mirrored as it is; the others go on. */
#define KMIRROR_ERROR_TOPIC 6
/** Source records are gone before they were replicated: on.data.loss decides what happens. */
#define KMIRROR_ERROR_DATA_LOSS 7
/** The source topic is not the one that was mirrored: on.topic.reset decides what happens. */
#define KMIRROR_ERROR_TOPIC_RESET 8
/** The target partition has data from elsewhere: mirror to an empty topic, or remove the other writer. */
#define KMIRROR_ERROR_TARGET_CONFLICT 9
/** Offsets without a record at the source cannot be reproduced on this target. */
#define KMIRROR_ERROR_OFFSET_GAP 10
/** The target does not take this record: on.record.refused decides what happens. */
#define KMIRROR_ERROR_RECORD_REFUSED 11
/** Another process runs the mirror of this name: stop one of them. */
#define KMIRROR_ERROR_FENCED 12
/** The broker does not offer a request that is needed. */
#define KMIRROR_ERROR_UNSUPPORTED 13
/** Source and target differ: the report says where. */
#define KMIRROR_ERROR_VERIFICATION_FAILED 14
/** It did not happen in the time given; it may still happen. */
#define KMIRROR_ERROR_TIMED_OUT 15
/** The call does not fit the state of the mirror, for example because it was stopped. */
#define KMIRROR_ERROR_STATE 16
/** A broker answers with an error that usually passes: it is retried. */
#define KMIRROR_ERROR_BROKER 17
/** Source and target hold different records at the same offset: compare them with kmirror verify. */
#define KMIRROR_ERROR_DIVERGED 18

/* What kmirror_event_kind returns. A number keeps its meaning for ever; later versions may have more. */
#define KMIRROR_EVENT_STATE_CHANGED 1
#define KMIRROR_EVENT_LAG 2
#define KMIRROR_EVENT_LAG_ABOVE 3
#define KMIRROR_EVENT_LAG_BELOW 4
#define KMIRROR_EVENT_TOPIC_ADDED 5
#define KMIRROR_EVENT_TOPIC_REMOVED 6
#define KMIRROR_EVENT_PARTITION_PARKED 7
#define KMIRROR_EVENT_PARTITION_RESUMED 8
#define KMIRROR_EVENT_DATA_LOSS 9
#define KMIRROR_EVENT_GROUP_SYNCED 10
#define KMIRROR_EVENT_GROUP_SKIPPED 11
#define KMIRROR_EVENT_ERROR 12


/**
 * Where records are read.
 */
#define KMIRROR_SOURCE 0

/**
 * Where records are written.
 */
#define KMIRROR_TARGET 1

/**
 * Properties for a mirror. Use it from one thread at a time.
 */
typedef struct kmirror_config_t kmirror_config_t;

/**
 * What went wrong. NULL is success.
 */
typedef struct kmirror_error_t kmirror_error_t;

/**
 * Something a mirror has to tell.
 */
typedef struct kmirror_event_t kmirror_event_t;

/**
 * A running mirror. Use it from any thread.
 */
typedef struct kmirror_t kmirror_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * An empty configuration. Free it with kmirror_config_free; it may go as soon as the mirror has started.
 */
kmirror_config_t *kmirror_config_new(void);

/**
 * Sets a property, for example "source.bootstrap.servers" or "topics". The last value of a key counts, and it counts
 * before what a file says. Whether key and value are right is told by kmirror_start, for all of them at once.
 */
kmirror_error_t *kmirror_config_set(kmirror_config_t *config,
                                    const char *key,
                                    const char *value);

/**
 * Reads the properties file of a Kafka client: of a consumer for KMIRROR_SOURCE, of a producer for KMIRROR_TARGET. Its
 * keys have no "source." or "target." before them.
 */
kmirror_error_t *kmirror_config_load(kmirror_config_t *config,
                                     int side,
                                     const char *path);

/**
 * Frees a configuration. Mirrors that were started with it go on.
 */
void kmirror_config_free(kmirror_config_t *config);

/**
 * Starts a mirror, and gives it to the caller in *mirror. Returns when copying has begun, or with what keeps it from
 * beginning; *mirror is written only in the first case. Later trouble is told by events. The configuration is
 * copied and stays the caller's.
 */
kmirror_error_t *kmirror_start(const kmirror_config_t *config,
                               kmirror_t **mirror);

/**
 * The next event, to be freed with kmirror_event_free; NULL if there was none in the given time. Several threads may
 * call this; each event goes to one of them.
 */
kmirror_event_t *kmirror_poll(const kmirror_t *mirror,
                              int64_t timeout_ms);

/**
 * Waits until every selected partition has reached the source's end as it is at the time of this call. Fails with the
 * error of a partition that never will, with KMIRROR_ERROR_TIMED_OUT when the time has passed, and with
 * KMIRROR_ERROR_STATE when the mirror ends meanwhile.
 */
kmirror_error_t *kmirror_wait_until_caught_up(const kmirror_t *mirror,
                                              int64_t timeout_ms);

/**
 * Stops fetching. What is under way is finished; connections stay open.
 */
kmirror_error_t *kmirror_pause(const kmirror_t *mirror);

/**
 * Goes on after kmirror_pause.
 */
kmirror_error_t *kmirror_resume(const kmirror_t *mirror);

/**
 * Stops the mirror: nothing more is fetched or sent, and answers under way are waited for at most so long. The target is
 * exact at any moment; what was not sent is copied by the next start. Stopping twice is no error. Events that wait can
 * still be polled.
 */
kmirror_error_t *kmirror_stop(const kmirror_t *mirror,
                              int64_t timeout_ms);

/**
 * Frees a mirror. One that still runs is stopped first, which takes ten seconds at most.
 */
void kmirror_free(kmirror_t *mirror);

/**
 * The version of the library that runs, which may be another than KMIRROR_VERSION, that of the header.
 */
const char *kmirror_version(void);

/**
 * One of KMIRROR_ERROR_*; 0 for NULL.
 */
int32_t kmirror_error_code(const kmirror_error_t *error);

/**
 * The name of the code, for example "connect"; "success" for NULL.
 */
const char *kmirror_error_name(const kmirror_error_t *error);

/**
 * What happened, where, and what to do, for a person to read; empty for NULL. Secrets are never in it.
 */
const char *kmirror_error_message(const kmirror_error_t *error);

/**
 * Whether the same call may succeed later without anybody changing anything.
 */
bool kmirror_error_is_retriable(const kmirror_error_t *error);

/**
 * Whether the mirror, or the partition it is about, cannot go on.
 */
bool kmirror_error_is_fatal(const kmirror_error_t *error);

/**
 * The topic it is about; NULL if it is about none.
 */
const char *kmirror_error_topic(const kmirror_error_t *error);

/**
 * The partition it is about; -1 if it is about none.
 */
int32_t kmirror_error_partition(const kmirror_error_t *error);

/**
 * The source offset it is about; -1 if it is about none.
 */
int64_t kmirror_error_offset(const kmirror_error_t *error);

/**
 * Frees an error, and the strings that were asked of it.
 */
void kmirror_error_free(kmirror_error_t *error);

/**
 * One of KMIRROR_EVENT_*; 0 for NULL. Later versions may have more kinds.
 */
int32_t kmirror_event_kind(const kmirror_event_t *event);

/**
 * The topic it is about; NULL if it is about all, or none.
 */
const char *kmirror_event_topic(const kmirror_event_t *event);

/**
 * The partition it is about; -1 if it is about none.
 */
int32_t kmirror_event_partition(const kmirror_event_t *event);

/**
 * How many records the target is behind; -1 if the event is not about lag.
 */
int64_t kmirror_event_lag_records(const kmirror_event_t *event);

/**
 * How many bytes the target is behind, estimated; -1 if the event is not about lag.
 */
int64_t kmirror_event_lag_bytes(const kmirror_event_t *event);

/**
 * How many milliseconds the target is behind; -1 if the event is not about lag.
 */
int64_t kmirror_event_lag_ms(const kmirror_event_t *event);

/**
 * The event as a sentence; empty for NULL.
 */
const char *kmirror_event_message(const kmirror_event_t *event);

/**
 * Frees an event, and the strings that were asked of it.
 */
void kmirror_event_free(kmirror_event_t *event);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KMIRROR_H */
