package kmirror

/*
#include <kmirror.h>
*/
import "C"

import (
	"context"
	"fmt"
	"time"
)

// cancellation is what a call of the library looks at while it waits.
type cancellation = *C.kmirror_cancellation_t

// await runs a call of the library that takes time, and returns what it returns, or that the context or the mirror has ended before:
// then the call is cancelled and comes to its end on its goroutine, and late, unless it is nil, gets what comes of it all the same.
func await[T any](
	ctx context.Context, closing <-chan struct{}, what string, call func(cancellation) (T, error), late func(T),
) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	var nothing T
	done, gone := make(chan outcome), make(chan struct{})
	cancellation := C.kmirror_cancellation_new()
	go func() {
		// Nobody cancels any more when the outcome was taken or the caller has gone.
		defer C.kmirror_cancellation_free(cancellation)
		value, err := call(cancellation)
		select {
		case done <- outcome{value, err}:
		case <-gone:
			if late != nil && err == nil {
				late(value)
			}
		}
	}()
	defer close(gone)
	select {
	case outcome := <-done:
		if err := ctx.Err(); err != nil && isTimedOut(outcome.err) {
			return nothing, fmt.Errorf("%w: %w", given(what, err), outcome.err)
		}
		return outcome.value, outcome.err
	case <-ctx.Done():
		C.kmirror_cancellation_cancel(cancellation)
		return nothing, given(what, ctx.Err())
	case <-closing:
		C.kmirror_cancellation_cancel(cancellation)
		return nothing, errClosed()
	}
}

// given is the error of a call that was given up, which is the context's for errors.Is.
func given(what string, err error) error { return fmt.Errorf("kmirror: %s: %w", what, err) }

func errClosed() error { return failure(ErrState, "the mirror has been closed") }

// timeout is what is left until the deadline in milliseconds, or the default, where below 0 is without limit.
func timeout(ctx context.Context, otherwise time.Duration) int64 {
	deadline, limited := ctx.Deadline()
	if !limited {
		return otherwise.Milliseconds()
	}
	return max(time.Until(deadline).Milliseconds(), 0)
}

const forEver = -time.Millisecond
