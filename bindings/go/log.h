/* Between a mirror's log lines and Go: the library calls C, and C calls what log.go exports. */
#ifndef KMIRROR_GO_LOG_H
#define KMIRROR_GO_LOG_H

#include <kmirror.h>
#include <stdint.h>

/* Has the log lines of a mirror go to the logger of this handle, which is given back when it is not needed any more. */
kmirror_error_t *kmirror_go_set_logger(const kmirror_t *mirror, int level, uintptr_t handle);
/* The same for a mirror that is started with this configuration, from its beginning. */
kmirror_error_t *kmirror_go_config_set_logger(kmirror_config_t *config, int level, uintptr_t handle);

#endif
