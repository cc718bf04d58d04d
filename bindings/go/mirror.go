package kmirror

/*
#include <kmirror.h>
*/
import "C"

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Limits where the context has no deadline; those of the command line.
const (
	stopLimit    = 10 * time.Second
	promoteLimit = 60 * time.Second
)

// Mirror is a running mirror. Use it from any goroutine, and [Mirror.Close] it at the end.
type Mirror struct {
	closing chan struct{}

	lock    sync.Mutex
	pointer *C.kmirror_t
	// users are the calls that are in the library with the pointer, and one for the time before Close. The last one frees it.
	users  int
	closed bool
	events chan Event
	// pumped is closed when nothing is sent to events any more.
	pumped chan struct{}
}

// Start starts a mirror. It returns when copying has begun, or with what keeps it from beginning; later trouble is told by events.
//
// When the context is cancelled, what had begun to start is stopped and freed. What happens to the context later means nothing to the
// mirror.
func Start(ctx context.Context, properties Config, options ...Option) (*Mirror, error) {
	call := func(config config, cancellation cancellation) (*Mirror, error) {
		unheard := WithLogger(slog.New(warnings{slog.Default().Handler()}))
		for _, option := range append([]Option{unheard}, options...) {
			if err := option(config); err != nil {
				return nil, err
			}
		}
		var pointer *C.kmirror_t
		if err := taken(C.kmirror_start_cancellable(config.pointer, cancellation, &pointer)); err != nil {
			return nil, err
		}
		return &Mirror{closing: make(chan struct{}), pointer: pointer, users: 1}, nil
	}
	return withConfig(ctx, properties, "start", call, func(late *Mirror) { _ = late.Close() })
}

// enter returns the pointer, which lives until leave.
func (m *Mirror) enter() (*C.kmirror_t, error) {
	if m == nil {
		return nil, failure(ErrState, "the mirror has not been started")
	}
	m.lock.Lock()
	defer m.lock.Unlock()
	if m.closed || m.pointer == nil {
		return nil, errClosed()
	}
	m.users++
	return m.pointer, nil
}

func (m *Mirror) leave() {
	m.lock.Lock()
	m.users--
	last := m.users == 0
	m.lock.Unlock()
	if last {
		C.kmirror_free(m.pointer)
	}
}

// short runs a call that does not wait.
func (m *Mirror) short(call func(*C.kmirror_t) *C.kmirror_error_t) error {
	pointer, err := m.enter()
	if err != nil {
		return err
	}
	defer m.leave()
	return taken(call(pointer))
}

// long runs a call that waits, and leaves it alone when the context or the mirror ends.
func long[T any](
	ctx context.Context, m *Mirror, what string, call func(*C.kmirror_t, cancellation) (T, error),
) (T, error) {
	var nothing T
	if err := ctx.Err(); err != nil {
		return nothing, given(what, err)
	}
	pointer, err := m.enter()
	if err != nil {
		return nothing, err
	}
	inside := func(cancellation cancellation) (T, error) {
		defer m.leave()
		return call(pointer, cancellation)
	}
	return await(ctx, m.closing, what, inside, nil)
}

// WaitUntilCaughtUp waits until every selected partition has reached the source's end as it is at the time of this call, and the
// offsets of groups are copied. It fails with the error of a partition that never will, and with [ErrState] when the mirror ends
// meanwhile.
func (m *Mirror) WaitUntilCaughtUp(ctx context.Context) error {
	_, err := long(ctx, m, "wait until caught up", func(pointer *C.kmirror_t, cancellation cancellation) (struct{}, error) {
		limit := C.int64_t(timeout(ctx, forEver))
		return struct{}{}, taken(C.kmirror_wait_until_caught_up_cancellable(pointer, limit, cancellation))
	})
	return err
}

// Pause stops fetching. What is under way is finished; connections stay open.
func (m *Mirror) Pause() error {
	return m.short(func(pointer *C.kmirror_t) *C.kmirror_error_t { return C.kmirror_pause(pointer) })
}

// Resume goes on after [Mirror.Pause].
func (m *Mirror) Resume() error {
	return m.short(func(pointer *C.kmirror_t) *C.kmirror_error_t { return C.kmirror_resume(pointer) })
}

// SetThrottle changes throttle.bytes.per.second for the mirror as it runs; 0 and below are without limit.
func (m *Mirror) SetThrottle(bytesPerSecond int64) error {
	return m.short(func(pointer *C.kmirror_t) *C.kmirror_error_t {
		return C.kmirror_set_throttle(pointer, C.int64_t(bytesPerSecond))
	})
}

// State returns the mirror's state; [StateStopped] after [Mirror.Close].
func (m *Mirror) State() State {
	pointer, err := m.enter()
	if err != nil {
		return StateStopped
	}
	defer m.leave()
	return State(C.GoString(C.kmirror_state(pointer)))
}

// Err returns what keeps the mirror, or a part of it, from going on now: the error that it has failed with, or that of the first
// partition or topic that is not copied, and how many there are. It is nil when everything goes on.
func (m *Mirror) Err() error {
	return m.short(func(pointer *C.kmirror_t) *C.kmirror_error_t { return C.kmirror_trouble(pointer) })
}

// Verify compares what consumers would read from both clusters, for the topics of this mirror, while it runs or later. That there
// are differences, or that not everything could be compared, is no error. What is accepted can be said, for example [AllowBehind].
func (m *Mirror) Verify(ctx context.Context, allowed ...Allowed) (*VerifyReport, error) {
	return long(ctx, m, "verify", func(pointer *C.kmirror_t, cancellation cancellation) (*VerifyReport, error) {
		var report *C.kmirror_report_t
		limit := C.int64_t(timeout(ctx, forEver))
		if err := taken(C.kmirror_verify(pointer, limit, cancellation, &report)); err != nil {
			return nil, err
		}
		return takenVerification(report, allowed), nil
	})
}

// Promote ends the mirror for a switch-over: copies what the source has, marks the mirror on the target so that no process of it
// writes again, and tells what was and was not copied. It fails with [ErrTimedOut] if the source is there and not everything was
// copied until the context's deadline, or in 60 seconds where it has none: then the mirror goes on, and nothing is marked.
//
// When the context is cancelled before, the switch-over is given up, unless it is too late for that; [Mirror.State] tells.
func (m *Mirror) Promote(ctx context.Context) (*PromoteReport, error) {
	return long(ctx, m, "promote", func(pointer *C.kmirror_t, cancellation cancellation) (*PromoteReport, error) {
		var report *C.kmirror_report_t
		limit := C.int64_t(timeout(ctx, promoteLimit))
		if err := taken(C.kmirror_promote(pointer, limit, cancellation, &report)); err != nil {
			return nil, err
		}
		return takenPromotion(report), nil
	})
}

// Stop stops the mirror: nothing more is fetched or sent, and answers under way are waited for until the context's deadline, or for 10
// seconds where it has none. The target is exact at any moment; what was not sent is copied by the next start. Stopping twice is
// no error. Events that wait can still be received.
//
// A context that has ended already makes it stop at once, without answers under way; the error is the context's all the same.
func (m *Mirror) Stop(ctx context.Context) error {
	stop := func(pointer *C.kmirror_t, _ cancellation) (struct{}, error) {
		limit := timeout(ctx, stopLimit)
		if ctx.Err() != nil {
			limit = 0
		}
		return struct{}{}, taken(C.kmirror_stop(pointer, C.int64_t(limit)))
	}
	ended := ctx.Err()
	if ended == nil {
		_, err := long(ctx, m, "stop", stop)
		return err
	}
	if _, err := long(context.WithoutCancel(ctx), m, "stop", stop); err != nil && !isTimedOut(err) {
		return err
	}
	return given("stop", ended)
}

// Close stops the mirror, for ten seconds at most, and frees it; calls that still wait return [ErrState]. Events ends. Closing twice is no
// error. If something kept the mirror or a part of it from going on by then, that is the error, as of [Mirror.Err]: whoever closes a
// mirror does not look at it any more.
func (m *Mirror) Close() error {
	if m == nil {
		return nil
	}
	m.lock.Lock()
	if m.closed || m.pointer == nil {
		m.lock.Unlock()
		return nil
	}
	m.closed = true
	close(m.closing)
	pumped := m.pumped
	m.lock.Unlock()
	state, trouble := C.GoString(C.kmirror_state(m.pointer)), taken(C.kmirror_trouble(m.pointer))
	err := taken(C.kmirror_stop(m.pointer, C.int64_t(stopLimit.Milliseconds())))
	if pumped != nil {
		<-pumped
	}
	m.leave()
	if err == nil && trouble != nil {
		return fmt.Errorf("the mirror was %s when it was closed: %w", state, trouble)
	}
	return err
}

// Version returns the version of the library that runs.
func Version() string { return C.GoString(C.kmirror_version()) }
