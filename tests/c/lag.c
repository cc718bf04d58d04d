/*
 * Watches the lag of a topic that is written to all the time, by callbacks, while its target stands still for five seconds. What
 * was copied is compared at the end.
 *
 * Arguments: the addresses of the source, of the target, the topic, the process id of the target's only broker.
 */
#define _POSIX_C_SOURCE 200809L
#include "expect.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

struct heard {
    pthread_mutex_t lock;
    pthread_t thread;
    int calls, samples, above, below, other_threads, freed;
    int64_t largest_ms;
    char last_log[256];
};

static struct heard heard = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void of_this_thread(void)
{
    if (heard.calls++ == 0) {
        heard.thread = pthread_self();
    }
    heard.other_threads += !pthread_equal(heard.thread, pthread_self());
}

static void on_lag(const kmirror_event_t *event, void *opaque)
{
    EXPECT(opaque == &heard);
    pthread_mutex_lock(&heard.lock);
    of_this_thread();
    heard.samples += kmirror_event_kind(event) == KMIRROR_EVENT_LAG;
    if (kmirror_event_kind(event) == KMIRROR_EVENT_LAG_ABOVE) {
        EXPECT(heard.below == heard.above && kmirror_event_lag_ms(event) > 3000);
        heard.above++;
    }
    if (kmirror_event_kind(event) == KMIRROR_EVENT_LAG_BELOW) {
        EXPECT(heard.above == heard.below + 1 && kmirror_event_lag_ms(event) <= 1500);
        heard.below++;
    }
    if (kmirror_event_lag_ms(event) > heard.largest_ms) {
        heard.largest_ms = kmirror_event_lag_ms(event);
    }
    pthread_mutex_unlock(&heard.lock);
}

static void on_log(int level, const char *message, void *opaque)
{
    EXPECT(opaque == &heard && level >= KMIRROR_LOG_ERROR && level <= KMIRROR_LOG_INFO);
    pthread_mutex_lock(&heard.lock);
    of_this_thread();
    snprintf(heard.last_log, sizeof heard.last_log, "%s", message);
    pthread_mutex_unlock(&heard.lock);
}

static void on_free(void *opaque)
{
    EXPECT(opaque == &heard);
    heard.freed++;
}

static void pause_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static struct heard look(void)
{
    struct heard now;
    pthread_mutex_lock(&heard.lock);
    now = heard;
    pthread_mutex_unlock(&heard.lock);
    return now;
}

int main(int argc, char **argv)
{
    const char *const threshold[] = {"lag.threshold.ms", "3000"};
    struct heard before;
    kmirror_report_t *report = NULL;
    kmirror_t *mirror;
    int waits;
    pid_t broker;

    EXPECT(argc == 5);
    broker = (pid_t)atol(argv[4]);
    EXPECT(broker > 1);
    mirror = started(argv[1], argv[2], argv[3], 1, threshold);
    expect_success(kmirror_set_lag_callback_full(mirror, on_lag, &heard, on_free));
    expect_success(kmirror_set_log_callback_full(mirror, KMIRROR_LOG_INFO, on_log, &heard, on_free));
    expect_success(kmirror_wait_until_caught_up(mirror, 60000));

    /* Lag comes while records do. What was written before the mirror has started may have been late, on a busy machine. */
    for (waits = 0; waits < 600 && (look().samples < 20 || look().above != look().below); waits++) {
        pause_ms(50);
    }
    before = look();
    fprintf(stderr, "%d samples, up to %lld ms, last log line: %s\n", before.samples, (long long)before.largest_ms,
            before.last_log);
    EXPECT(before.samples >= 20 && strlen(before.last_log) > 0 && before.above == before.below);

    EXPECT(kill(broker, SIGSTOP) == 0);
    pause_ms(5000);
    EXPECT(kill(broker, SIGCONT) == 0);
    for (waits = 0; waits < 600 && look().below == before.below; waits++) {
        pause_ms(50);
    }
    /* If there were another one, it would come now. */
    pause_ms(2000);
    fprintf(stderr, "above %d times, below %d times, up to %lld ms\n", look().above, look().below,
            (long long)look().largest_ms);
    EXPECT(look().above == before.above + 1 && look().below == before.below + 1);

    expect_success(kmirror_wait_until_caught_up(mirror, 60000));
    expect_success(kmirror_verify(mirror, 60000, NULL, &report));
    EXPECT(kmirror_report_identical(report) && kmirror_report_records_compared(report) > 0);
    EXPECT(kmirror_report_problem_count(report) == 0 && kmirror_report_differences(report) == 0);
    kmirror_report_free(report);
    expect_success(kmirror_stop(mirror, 10000));
    EXPECT(strcmp(kmirror_state(mirror), "stopped") == 0);
    EXPECT(heard.freed == 0);
    kmirror_free(mirror);
    EXPECT(heard.freed == 2 && heard.other_threads == 0);
    EXPECT(!pthread_equal(heard.thread, pthread_self()));
    return 0;
}
