package kmirror

/*
#include <kmirror.h>
*/
import "C"

import (
	"fmt"
	"log/slog"
	"sort"
	"strings"
)

// Config is the properties of a mirror by their dotted keys, for example "source.bootstrap.servers" or "topics"; `kmirror config`
// prints all of them. Whether keys and values are right is told by [Start] or [Config.Check], for all of them at once.
//
// Printed or logged, it does not show the values of secrets.
type Config map[string]string

// Side says whose properties a file has.
type Side int

// The sides of a mirror.
const (
	// Source is where records are read: the file is a consumer's, and its keys have no "source." before them.
	Source Side = C.KMIRROR_SOURCE
	// Target is where records are written: the file is a producer's, and its keys have no "target." before them.
	Target Side = C.KMIRROR_TARGET
	// Both is the mirror itself: keys of a cluster begin with "source." or "target.".
	Both Side = C.KMIRROR_MIRROR
)

// String returns the name of the side.
func (s Side) String() string {
	switch s {
	case Source:
		return "source"
	case Target:
		return "target"
	case Both:
		return "both"
	}
	return fmt.Sprintf("side %d", int(s))
}

// fileKey begins the keys under which files are kept. No property has a space in its key.
const fileKey = "properties file "

// Load has the properties of a file, as Kafka's clients have them. What the map says itself counts before what a file says. The file is
// read now, to tell whether it can be, and again by [Start], so that problems are told with file and line. It is kept in the map,
// under a key that begins with "properties file".
func (c Config) Load(side Side, path string) error {
	if c == nil {
		return failure(ErrConfig, "the Config is nil: make one first")
	}
	key := fmt.Sprintf("%s%06d of %s", fileKey, len(c.files()), side)
	made, err := makeConfig(Config{key: path})
	if err != nil {
		return err
	}
	made.free()
	c[key] = path
	return nil
}

// files returns the keys of files in the order in which they were loaded.
func (c Config) files() []string {
	var keys []string
	for key := range c {
		if strings.HasPrefix(key, fileKey) {
			keys = append(keys, key)
		}
	}
	sort.Strings(keys)
	return keys
}

// Check tells all problems at once, as [Start] would before it connects. The warnings are about what works, but perhaps not as meant.
func (c Config) Check() (warnings []string, err error) {
	config, err := makeConfig(c)
	if err != nil {
		return nil, err
	}
	defer config.free()
	if err := taken(C.kmirror_config_check(config.pointer)); err != nil {
		return nil, err
	}
	if text := C.GoString(C.kmirror_config_warnings(config.pointer)); text != "" {
		warnings = strings.Split(text, "\n")
	}
	return warnings, nil
}

// String returns the properties, one after the other by key, without the values of secrets.
func (c Config) String() string {
	pairs := make([]string, 0, len(c))
	for key := range c {
		pairs = append(pairs, key+"="+c.shown(key))
	}
	sort.Strings(pairs)
	return strings.Join(pairs, " ")
}

// Format writes the same as String for every verb, so that no way to print it shows a secret.
func (c Config) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(c.String())) }

// LogValue is what [slog] shows of it: the properties without the values of secrets.
func (c Config) LogValue() slog.Value {
	keys := make([]string, 0, len(c))
	for key := range c {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	attributes := make([]slog.Attr, 0, len(keys))
	for _, key := range keys {
		attributes = append(attributes, slog.String(key, c.shown(key)))
	}
	return slog.GroupValue(attributes...)
}

// telling are parts of keys that make it likely that the value is a secret; more is hidden than has to be.
var telling = []string{
	"password", "passphrase", "secret", "key", "pem", "token", "jaas", "username", "credential", "certificate",
	"oauthbearer.config", "oauthbearer.client.id",
}

func (c Config) shown(key string) string {
	const hidden = "[hidden]"
	value := c[key]
	if strings.HasPrefix(key, fileKey) {
		return value
	}
	lower := strings.ToLower(key)
	for _, part := range telling {
		if strings.Contains(lower, part) {
			return hidden
		}
	}
	// What stands before an @ in an address is a user's name and password.
	if strings.Contains(value, "@") {
		return hidden
	}
	return value
}

// config is a configuration as the library has it. It is used by one goroutine at a time.
type config struct{ pointer *C.kmirror_config_t }

func (c config) free() { C.kmirror_config_free(c.pointer) }

// makeConfig hands everything to the library. What it returns has to be freed.
func makeConfig(properties Config) (config, error) {
	made := config{C.kmirror_config_new()}
	for _, key := range properties.files() {
		if err := made.load(key, properties[key]); err != nil {
			made.free()
			return config{}, err
		}
	}
	for key, value := range properties {
		if strings.HasPrefix(key, fileKey) {
			continue
		}
		if err := made.set(key, value); err != nil {
			made.free()
			return config{}, err
		}
	}
	return made, nil
}

func (c config) set(key, value string) error {
	theirKey, err := asText("a key", key)
	if err != nil {
		return err
	}
	defer free(theirKey)
	theirValue, err := asText("the value of "+key, value)
	if err != nil {
		return err
	}
	defer free(theirValue)
	return taken(C.kmirror_config_set(c.pointer, theirKey, theirValue))
}

func (c config) load(key, path string) error {
	side := -1
	for _, candidate := range []Side{Source, Target, Both} {
		if strings.HasSuffix(key, " of "+candidate.String()) {
			side = int(candidate)
		}
	}
	theirs, err := asText("the path of a file", path)
	if err != nil {
		return err
	}
	defer free(theirs)
	return taken(C.kmirror_config_load(c.pointer, C.int(side), theirs))
}
