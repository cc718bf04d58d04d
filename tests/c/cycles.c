/*
 * Starts and stops a mirror again and again, with callbacks and everything, and looks whether threads, descriptors or memory are
 * left behind.
 *
 * Arguments: the addresses of the source, of the target, the topic, how many times.
 */
#define _POSIX_C_SOURCE 200809L
#include "expect.h"

#include <dirent.h>
#include <time.h>

static int entries(const char *path)
{
    DIR *directory = opendir(path);
    int count = 0;
    EXPECT(directory != NULL);
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}

static long resident_kib(void)
{
    char line[256];
    long kib = -1;
    FILE *status = fopen("/proc/self/status", "r");
    EXPECT(status != NULL);
    while (fgets(line, sizeof line, status) != NULL) {
        if (sscanf(line, "VmRSS: %ld", &kib) == 1) {
            break;
        }
    }
    fclose(status);
    return kib;
}

static void count_event(const kmirror_event_t *event, void *opaque)
{
    EXPECT(kmirror_event_kind(event) != 0);
    ++*(int *)opaque;
}

static void count_line(int level, const char *message, void *opaque)
{
    EXPECT(level > 0 && message != NULL);
    ++*(int *)opaque;
}

static void cycle(char **argv)
{
    int *events = calloc(1, sizeof(int)), *lines = calloc(1, sizeof(int));
    kmirror_t *mirror = started(argv[1], argv[2], argv[3], 0, NULL);
    kmirror_status_t *status = NULL;
    EXPECT(events != NULL && lines != NULL && kmirror_event_fd(mirror) >= 0);
    expect_success(kmirror_set_event_callback_full(mirror, count_event, events, free));
    expect_success(kmirror_set_log_callback_full(mirror, KMIRROR_LOG_TRACE, count_line, lines, free));
    expect_success(kmirror_wait_until_caught_up(mirror, 60000));
    expect_success(kmirror_status(mirror, &status));
    EXPECT(strstr(kmirror_status_json(status), "\"topics\"") != NULL);
    kmirror_status_free(status);
    expect_success(kmirror_stop(mirror, 10000));
    kmirror_free(mirror);
}

int main(int argc, char **argv)
{
    int cycles, warm, i, threads, descriptors, waits;
    long kib, allowed;

    EXPECT(argc == 5);
    cycles = atoi(argv[4]);
    EXPECT(cycles > 0);
    /* What is made once and kept, and what the allocator keeps, is there after some. */
    warm = cycles / 5 + 3;
    for (i = 0; i < warm; i++) {
        cycle(argv);
    }
    threads = entries("/proc/self/task");
    descriptors = entries("/proc/self/fd");
    kib = resident_kib();
    for (i = 0; i < cycles; i++) {
        cycle(argv);
    }
    /* A thread that has ended is listed a moment longer. */
    for (waits = 0; waits < 100 && entries("/proc/self/task") > threads; waits++) {
        struct timespec moment = {0, 10000000};
        nanosleep(&moment, NULL);
    }
    printf("after %d cycles and %d more: threads %d, %d; descriptors %d, %d; memory %ld KiB, %ld KiB\n", warm, cycles,
           threads, entries("/proc/self/task"), descriptors, entries("/proc/self/fd"), kib, resident_kib());
    EXPECT(entries("/proc/self/task") <= threads);
    EXPECT(entries("/proc/self/fd") == descriptors);
    /* A KiB for each would be much; below that are the allocator's moods. */
    allowed = 4096 + cycles;
    EXPECT(resident_kib() - kib < allowed);
    return 0;
}
