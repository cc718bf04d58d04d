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
 * error, never a crash. A bug in the library is KMIRROR_ERROR_INTERNAL; no panic and no exception leaves it.
 *
 * Ownership. What a function returns through kmirror_..._t * or gives to the caller is the caller's, to be freed once with the
 * _free function of its type; each of them takes NULL. What it returns through const ... * belongs to the object it was asked of
 * and lives as long as that. Arguments are copied. Strings are UTF-8 and end with a NUL, whatever the locale is.
 *
 * Threads. A kmirror_t and a kmirror_cancellation_t may be used from any number of threads at once; nothing may use them while or
 * after they are freed. Every other object: from one thread at a time. The library has threads of its own for each mirror, all
 * named kmirror-...
 *
 * Callbacks. All of a mirror come from one of its threads, kmirror-events, one after the other, and none while the library holds
 * a lock: a callback may call everything, kmirror_stop and kmirror_free too. The mirror never waits for one; while one takes long,
 * events and log lines wait, and when there are too many, lag and log lines are lost first. A callback may run until it was replaced
 * or kmirror_free has returned, so what its opaque pointer points to has to live that long; kmirror_free waits for a callback for
 * ten seconds at most. The _full functions take a function that frees it, which is called once, from whichever thread, when no
 * callback will be called with it any more: that is right also when a callback takes longer. A callback must return, not throw
 * or jump out.
 *
 * Signals. The library installs no handler, its threads block all signals but those of a crash, and it never raises SIGPIPE.
 * Waiting functions go on after a signal; a handler ends them by kmirror_cancellation_cancel, which it may call.
 *
 * Fork. A child after fork() has none of the mirror's threads: every function that takes a kmirror_t fails there with
 * KMIRROR_ERROR_FORKED, kmirror_free stops nothing there, and the parent's mirror goes on. Start a mirror in the process that
 * uses it; that may be such a child. Descriptors are closed on exec.
 *
 * Unloading. dlclose is not supported while a mirror or an object of this library lives, nor while a callback runs.
 *
 * Time. A timeout is in milliseconds; below 0 means without limit.
 */


#ifndef KMIRROR_H
#define KMIRROR_H

#include <stdbool.h>
#include <stddef.h>
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
/** Source and target differ, or are not proved to be equal: the report says where. */
#define KMIRROR_ERROR_VERIFICATION_FAILED 14
/** It did not happen in the time given; it may still happen. */
#define KMIRROR_ERROR_TIMED_OUT 15
/** The call does not fit the state of the mirror, for example because it was stopped. */
#define KMIRROR_ERROR_STATE 16
/** A broker answers with an error that usually passes: it is retried. */
#define KMIRROR_ERROR_BROKER 17
/** Source and target hold different records at the same offset: compare them with kmirror verify. */
#define KMIRROR_ERROR_DIVERGED 18
/** The mirror belongs to the process this one was forked from: start one in the process that uses it. */
#define KMIRROR_ERROR_FORKED 19

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
 * Both, and the mirror itself: keys of a cluster begin with "source." or "target.".
 */
#define KMIRROR_MIRROR 2

/**
 * Somebody has to do something.
 */
#define KMIRROR_LOG_ERROR 1

/**
 * It may pass.
 */
#define KMIRROR_LOG_WARN 2

/**
 * What happens.
 */
#define KMIRROR_LOG_INFO 3

/**
 * For those who look for the cause of something.
 */
#define KMIRROR_LOG_DEBUG 4

/**
 * Everything.
 */
#define KMIRROR_LOG_TRACE 5

/**
 * Ends the waiting of calls that it was given to. One may be given to any number of calls; once cancelled it stays so.
 */
typedef struct kmirror_cancellation_t kmirror_cancellation_t;

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
 * What a check, a plan, a verification or a switch-over has come to.
 */
typedef struct kmirror_report_t kmirror_report_t;

/**
 * What a mirror knew of itself at one moment.
 */
typedef struct kmirror_status_t kmirror_status_t;

/**
 * A running mirror. Use it from any thread.
 */
typedef struct kmirror_t kmirror_t;

/**
 * Called with an event, which is not the callback's to free and lives until it returns.
 */
typedef void (*kmirror_event_callback_t)(const kmirror_event_t *event, void *opaque);

/**
 * Called once with an opaque pointer when no callback will be called with it any more.
 */
typedef void (*kmirror_opaque_free_t)(void *opaque);

/**
 * Called with one of KMIRROR_LOG_* and a line, which lives until it returns.
 */
typedef void (*kmirror_log_callback_t)(int level, const char *message, void *opaque);

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
 * Reads a properties file: of a consumer for KMIRROR_SOURCE and of a producer for KMIRROR_TARGET, whose keys have no "source." or
 * "target." before them, or of a mirror for KMIRROR_MIRROR, whose keys have.
 */
kmirror_error_t *kmirror_config_load(kmirror_config_t *config,
                                     int side,
                                     const char *path);

/**
 * Tells all problems at once, as kmirror_start would before it connects, and keeps the warnings for kmirror_config_warnings.
 */
kmirror_error_t *kmirror_config_check(kmirror_config_t *config);

/**
 * What kmirror_config_check has found that works, but perhaps not as meant, a line each; empty if there is nothing. It lives until the
 * next check.
 */
const char *kmirror_config_warnings(const kmirror_config_t *config);

/**
 * Looks whether a mirror would run, and gives what was found to the caller in *report: connections to every broker, permissions, topics,
 * clocks; that something is wrong is no error. Writes nothing. cancellation may be NULL.
 */
kmirror_error_t *kmirror_check(const kmirror_config_t *config,
                               const kmirror_cancellation_t *cancellation,
                               kmirror_report_t **report);

/**
 * Works out what a mirror would do, also what it could not, and gives it to the caller in *report. Connects to both clusters and
 * writes nothing. cancellation may be NULL.
 */
kmirror_error_t *kmirror_plan(const kmirror_config_t *config,
                              const kmirror_cancellation_t *cancellation,
                              kmirror_report_t **report);

/**
 * Compares what consumers would read from both clusters, without a mirror, and gives it to the caller in *report; that there are
 * differences is no error. topics are patterns that select from the configured ones, NULL is all; sample is how much of a partition,
 * as "5%" or as a number of offsets, NULL is everything; cancellation may be NULL.
 */
kmirror_error_t *kmirror_config_verify(const kmirror_config_t *config,
                                       const char *topics,
                                       const char *sample,
                                       int64_t timeout_ms,
                                       const kmirror_cancellation_t *cancellation,
                                       kmirror_report_t **report);

/**
 * Ends the mirror of this configuration for a switch-over from outside, as kmirror_promote does for one that runs here: it has to be
 * stopped, or its process to be gone. With force also when not everything can be copied in time; the report says what is missing.
 * cancellation may be NULL.
 */
kmirror_error_t *kmirror_config_promote(const kmirror_config_t *config,
                                        bool force,
                                        int64_t timeout_ms,
                                        const kmirror_cancellation_t *cancellation,
                                        kmirror_report_t **report);

/**
 * Frees a configuration. Mirrors that were started with it go on.
 */
void kmirror_config_free(kmirror_config_t *config);

/**
 * A cancellation for calls that wait. Free it with kmirror_cancellation_free when none of them runs any more.
 */
kmirror_cancellation_t *kmirror_cancellation_new(void);

/**
 * Has the calls that it was given to give up, from any thread or from a signal handler. They look at it every 50 ms and return
 * KMIRROR_ERROR_TIMED_OUT: a start stops what it has begun, a check, a plan and a verification break off, a wait leaves the mirror as
 * it is, and a switch-over ends where nothing is marked yet; when it is too late for that it comes to its end. NULL is no error.
 */
void kmirror_cancellation_cancel(const kmirror_cancellation_t *cancellation);

/**
 * Frees a cancellation.
 */
void kmirror_cancellation_free(kmirror_cancellation_t *cancellation);

/**
 * Starts a mirror, and gives it to the caller in *mirror. Returns when copying has begun, or with what keeps it from
 * beginning; *mirror is written only in the first case. Later trouble is told by events. The configuration is
 * copied and stays the caller's.
 */
kmirror_error_t *kmirror_start(const kmirror_config_t *config,
                               kmirror_t **mirror);

/**
 * As kmirror_start, until it is cancelled: then what had begun to start is stopped. cancellation may be NULL.
 */
kmirror_error_t *kmirror_start_cancellable(const kmirror_config_t *config,
                                           const kmirror_cancellation_t *cancellation,
                                           kmirror_t **mirror);

/**
 * The next event, to be freed with kmirror_event_free; NULL if there was none in the given time, and at once if the mirror has ended
 * and none is left. Several threads may call this; each event goes to one of them. In a child after fork() it is always one of
 * the kind KMIRROR_EVENT_ERROR, whose error is KMIRROR_ERROR_FORKED.
 */
kmirror_event_t *kmirror_poll(const kmirror_t *mirror,
                              int64_t timeout_ms);

/**
 * A file descriptor that is readable while events wait for kmirror_poll, for those who wait for other things at the same time: poll
 * with a timeout of 0 until there is none, then wait again. It lives as long as the mirror; nothing but waiting may be done with
 * it. -1 if there is none: for NULL, in a child after fork(), and where the process may have no more descriptors.
 */
int kmirror_event_fd(const kmirror_t *mirror);

/**
 * The mirror's state, for example "in_sync". It is never to be freed. Empty for NULL and in a child after fork().
 */
const char *kmirror_state(const kmirror_t *mirror);

/**
 * What keeps the mirror, or a part of it, from going on now: the error that it has failed with, or that of the first partition or topic
 * that is not copied, and how many there are. NULL if everything goes on. To be freed with kmirror_error_free. Ask before
 * kmirror_stop: whoever leaves a mirror does not hear of what it could not copy any more.
 */
kmirror_error_t *kmirror_trouble(const kmirror_t *mirror);

/**
 * Gives everything the mirror knows of itself now to the caller in *status.
 */
kmirror_error_t *kmirror_status(const kmirror_t *mirror, kmirror_status_t **status);

/**
 * Changes throttle.bytes.per.second for the mirror as it runs; 0 and below are without limit.
 */
kmirror_error_t *kmirror_set_throttle(const kmirror_t *mirror, int64_t bytes_per_second);

/**
 * Compares what consumers would read from both clusters, for the topics of this mirror, while it runs or later, and gives it to the
 * caller in *report; that there are differences is no error. Fails with KMIRROR_ERROR_TIMED_OUT when the time has passed. cancellation
 * may be NULL.
 */
kmirror_error_t *kmirror_verify(const kmirror_t *mirror,
                                int64_t timeout_ms,
                                const kmirror_cancellation_t *cancellation,
                                kmirror_report_t **report);

/**
 * Ends the mirror for a switch-over: copies what the source has, marks the mirror on the target so that no process of it writes again,
 * and gives what was and was not copied to the caller in *report. Fails with KMIRROR_ERROR_TIMED_OUT if the source is there and not
 * everything was copied in time: then the mirror goes on, and nothing is marked. cancellation may be NULL.
 */
kmirror_error_t *kmirror_promote(const kmirror_t *mirror,
                                 int64_t timeout_ms,
                                 const kmirror_cancellation_t *cancellation,
                                 kmirror_report_t **report);

/**
 * Waits until every selected partition has reached the source's end as it is at the time of this call. Fails with the
 * error of a partition that never will, with KMIRROR_ERROR_TIMED_OUT when the time has passed, and with
 * KMIRROR_ERROR_STATE when the mirror ends meanwhile.
 */
kmirror_error_t *kmirror_wait_until_caught_up(const kmirror_t *mirror,
                                              int64_t timeout_ms);

/**
 * As kmirror_wait_until_caught_up, until it is cancelled. cancellation may be NULL.
 */
kmirror_error_t *kmirror_wait_until_caught_up_cancellable(const kmirror_t *mirror,
                                                          int64_t timeout_ms,
                                                          const kmirror_cancellation_t *cancellation);

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
 * Frees a mirror. One that still runs is stopped first, and callbacks that run are waited for, both for ten seconds at most. In a child
 * after fork() nothing is stopped, and what the mirror holds stays allocated.
 */
void kmirror_free(kmirror_t *mirror);

/**
 * The version of the library that runs, which may be another than KMIRROR_VERSION, that of the header.
 */
const char *kmirror_version(void);

/**
 * Has callback called with every event, also with those before but for lag; NULL ends it. What is polled is not less for it.
 * See "Callbacks" above.
 */
kmirror_error_t *kmirror_set_event_callback(const kmirror_t *mirror,
                                            kmirror_event_callback_t callback,
                                            void *opaque);

/**
 * As kmirror_set_event_callback. opaque_free, unless it is NULL, is called once with opaque when callback will not be called any
 * more: after another one was set, after kmirror_free, or at once when this fails or callback is NULL.
 */
kmirror_error_t *kmirror_set_event_callback_full(const kmirror_t *mirror,
                                                 kmirror_event_callback_t callback,
                                                 void *opaque,
                                                 kmirror_opaque_free_t opaque_free);

/**
 * Has callback called with KMIRROR_EVENT_LAG, of each topic and without a topic of all, and with KMIRROR_EVENT_LAG_ABOVE and
 * KMIRROR_EVENT_LAG_BELOW; NULL ends it. What is polled is not less for it. See "Callbacks" above.
 */
kmirror_error_t *kmirror_set_lag_callback(const kmirror_t *mirror,
                                          kmirror_event_callback_t callback,
                                          void *opaque);

/**
 * As kmirror_set_lag_callback, with opaque_free as in kmirror_set_event_callback_full.
 */
kmirror_error_t *kmirror_set_lag_callback_full(const kmirror_t *mirror,
                                               kmirror_event_callback_t callback,
                                               void *opaque,
                                               kmirror_opaque_free_t opaque_free);

/**
 * Has callback called with what the mirror logs at KMIRROR_LOG_INFO and above, also with what it has logged since its start; NULL
 * ends it. Without a callback, here or in its configuration, warnings and errors are written to standard error, and nothing is
 * after this was called, also with NULL. See "Callbacks" above.
 */
kmirror_error_t *kmirror_set_log_callback(const kmirror_t *mirror,
                                          kmirror_log_callback_t callback,
                                          void *opaque);

/**
 * As kmirror_set_log_callback at another level, with opaque_free as in kmirror_set_event_callback_full.
 */
kmirror_error_t *kmirror_set_log_callback_full(const kmirror_t *mirror,
                                               int level,
                                               kmirror_log_callback_t callback,
                                               void *opaque,
                                               kmirror_opaque_free_t opaque_free);

/**
 * As kmirror_set_log_callback_full for mirrors that are started with this configuration: from the beginning, and also when they
 * cannot start; kmirror_start returns when the callback was told everything then. With NULL they log nowhere, not even warnings to
 * standard error. opaque_free is called when the configuration and all of them are freed, and at once when this fails or callback
 * is NULL.
 */
kmirror_error_t *kmirror_config_set_log_callback(kmirror_config_t *config,
                                                 int level,
                                                 kmirror_log_callback_t callback,
                                                 void *opaque,
                                                 kmirror_opaque_free_t opaque_free);

/**
 * One of KMIRROR_EVENT_*; 0 for NULL. Later versions may have more kinds.
 */
int32_t kmirror_event_kind(const kmirror_event_t *event);

/**
 * The name of the kind, for example "lag_above"; empty for NULL.
 */
const char *kmirror_event_name(const kmirror_event_t *event);

/**
 * When it happened, in milliseconds since 1970; -1 for NULL.
 */
int64_t kmirror_event_timestamp_ms(const kmirror_event_t *event);

/**
 * The state the mirror is in now, for example "in_sync", if the event is KMIRROR_EVENT_STATE_CHANGED; otherwise NULL.
 */
const char *kmirror_event_state(const kmirror_event_t *event);

/**
 * The topic it is about; NULL if it is about all, or none.
 */
const char *kmirror_event_topic(const kmirror_event_t *event);

/**
 * The partition it is about; -1 if it is about none.
 */
int32_t kmirror_event_partition(const kmirror_event_t *event);

/**
 * The consumer group it is about; NULL if it is about none, or about all.
 */
const char *kmirror_event_group(const kmirror_event_t *event);

/**
 * How many records the target is behind; -1 if that is not known, or the event is not about lag.
 */
int64_t kmirror_event_lag_records(const kmirror_event_t *event);

/**
 * How many bytes the target is behind, estimated; -1 if that is not known, or the event is not about lag.
 */
int64_t kmirror_event_lag_bytes(const kmirror_event_t *event);

/**
 * How old the oldest record is that the target lacks, in milliseconds; -1 if that is not known, or the event is not about lag.
 */
int64_t kmirror_event_lag_ms(const kmirror_event_t *event);

/**
 * When the source was heard last, for an event about lag, in milliseconds since 1970; -1 if it was not, or for other events.
 */
int64_t kmirror_event_source_as_of_ms(const kmirror_event_t *event);

/**
 * When the target was heard last, for an event about lag, in milliseconds since 1970; -1 if it was not, or for other events.
 */
int64_t kmirror_event_target_as_of_ms(const kmirror_event_t *event);

/**
 * The event as a sentence; empty for NULL.
 */
const char *kmirror_event_message(const kmirror_event_t *event);

/**
 * The error that is the reason; NULL if there is none. It belongs to the event and is not to be freed.
 */
const kmirror_error_t *kmirror_event_error(const kmirror_event_t *event);

/**
 * All of it as a JSON document; empty for NULL.
 */
const char *kmirror_event_json(const kmirror_event_t *event);

/**
 * Frees an event that kmirror_poll has returned, and the strings and errors that were asked of it.
 */
void kmirror_event_free(kmirror_event_t *event);

/**
 * The mirror's name.
 */
const char *kmirror_status_name(const kmirror_status_t *status);

/**
 * The mirror's state, for example "in_sync"; empty for NULL.
 */
const char *kmirror_status_state(const kmirror_status_t *status);

/**
 * How many records the target is behind, in all topics; -1 if that is not known of all of them, and for NULL.
 */
int64_t kmirror_status_lag_records(const kmirror_status_t *status);

/**
 * How many bytes the target is behind, estimated; -1 if that is not known, and for NULL.
 */
int64_t kmirror_status_lag_bytes(const kmirror_status_t *status);

/**
 * How old the oldest record is that the target lacks, in milliseconds; -1 if that is not known, and for NULL.
 */
int64_t kmirror_status_lag_ms(const kmirror_status_t *status);

/**
 * When the source was heard last of the partition that was heard the longest ago, in milliseconds since 1970; -1 if one was never
 * heard, and for NULL.
 */
int64_t kmirror_status_source_as_of_ms(const kmirror_status_t *status);

/**
 * As kmirror_status_source_as_of_ms, of the target.
 */
int64_t kmirror_status_target_as_of_ms(const kmirror_status_t *status);

/**
 * Records replicated since the start; -1 for NULL.
 */
int64_t kmirror_status_replicated_records(const kmirror_status_t *status);

/**
 * Bytes replicated since the start, as compressed; -1 for NULL.
 */
int64_t kmirror_status_replicated_bytes(const kmirror_status_t *status);

/**
 * Events that were dropped because nobody polled them, or because callbacks took too long; -1 for NULL.
 */
int64_t kmirror_status_events_dropped(const kmirror_status_t *status);

/**
 * Why the mirror has failed, NULL if it has not. It belongs to the status and is not to be freed.
 */
const kmirror_error_t *kmirror_status_error(const kmirror_status_t *status);

/**
 * How many topics are mirrored; their numbers begin at 0. 0 for NULL.
 */
size_t kmirror_status_topic_count(const kmirror_status_t *status);

/**
 * The name of a topic at the source; NULL if there is none of this number.
 */
const char *kmirror_status_topic(const kmirror_status_t *status, size_t topic);

/**
 * How many records a topic is behind; -1 if that is not known, or there is none of this number.
 */
int64_t kmirror_status_topic_lag_records(const kmirror_status_t *status, size_t topic);

/**
 * How old the oldest record of a topic is that the target lacks, in milliseconds; -1 if that is not known, or there is none of
 * this number.
 */
int64_t kmirror_status_topic_lag_ms(const kmirror_status_t *status,
                                    size_t topic);

/**
 * How many partitions a topic has; their numbers begin at 0.
 */
size_t kmirror_status_partition_count(const kmirror_status_t *status, size_t topic);

/**
 * The state of a partition, for example "in_sync"; NULL if there is none of these numbers.
 */
const char *kmirror_status_partition_state(const kmirror_status_t *status,
                                           size_t topic,
                                           size_t partition);

/**
 * The next offset of the source that consumers can see; -1 if it is not known yet.
 */
int64_t kmirror_status_partition_source_offset_next(const kmirror_status_t *status,
                                                    size_t topic,
                                                    size_t partition);

/**
 * The next offset to be replicated, the same number on source and target; -1 if it is not known yet.
 */
int64_t kmirror_status_partition_target_offset_next(const kmirror_status_t *status,
                                                    size_t topic,
                                                    size_t partition);

/**
 * When the source said last where a partition ends, in milliseconds since 1970; -1 if it never has, or there is none of these numbers.
 */
int64_t kmirror_status_partition_source_as_of_ms(const kmirror_status_t *status,
                                                 size_t topic,
                                                 size_t partition);

/**
 * When the target said last where a partition ends, or that it has taken records; -1 if it never has, or there is none of these numbers.
 */
int64_t kmirror_status_partition_target_as_of_ms(const kmirror_status_t *status,
                                                 size_t topic,
                                                 size_t partition);

/**
 * Records that were not copied since the start because they had come from the target: with `offsets=translate`, where another mirror
 * copies the other way. 0 if there is none of these numbers.
 */
uint64_t kmirror_status_partition_left_out_as_echo(const kmirror_status_t *status,
                                                   size_t topic,
                                                   size_t partition);

/**
 * Why a partition does not progress; NULL if it does. It belongs to the status and is not to be freed.
 */
const kmirror_error_t *kmirror_status_partition_error(const kmirror_status_t *status,
                                                      size_t topic,
                                                      size_t partition);

/**
 * All of it as a JSON document, also what there is no function for; empty for NULL.
 */
const char *kmirror_status_json(const kmirror_status_t *status);

/**
 * Frees a status, and the strings and errors that were asked of it.
 */
void kmirror_status_free(kmirror_status_t *status);

/**
 * What it is of: "check", "plan", "verify" or "promote"; empty for NULL.
 */
const char *kmirror_report_kind(const kmirror_report_t *report);

/**
 * How many problems it tells, as sentences: of a verification the first differences and what is not proved to be equal, of a plan what
 * cannot be mirrored and which permissions are missing, of a check what has failed and what to do, of a switch-over what is not
 * copied. 0 is well.
 */
size_t kmirror_report_problem_count(const kmirror_report_t *report);

/**
 * A problem, from 0; NULL if there is none of this number.
 */
const char *kmirror_report_problem(const kmirror_report_t *report, size_t problem);

/**
 * Of a verification: whether every record that the source had when it began is on the target, equal, at its place, and nothing else is in
 * the range; where a sample was asked for, as far as it goes. What was allowed by kmirror_report_allow may be missing.
 */
bool kmirror_report_identical(const kmirror_report_t *report);

/**
 * Of a verification: "identical", "identical_in_a_sample", "incomplete" (no difference was seen, but not everything is proved to be equal:
 * the problems say what and why) or "different"; empty for other reports.
 */
const char *kmirror_report_outcome(const kmirror_report_t *report);

/**
 * Judges a verification again: whether it is accepted that the target is behind, and that one side has removed records at the beginning
 * of its log which the other still has. At first neither is. Problems, outcome and JSON follow; strings that were asked of the report
 * before are freed. Other reports stay as they are.
 */
void kmirror_report_allow(kmirror_report_t *report,
                          bool behind,
                          bool expired);

/**
 * Of a verification: how many records were compared; -1 for other reports.
 */
int64_t kmirror_report_records_compared(const kmirror_report_t *report);

/**
 * Of a verification: how many real differences there are, also those that are not among the problems; -1 for other reports.
 */
int64_t kmirror_report_differences(const kmirror_report_t *report);

/**
 * Of a switch-over: whether the mirror is marked, so that no process of it writes again.
 */
bool kmirror_report_promoted(const kmirror_report_t *report);

/**
 * Of a switch-over: how many records are not copied, as far as it is known; -1 for other reports.
 */
int64_t kmirror_report_records_not_copied(const kmirror_report_t *report);

/**
 * All of it as a JSON document; empty for NULL.
 */
const char *kmirror_report_json(const kmirror_report_t *report);

/**
 * Frees a report, and the strings that were asked of it.
 */
void kmirror_report_free(kmirror_report_t *report);

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
 * The code a broker has answered with, see https://kafka.apache.org/protocol#protocol_error_codes; 0 if that is not the cause.
 */
int16_t kmirror_error_kafka_code(const kmirror_error_t *error);

/**
 * Frees an error, and the strings that were asked of it.
 */
void kmirror_error_free(kmirror_error_t *error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KMIRROR_H */
