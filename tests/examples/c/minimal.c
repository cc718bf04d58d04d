/*
 * The least there is to do: mirror a topic until it has caught up, compare both sides, stop.
 *
 *     cc -std=c99 minimal.c $(pkg-config --cflags --libs kmirror) -o minimal
 *     ./minimal source:9092 target:9092 orders
 */
#include <kmirror.h>

#include <stdio.h>

/* Prints the error, if there is one, and frees it; returns its code, which is 0 for success. */
static int failed(const char *what, kmirror_error_t *error)
{
    int code = (int)kmirror_error_code(error);
    if (error != NULL) {
        fprintf(stderr, "%s: %s (%s)\n", what, kmirror_error_message(error), kmirror_error_name(error));
    }
    kmirror_error_free(error);
    return code;
}

static int compare(const kmirror_t *mirror)
{
    kmirror_report_t *report = NULL;
    size_t i;
    int code = failed("verify", kmirror_verify(mirror, 600000, NULL, &report));
    if (code != 0) {
        return code;
    }
    for (i = 0; i < kmirror_report_problem_count(report); i++) {
        fprintf(stderr, "%s\n", kmirror_report_problem(report, i));
    }
    printf("%s after %lld records\n", kmirror_report_outcome(report),
           (long long)kmirror_report_records_compared(report));
    code = kmirror_report_identical(report) ? 0 : KMIRROR_ERROR_VERIFICATION_FAILED;
    kmirror_report_free(report);
    return code;
}

int main(int argc, char **argv)
{
    kmirror_config_t *config;
    kmirror_t *mirror = NULL;
    int code;

    if (argc != 4) {
        fprintf(stderr, "usage: %s SOURCE TARGET TOPICS\n", argv[0]);
        return 2;
    }
    /* Whether keys and values are right is told by kmirror_start, for all of them at once. */
    config = kmirror_config_new();
    kmirror_error_free(kmirror_config_set(config, "source.bootstrap.servers", argv[1]));
    kmirror_error_free(kmirror_config_set(config, "target.bootstrap.servers", argv[2]));
    kmirror_error_free(kmirror_config_set(config, "topics", argv[3]));

    code = failed("start", kmirror_start(config, &mirror));
    if (code == 0) {
        code = failed("wait", kmirror_wait_until_caught_up(mirror, 600000));
    }
    if (code == 0) {
        code = compare(mirror);
    }
    if (mirror != NULL && code == 0) {
        code = failed("stop", kmirror_stop(mirror, 10000));
    }
    kmirror_free(mirror);
    kmirror_config_free(config);
    return code;
}
