/* A handle is a number that stands for a Go value: C keeps no pointer of Go's. */
#include "log.h"

#include "_cgo_export.h"

static void line(int level, const char *message, void *opaque)
{
    kmirrorGoLogLine(level, (char *)message, (uintptr_t)opaque);
}

static void end(void *opaque)
{
    kmirrorGoLogEnd((uintptr_t)opaque);
}

kmirror_error_t *kmirror_go_set_logger(const kmirror_t *mirror, int level, uintptr_t handle)
{
    return kmirror_set_log_callback_full(mirror, level, line, (void *)handle, end);
}

kmirror_error_t *kmirror_go_config_set_logger(kmirror_config_t *config, int level, uintptr_t handle)
{
    return kmirror_config_set_log_callback(config, level, line, (void *)handle, end);
}
