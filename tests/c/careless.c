/*
 * Does to a running mirror what a careless host does: forks, gets signals, stops twice and at once, frees without stopping, polls
 * what has ended, blocks in a callback for ever, stops and frees from inside a callback.
 *
 * Arguments: the addresses of the source, of the target, a topic that is written to all the time.
 */
#define _XOPEN_SOURCE 700
#include "expect.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char **arguments;

static kmirror_t *any(void)
{
    return started(arguments[1], arguments[2], arguments[3], 0, NULL);
}

static long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void pause_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* What callbacks and the others tell each other. */
struct box {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    kmirror_t *mirror;
    int called, go_on, freed;
};

static struct box *new_box(kmirror_t *mirror)
{
    struct box *box = calloc(1, sizeof *box);
    EXPECT(box != NULL);
    pthread_mutex_init(&box->lock, NULL);
    pthread_cond_init(&box->changed, NULL);
    box->mirror = mirror;
    return box;
}

static void set(struct box *box, int *what)
{
    pthread_mutex_lock(&box->lock);
    ++*what;
    pthread_cond_broadcast(&box->changed);
    pthread_mutex_unlock(&box->lock);
}

static void await(struct box *box, const int *what)
{
    pthread_mutex_lock(&box->lock);
    while (*what == 0) {
        pthread_cond_wait(&box->changed, &box->lock);
    }
    pthread_mutex_unlock(&box->lock);
}

static void on_free(void *opaque)
{
    struct box *box = opaque;
    set(box, &box->freed);
}

static void count(const kmirror_event_t *event, void *opaque)
{
    struct box *box = opaque;
    EXPECT(event != NULL);
    set(box, &box->called);
}

static void in_a_forked_child(kmirror_t *mirror)
{
    kmirror_status_t *status = NULL;
    kmirror_report_t *report = NULL;
    kmirror_event_t *event = kmirror_poll(mirror, -1);
    struct box *box = new_box(NULL);

    EXPECT(kmirror_event_kind(event) == KMIRROR_EVENT_ERROR);
    EXPECT(kmirror_error_code(kmirror_event_error(event)) == KMIRROR_ERROR_FORKED);
    kmirror_event_free(event);
    EXPECT(kmirror_event_fd(mirror) == -1);
    EXPECT(strcmp(kmirror_state(mirror), "") == 0);
    expect_error(kmirror_status(mirror, &status), KMIRROR_ERROR_FORKED, "fork");
    expect_error(kmirror_wait_until_caught_up(mirror, -1), KMIRROR_ERROR_FORKED, "fork");
    expect_error(kmirror_pause(mirror), KMIRROR_ERROR_FORKED, "fork");
    expect_error(kmirror_resume(mirror), KMIRROR_ERROR_FORKED, "fork");
    expect_error(kmirror_set_throttle(mirror, 1), KMIRROR_ERROR_FORKED, "fork");
    expect_error(kmirror_verify(mirror, -1, NULL, &report), KMIRROR_ERROR_FORKED, "fork");
    expect_error(kmirror_promote(mirror, -1, NULL, &report), KMIRROR_ERROR_FORKED, "fork");
    expect_error(kmirror_set_event_callback_full(mirror, count, box, on_free), KMIRROR_ERROR_FORKED, "fork");
    EXPECT(box->freed == 1 && status == NULL && report == NULL);
    expect_error(kmirror_stop(mirror, -1), KMIRROR_ERROR_FORKED, "fork");
    kmirror_free(mirror);
    /* A mirror of its own is no trouble. */
    kmirror_free(any());
}

static void a_fork_in_the_middle_is_an_error_there_and_nothing_here(void)
{
    kmirror_t *mirror = any();
    int status = 0;
    pid_t child;
    struct box *box = new_box(mirror);
    expect_success(kmirror_set_event_callback_full(mirror, count, box, on_free));
    child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        alarm(60);
        in_a_forked_child(mirror);
        _exit(0);
    }
    EXPECT(waitpid(child, &status, 0) == child);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    /* The child's mirror had the same name: it has fenced this one off. That is no matter of forks. */
    await(box, &box->called);
    kmirror_free(mirror);
    EXPECT(box->freed == 1);
    free(box);
}

static volatile sig_atomic_t signals_seen;

static void on_signal(int number)
{
    (void)number;
    signals_seen++;
}

static void signals_end_no_wait_and_lose_no_error(void)
{
    kmirror_t *mirror = any();
    struct sigaction action, before;
    struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
    long began;

    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal; /* Without SA_RESTART. */
    sigemptyset(&action.sa_mask);
    EXPECT(sigaction(SIGALRM, &action, &before) == 0);
    EXPECT(setitimer(ITIMER_REAL, &often, NULL) == 0);
    expect_success(kmirror_wait_until_caught_up(mirror, 60000));
    expect_success(kmirror_stop(mirror, 10000));
    for (began = now_ms(); now_ms() - began < 300;) {
        kmirror_event_free(kmirror_poll(mirror, 50));
    }
    kmirror_free(mirror);

    mirror = any();
    expect_success(kmirror_pause(mirror));
    for (began = now_ms(); now_ms() - began < 300;) {
        kmirror_event_free(kmirror_poll(mirror, 50));
    }
    EXPECT(setitimer(ITIMER_REAL, &never, NULL) == 0);
    EXPECT(sigaction(SIGALRM, &before, NULL) == 0);
    kmirror_free(mirror);
    fprintf(stderr, "%d signals\n", (int)signals_seen);
    EXPECT(signals_seen > 20);
}

static int readable(int descriptor)
{
    struct pollfd wanted = {descriptor, POLLIN, 0};
    int count = poll(&wanted, 1, 0);
    EXPECT(count >= 0 && (wanted.revents & ~POLLIN) == 0);
    return count;
}

static void the_descriptor_is_readable_while_events_wait(void)
{
    kmirror_t *mirror = any();
    int descriptor = kmirror_event_fd(mirror);
    struct pollfd wanted = {descriptor, POLLIN, 0};
    kmirror_event_t *event;

    EXPECT(descriptor >= 0 && kmirror_event_fd(mirror) == descriptor);
    EXPECT(readable(descriptor)); /* It has begun, and that is an event. */
    while ((event = kmirror_poll(mirror, 0)) != NULL) {
        kmirror_event_free(event);
    }
    EXPECT(poll(&wanted, 1, 10000) == 1); /* Lag, soon. */
    event = kmirror_poll(mirror, 0);
    EXPECT(event != NULL && kmirror_event_timestamp_ms(event) > 0);
    kmirror_event_free(event);
    expect_success(kmirror_stop(mirror, 10000));
    EXPECT(readable(descriptor));
    while ((event = kmirror_poll(mirror, 0)) != NULL) {
        kmirror_event_free(event);
    }
    EXPECT(!readable(descriptor));
    kmirror_free(mirror);
}

static void *poll_for_ever(void *mirror)
{
    kmirror_event_t *event;
    while ((event = kmirror_poll(mirror, -1)) != NULL) {
        kmirror_event_free(event);
    }
    return NULL;
}

static void *stop(void *mirror)
{
    expect_success(kmirror_stop(mirror, 10000));
    return NULL;
}

static void a_mirror_may_be_stopped_by_all_polled_after_and_freed_before(void)
{
    kmirror_t *mirror = any();
    kmirror_status_t *status = NULL;
    pthread_t threads[4];
    int i;

    for (i = 0; i < 4; i++) {
        EXPECT(pthread_create(&threads[i], NULL, i < 2 ? poll_for_ever : stop, mirror) == 0);
    }
    for (i = 0; i < 4; i++) {
        EXPECT(pthread_join(threads[i], NULL) == 0);
    }
    expect_success(kmirror_stop(mirror, 0));
    EXPECT(kmirror_poll(mirror, -1) == NULL);
    expect_error(kmirror_resume(mirror), KMIRROR_ERROR_STATE, "stopped");
    expect_success(kmirror_status(mirror, &status));
    EXPECT(strcmp(kmirror_status_state(status), "stopped") == 0);
    kmirror_status_free(status);
    kmirror_free(mirror);
    kmirror_free(any());
}

static void block(const kmirror_event_t *event, void *opaque)
{
    struct box *box = opaque;
    EXPECT(event != NULL);
    set(box, &box->called);
    await(box, &box->go_on);
}

static int64_t replicated(const kmirror_t *mirror)
{
    kmirror_status_t *status = NULL;
    int64_t records;
    expect_success(kmirror_status(mirror, &status));
    records = kmirror_status_replicated_records(status);
    EXPECT(kmirror_status_topic_count(status) == 1 && kmirror_status_partition_count(status, 0) >= 1);
    EXPECT(strcmp(kmirror_status_topic(status, 0), arguments[3]) == 0 && kmirror_status_topic(status, 1) == NULL);
    EXPECT(kmirror_status_partition_target_offset_next(status, 0, 0) >= 0);
    EXPECT(kmirror_status_partition_error(status, 0, 0) == NULL && kmirror_status_error(status) == NULL);
    kmirror_status_free(status);
    return records;
}

static void a_callback_that_blocks_for_ever_holds_up_nothing(void)
{
    kmirror_t *mirror = any();
    struct box *box = new_box(mirror);
    int64_t before;
    int waits;
    long began;

    expect_success(kmirror_set_event_callback_full(mirror, block, box, on_free));
    await(box, &box->called);
    expect_success(kmirror_wait_until_caught_up(mirror, 60000));
    before = replicated(mirror);
    for (waits = 0; waits < 600 && replicated(mirror) < before + 100; waits++) {
        pause_ms(50);
    }
    EXPECT(replicated(mirror) >= before + 100);
    expect_success(kmirror_stop(mirror, 10000));
    EXPECT(box->called == 1 && box->freed == 0);
    began = now_ms();
    kmirror_free(mirror);
    fprintf(stderr, "freed after %ld ms, beside a callback that does not return\n", now_ms() - began);
    EXPECT(box->freed == 0);
    set(box, &box->go_on);
    await(box, &box->freed);
    EXPECT(box->called == 1);
    free(box);
}

static void stop_inside(const kmirror_event_t *event, void *opaque)
{
    struct box *box = opaque;
    EXPECT(event != NULL);
    expect_success(kmirror_stop(box->mirror, 10000));
    expect_success(kmirror_set_event_callback(box->mirror, NULL, NULL));
    set(box, &box->called);
}

static void free_inside(const kmirror_event_t *event, void *opaque)
{
    struct box *box = opaque;
    EXPECT(event != NULL);
    kmirror_free(box->mirror);
    set(box, &box->called);
}

static void a_callback_may_end_its_mirror(void)
{
    kmirror_t *mirror = any();
    struct box *box = new_box(mirror);
    expect_success(kmirror_set_event_callback_full(mirror, stop_inside, box, on_free));
    await(box, &box->called);
    await(box, &box->freed);
    EXPECT(strcmp(kmirror_state(mirror), "stopped") == 0);
    expect_success(kmirror_set_lag_callback(mirror, count, box));
    kmirror_free(mirror);
    free(box);

    mirror = any();
    box = new_box(mirror);
    expect_success(kmirror_set_lag_callback_full(mirror, free_inside, box, on_free));
    await(box, &box->freed);
    EXPECT(box->called == 1);
    free(box);
}

static void what_a_callback_gets_back_is_freed_once(void)
{
    kmirror_t *mirror = any();
    struct box *first = new_box(mirror), *second = new_box(mirror);
    expect_success(kmirror_set_event_callback_full(mirror, count, first, on_free));
    await(first, &first->called);
    expect_success(kmirror_set_event_callback_full(mirror, count, second, on_free));
    await(first, &first->freed);
    await(second, &second->called);
    expect_success(kmirror_set_event_callback(mirror, NULL, NULL));
    await(second, &second->freed);
    expect_error(kmirror_set_log_callback_full(mirror, 9, NULL, second, on_free), KMIRROR_ERROR_CONFIG, "level is 9");
    expect_error(kmirror_set_lag_callback_full(NULL, count, second, on_free), KMIRROR_ERROR_STATE, "mirror is NULL");
    EXPECT(first->freed == 1 && second->freed == 3);
    kmirror_free(mirror);
    EXPECT(first->freed == 1 && second->freed == 3);
    free(first);
    free(second);
}

int main(int argc, char **argv)
{
    EXPECT(argc == 4 || argc == 5);
    arguments = argv;
    what_a_callback_gets_back_is_freed_once();
    the_descriptor_is_readable_while_events_wait();
    a_mirror_may_be_stopped_by_all_polled_after_and_freed_before();
    a_callback_may_end_its_mirror();
    if (argc == 4) {
        signals_end_no_wait_and_lose_no_error();
        a_callback_that_blocks_for_ever_holds_up_nothing();
        a_fork_in_the_middle_is_an_error_there_and_nothing_here();
    }
    return 0;
}
