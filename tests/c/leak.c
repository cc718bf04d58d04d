/*
 * Forgets an object of the library, and nothing else: a check for leaks that does not find this finds nothing.
 */
#include <kmirror.h>

int main(void)
{
    kmirror_config_t *volatile config = kmirror_config_new();
    kmirror_error_free(kmirror_config_set(config, "topics", "orders"));
    config = 0;
    return 0;
}
