package kmirror

/*
#include "log.h"
*/
import "C"

import (
	"context"
	"log"
	"log/slog"
	"runtime/cgo"
	"runtime/debug"
)

// LevelTrace is the level of what is logged below [slog.LevelDebug].
const LevelTrace = slog.LevelDebug - 4

// levels are those of the library and of slog, from the most that is said to the least.
var levels = []struct {
	theirs C.int
	ours   slog.Level
}{
	{C.KMIRROR_LOG_TRACE, LevelTrace},
	{C.KMIRROR_LOG_DEBUG, slog.LevelDebug},
	{C.KMIRROR_LOG_INFO, slog.LevelInfo},
	{C.KMIRROR_LOG_WARN, slog.LevelWarn},
	{C.KMIRROR_LOG_ERROR, slog.LevelError},
}

// SetLogger has the mirror's log lines go to a logger, also what the mirror has logged since its start at [slog.LevelInfo] and above;
// nil ends it. The levels that the logger wants are asked for now. While it takes long, lines wait, and when there are too many,
// some are lost; the mirror never waits for it. It may do everything, also close the mirror. If it panics, that is printed, and the
// mirror goes on.
func (m *Mirror) SetLogger(logger *slog.Logger) error {
	return m.short(func(pointer *C.kmirror_t) *C.kmirror_error_t {
		if logger == nil {
			return C.kmirror_set_log_callback(pointer, nil, nil)
		}
		return C.kmirror_go_set_logger(pointer, wanted(logger), C.uintptr_t(cgo.NewHandle(logger)))
	})
}

// wanted is the level of the library down to which the logger listens.
func wanted(logger *slog.Logger) C.int {
	for _, level := range levels {
		if logger.Enabled(context.Background(), level.ours) {
			return level.theirs
		}
	}
	return levels[len(levels)-1].theirs
}

// Option is something that [Start] does besides.
type Option func(config) error

// WithLogger has the mirror's log lines go to a logger from the beginning, also those of a start that fails; else as
// [Mirror.SetLogger]. With nil the mirror logs nowhere. Without this option its warnings and errors go to [slog.Default], as it is
// when the mirror starts.
func WithLogger(logger *slog.Logger) Option {
	return func(config config) error {
		if logger == nil {
			return taken(C.kmirror_config_set_log_callback(config.pointer, C.KMIRROR_LOG_ERROR, nil, nil, nil))
		}
		handle := C.uintptr_t(cgo.NewHandle(logger))
		return taken(C.kmirror_go_config_set_logger(config.pointer, wanted(logger), handle))
	}
}

// warnings hands on what matters most: a program that does not listen hears of records that are not copied, and of nothing else.
type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}

//export kmirrorGoLogLine
func kmirrorGoLogLine(level C.int, message *C.char, handle C.uintptr_t) {
	defer func() {
		// In a thread of the library a panic would end the process.
		if reason := recover(); reason != nil {
			log.Printf("kmirror: the log handler panicked: %v\n%s", reason, debug.Stack())
		}
	}()
	logger, isLogger := cgo.Handle(handle).Value().(*slog.Logger)
	if !isLogger {
		return
	}
	for _, known := range levels {
		if known.theirs == level {
			logger.Log(context.Background(), known.ours, C.GoString(message))
		}
	}
}

//export kmirrorGoLogEnd
func kmirrorGoLogEnd(handle C.uintptr_t) { cgo.Handle(handle).Delete() }
