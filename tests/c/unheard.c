/*
 * A program that sets no callback and polls nothing, while one of its topics cannot be copied.
 *
 * Arguments: source, target, the topic, and "unset" or "nowhere": whether the program has said that it wants no log lines. What
 * is on standard error is read by the test that runs this.
 */
#define _POSIX_C_SOURCE 200809L
#include "expect.h"

#include <time.h>

int main(int argc, char **argv)
{
    const struct timespec pause = {0, 50 * 1000 * 1000};
    kmirror_config_t *config = kmirror_config_new();
    kmirror_t *mirror = NULL;
    kmirror_error_t *trouble = NULL;
    int looks;

    EXPECT(argc == 5);
    expect_error(kmirror_trouble(NULL), KMIRROR_ERROR_STATE, "mirror is NULL");
    expect_success(kmirror_config_set(config, "source.bootstrap.servers", argv[1]));
    expect_success(kmirror_config_set(config, "target.bootstrap.servers", argv[2]));
    expect_success(kmirror_config_set(config, "topics", argv[3]));
    expect_success(kmirror_config_set(config, "name", argv[3]));
    if (strcmp(argv[4], "nowhere") == 0) {
        expect_success(kmirror_config_set_log_callback(config, KMIRROR_LOG_WARN, NULL, NULL, NULL));
    }
    expect_success(kmirror_start(config, &mirror));
    kmirror_config_free(config);
    for (looks = 0; looks < 2400 && trouble == NULL; looks++) {
        trouble = kmirror_trouble(mirror);
        nanosleep(&pause, NULL);
    }
    EXPECT(trouble != NULL);
    EXPECT(strcmp(kmirror_error_topic(trouble), argv[3]) == 0);
    expect_error(trouble, KMIRROR_ERROR_TARGET_CONFLICT, "another writer");
    expect_success(kmirror_stop(mirror, 10000));
    kmirror_free(mirror);
    return 0;
}
