/*
 * A service with an event loop of its own: several mirrors, one thread, epoll. It prints what the mirrors tell until it gets
 * SIGTERM or SIGINT, and then stops them. Linux.
 *
 *     cc -std=c99 service.c $(pkg-config --cflags --libs kmirror) -o service
 *     ./service source:9092 target:9092 orders 'billing\..*'
 *
 * Each pattern is a mirror with a name of its own, so that they do not know of each other.
 */
#define _POSIX_C_SOURCE 200809L
#include <kmirror.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define MOST 16

static int failed(const char *what, kmirror_error_t *error)
{
    int code = (int)kmirror_error_code(error);
    if (error != NULL) {
        fprintf(stderr, "%s: %s (%s)\n", what, kmirror_error_message(error), kmirror_error_name(error));
    }
    kmirror_error_free(error);
    return code;
}

static kmirror_t *start(const char *source, const char *target, const char *topics, int number)
{
    kmirror_config_t *config = kmirror_config_new();
    kmirror_t *mirror = NULL;
    char name[32];

    snprintf(name, sizeof name, "service-%d", number);
    kmirror_error_free(kmirror_config_set(config, "source.bootstrap.servers", source));
    kmirror_error_free(kmirror_config_set(config, "target.bootstrap.servers", target));
    kmirror_error_free(kmirror_config_set(config, "topics", topics));
    kmirror_error_free(kmirror_config_set(config, "name", name));
    failed(topics, kmirror_start(config, &mirror));
    kmirror_config_free(config);
    return mirror;
}

/* SIGTERM and SIGINT as something to read; the library's threads have all signals blocked anyway. */
static int signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0) {
        return -1;
    }
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Has the loop watch a descriptor; what belongs to it comes back with it. */
static int watch(int loop, int descriptor, void *what)
{
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    event.events = EPOLLIN;
    event.data.ptr = what;
    return epoll_ctl(loop, EPOLL_CTL_ADD, descriptor, &event);
}

static void tell(const char *topics, const kmirror_event_t *event)
{
    if (kmirror_event_kind(event) == KMIRROR_EVENT_LAG && kmirror_event_topic(event) != NULL) {
        return; /* That of all topics is enough. */
    }
    printf("[%s] %s: %s\n", topics, kmirror_event_name(event), kmirror_event_message(event));
    fflush(stdout);
}

struct job {
    const char *topics;
    kmirror_t *mirror;
};

static void drain(const struct job *job)
{
    kmirror_event_t *event;
    while ((event = kmirror_poll(job->mirror, 0)) != NULL) {
        tell(job->topics, event);
        kmirror_event_free(event);
    }
}

/* Until a signal comes. */
static void serve(int loop)
{
    struct epoll_event ready[MOST];
    for (;;) {
        int i, count = epoll_wait(loop, ready, MOST, -1);
        if (count < 0 && errno != EINTR) {
            return;
        }
        for (i = 0; i < count; i++) {
            if (ready[i].data.ptr == NULL) {
                return;
            }
            drain(ready[i].data.ptr);
        }
    }
}

int main(int argc, char **argv)
{
    struct job jobs[MOST];
    int count = argc - 3, started = 0, code = 0, i;
    int stop = signals(), loop = epoll_create1(EPOLL_CLOEXEC);

    if (count < 1 || count > MOST || stop < 0 || loop < 0) {
        fprintf(stderr, "usage: %s SOURCE TARGET TOPICS...\n", argv[0]);
        return 2;
    }
    for (i = 0; i < count; i++) {
        jobs[i].topics = argv[i + 3];
        jobs[i].mirror = start(argv[1], argv[2], jobs[i].topics, i);
        if (jobs[i].mirror != NULL && watch(loop, kmirror_event_fd(jobs[i].mirror), &jobs[i]) == 0) {
            started++;
        }
    }
    if (started == count && watch(loop, stop, NULL) == 0) {
        serve(loop);
    } else {
        code = 1;
    }
    for (i = 0; i < count; i++) {
        if (jobs[i].mirror != NULL) {
            code |= failed("stop", kmirror_stop(jobs[i].mirror, 10000));
            drain(&jobs[i]);
        }
        kmirror_free(jobs[i].mirror);
    }
    close(loop);
    close(stop);
    return code;
}
