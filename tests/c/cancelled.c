/*
 * Gives up calls that wait, from a signal handler, and reads what a mirror logs that never starts.
 *
 * Arguments: the addresses of the source, of the target, a topic that is written to all the time.
 */
#define _XOPEN_SOURCE 700
#include "expect.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const kmirror_cancellation_t *to_cancel;

static void on_alarm(int number)
{
    (void)number;
    kmirror_cancellation_cancel(to_cancel);
}

/* A cancellation that a signal handler will cancel in a moment. */
static kmirror_cancellation_t *soon(void)
{
    struct itimerval moment = {{0, 0}, {0, 300000}};
    kmirror_cancellation_t *cancellation = kmirror_cancellation_new();
    EXPECT(cancellation != NULL);
    to_cancel = cancellation;
    EXPECT(setitimer(ITIMER_REAL, &moment, NULL) == 0);
    return cancellation;
}

static void expect_given_up(kmirror_error_t *error, kmirror_cancellation_t *cancellation, const char *words)
{
    expect_error(error, KMIRROR_ERROR_TIMED_OUT, words);
    to_cancel = NULL;
    kmirror_cancellation_free(cancellation);
}

static int threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int count = -2; /* . and .. */
    EXPECT(tasks != NULL);
    while (readdir(tasks) != NULL) {
        count++;
    }
    closedir(tasks);
    return count;
}

static void expect_no_more_threads_than(int before)
{
    struct timespec moment = {0, 20000000};
    int waits;
    for (waits = 0; threads() > before && waits < 500; waits++) {
        nanosleep(&moment, NULL);
    }
    EXPECT(threads() <= before);
}

/* An address that takes connections and never answers. */
static void listen_silently(char *address, size_t room)
{
    struct sockaddr_in name;
    socklen_t length = sizeof name;
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    memset(&name, 0, sizeof name);
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT(descriptor >= 0 && bind(descriptor, (struct sockaddr *)&name, length) == 0 && listen(descriptor, 64) == 0);
    EXPECT(getsockname(descriptor, (struct sockaddr *)&name, &length) == 0);
    EXPECT((size_t)snprintf(address, room, "127.0.0.1:%d", ntohs(name.sin_port)) < room);
}

struct heard {
    pthread_mutex_t lock;
    int lines, freed;
};

static void on_log(int level, const char *message, void *opaque)
{
    struct heard *heard = opaque;
    EXPECT(level >= KMIRROR_LOG_ERROR && level <= KMIRROR_LOG_DEBUG && message != NULL);
    pthread_mutex_lock(&heard->lock);
    heard->lines++;
    pthread_mutex_unlock(&heard->lock);
}

static void on_free(void *opaque)
{
    struct heard *heard = opaque;
    pthread_mutex_lock(&heard->lock);
    heard->freed++;
    pthread_mutex_unlock(&heard->lock);
}

static kmirror_config_t *configured(const char *source, const char *target, const char *topic)
{
    kmirror_config_t *config = kmirror_config_new();
    expect_success(kmirror_config_set(config, "source.bootstrap.servers", source));
    expect_success(kmirror_config_set(config, "target.bootstrap.servers", target));
    expect_success(kmirror_config_set(config, "topics", topic));
    expect_success(kmirror_config_set(config, "name", topic));
    return config;
}

static void calls_without_a_mirror_are_given_up(const char *topic)
{
    char silent_source[64], silent_target[64];
    kmirror_config_t *config;
    kmirror_t *mirror = NULL;
    kmirror_report_t *report = NULL;
    kmirror_cancellation_t *cancellation;
    int before;

    listen_silently(silent_source, sizeof silent_source);
    listen_silently(silent_target, sizeof silent_target);
    config = configured(silent_source, silent_target, topic);
    before = threads();
    cancellation = soon();
    expect_given_up(kmirror_start_cancellable(config, cancellation, &mirror), cancellation, "the start was given up");
    EXPECT(mirror == NULL);
    cancellation = soon();
    expect_given_up(kmirror_check(config, cancellation, &report), cancellation, "the check was given up");
    cancellation = soon();
    expect_given_up(kmirror_plan(config, cancellation, &report), cancellation, "the plan was given up");
    cancellation = soon();
    expect_given_up(kmirror_config_verify(config, NULL, NULL, -1, cancellation, &report), cancellation, "given up");
    cancellation = soon();
    expect_given_up(kmirror_config_promote(config, false, 60000, cancellation, &report), cancellation, "given up");
    EXPECT(report == NULL);
    expect_no_more_threads_than(before);

    /* One that was cancelled stays so. */
    cancellation = kmirror_cancellation_new();
    kmirror_cancellation_cancel(cancellation);
    expect_given_up(kmirror_start_cancellable(config, cancellation, &mirror), cancellation, "given up");
    expect_no_more_threads_than(before);
    kmirror_cancellation_cancel(NULL);
    kmirror_cancellation_free(NULL);
    kmirror_config_free(config);
}

/* A paused mirror that lacks something cannot catch up any more. */
static void wait_until_behind(const kmirror_t *mirror)
{
    struct timespec moment = {0, 20000000};
    int64_t behind = 0;
    int waits;
    for (waits = 0; waits < 3000 && behind <= 0; waits++) {
        kmirror_status_t *status = NULL;
        expect_success(kmirror_status(mirror, &status));
        behind = kmirror_status_lag_records(status);
        kmirror_status_free(status);
        nanosleep(&moment, NULL);
    }
    EXPECT(behind > 0);
}

static void a_wait_is_given_up_and_the_mirror_goes_on(char **arguments)
{
    const char *const often[] = {"refresh.interval.ms", "500"};
    kmirror_t *mirror = started(arguments[1], arguments[2], arguments[3], 1, often);
    kmirror_cancellation_t *cancellation;
    kmirror_report_t *report = NULL;
    int before;

    expect_success(kmirror_wait_until_caught_up_cancellable(mirror, 60000, NULL));
    /* What is written from now on never comes through. */
    expect_success(kmirror_pause(mirror));
    while (strcmp(kmirror_state(mirror), "paused") != 0) {
        kmirror_event_free(kmirror_poll(mirror, 10));
    }
    before = threads();
    wait_until_behind(mirror);
    cancellation = soon();
    expect_given_up(kmirror_wait_until_caught_up_cancellable(mirror, -1, cancellation), cancellation, "records behind");
    cancellation = soon();
    expect_given_up(kmirror_promote(mirror, 60000, cancellation, &report), cancellation, "given up");
    EXPECT(report == NULL && strcmp(kmirror_state(mirror), "paused") == 0);
    expect_no_more_threads_than(before);
    expect_success(kmirror_resume(mirror));
    expect_success(kmirror_wait_until_caught_up(mirror, 60000));
    kmirror_free(mirror);
}

static void what_is_logged_before_a_start_fails_is_heard(const char *source, const char *topic)
{
    struct heard heard = {PTHREAD_MUTEX_INITIALIZER, 0, 0};
    kmirror_config_t *config = configured(source, "127.0.0.1:1", topic);
    kmirror_t *mirror = NULL;

    expect_success(kmirror_config_set_log_callback(config, KMIRROR_LOG_DEBUG, on_log, &heard, on_free));
    expect_error(kmirror_start(config, &mirror), KMIRROR_ERROR_CONNECT, "127.0.0.1:1");
    fprintf(stderr, "%d lines\n", heard.lines);
    EXPECT(heard.lines > 0 && heard.freed == 0);
    /* The lines of every start come. */
    heard.lines = 0;
    expect_error(kmirror_start(config, &mirror), KMIRROR_ERROR_CONNECT, "127.0.0.1:1");
    EXPECT(heard.lines > 0 && heard.freed == 0);
    kmirror_config_free(config);
    EXPECT(heard.freed == 1);
    expect_error(kmirror_config_set_log_callback(NULL, KMIRROR_LOG_INFO, on_log, &heard, on_free), KMIRROR_ERROR_CONFIG,
                 "config is NULL");
    EXPECT(heard.freed == 2);
}

static void what_is_logged_goes_on_when_the_configuration_is_gone(char **arguments)
{
    struct heard heard = {PTHREAD_MUTEX_INITIALIZER, 0, 0};
    kmirror_config_t *config = configured(arguments[1], arguments[2], arguments[3]);
    kmirror_t *mirror = NULL;

    expect_success(kmirror_config_set_log_callback(config, KMIRROR_LOG_INFO, on_log, &heard, on_free));
    expect_success(kmirror_start(config, &mirror));
    kmirror_config_free(config);
    EXPECT(heard.freed == 0);
    expect_success(kmirror_wait_until_caught_up(mirror, 60000));
    kmirror_free(mirror);
    EXPECT(heard.lines > 0 && heard.freed == 1);
}

int main(int argc, char **argv)
{
    struct sigaction action;
    EXPECT(argc == 4);
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    sigemptyset(&action.sa_mask);
    EXPECT(sigaction(SIGALRM, &action, NULL) == 0);
    calls_without_a_mirror_are_given_up(argv[3]);
    a_wait_is_given_up_and_the_mirror_goes_on(argv);
    what_is_logged_before_a_start_fails_is_heard(argv[1], argv[3]);
    what_is_logged_goes_on_when_the_configuration_is_gone(argv);
    return 0;
}
