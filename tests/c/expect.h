/*
 * What the C programs of the tests expect, and how they say that it was otherwise.
 */
#ifndef EXPECT_H
#define EXPECT_H

#include <kmirror.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(condition)                                                                   \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);         \
            exit(1);                                                                        \
        }                                                                                   \
    } while (0)

#if defined(__GNUC__)
#define MAY_BE_UNUSED __attribute__((unused))
#else
#define MAY_BE_UNUSED
#endif

MAY_BE_UNUSED static void expect_success(kmirror_error_t *error)
{
    if (error != NULL) {
        fprintf(stderr, "%s: %s\n", kmirror_error_name(error), kmirror_error_message(error));
        exit(1);
    }
}

/* An error of this kind whose sentence has these words in it. */
MAY_BE_UNUSED static void expect_error(kmirror_error_t *error, int code, const char *words)
{
    EXPECT(error != NULL);
    fprintf(stderr, "as expected: %s: %s\n", kmirror_error_name(error), kmirror_error_message(error));
    EXPECT(kmirror_error_code(error) == code);
    EXPECT(strstr(kmirror_error_message(error), words) != NULL);
    kmirror_error_free(error);
}

/* A mirror of a topic, which gives it its name, with so many properties more. */
MAY_BE_UNUSED static kmirror_t *started(const char *source, const char *target, const char *topic, int more,
                                        const char *const *properties)
{
    kmirror_config_t *config = kmirror_config_new();
    kmirror_t *mirror = NULL;
    int i;
    expect_success(kmirror_config_set(config, "source.bootstrap.servers", source));
    expect_success(kmirror_config_set(config, "target.bootstrap.servers", target));
    expect_success(kmirror_config_set(config, "topics", topic));
    expect_success(kmirror_config_set(config, "name", topic));
    expect_success(kmirror_config_set(config, "lag.interval.ms", "50"));
    for (i = 0; i < more; i++) {
        expect_success(kmirror_config_set(config, properties[2 * i], properties[2 * i + 1]));
    }
    expect_success(kmirror_start(config, &mirror));
    kmirror_config_free(config);
    EXPECT(mirror != NULL);
    return mirror;
}

#endif
