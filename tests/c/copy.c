/*
 * Copies topics until caught up, with a callback for every event, and nothing else: what the bench compares with the command line.
 *
 * Arguments: the addresses of the source, of the target, the topics, the name of the mirror.
 */
#include <kmirror.h>

#include <stdio.h>

static void on_event(const kmirror_event_t *event, void *opaque)
{
    *(long *)opaque += kmirror_event_kind(event) != 0;
}

int main(int argc, char **argv)
{
    static const char *const keys[] = {"source.bootstrap.servers", "target.bootstrap.servers", "topics", "name"};
    kmirror_config_t *config = kmirror_config_new();
    kmirror_t *mirror = NULL;
    kmirror_error_t *error = NULL;
    long events = 0;
    int i, code;

    for (i = 0; i < 4 && i + 1 < argc && error == NULL; i++) {
        error = kmirror_config_set(config, keys[i], argv[i + 1]);
    }
    if (error == NULL) {
        error = kmirror_start(config, &mirror);
    }
    if (error == NULL) {
        error = kmirror_set_event_callback(mirror, on_event, &events);
    }
    if (error == NULL) {
        error = kmirror_wait_until_caught_up(mirror, -1);
    }
    if (error == NULL) {
        error = kmirror_stop(mirror, 10000);
    }
    code = (int)kmirror_error_code(error);
    fprintf(stderr, "%s\n", kmirror_error_message(error));
    kmirror_error_free(error);
    kmirror_free(mirror);
    kmirror_config_free(config);
    return code;
}
