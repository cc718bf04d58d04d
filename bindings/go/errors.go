package kmirror

/*
#cgo pkg-config: kmirror
#include <kmirror.h>
#include <stdlib.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"
)

// Code says what kind of error it is. A number keeps its meaning for ever; later versions may have more. A Code is itself an
// error, so that errors.Is(err, kmirror.ErrTimedOut) finds it in every error of its kind.
type Code int32

// The codes of the engine's errors.
const (
	// ErrInternal is a bug in kmirror: please report it with the log.
	ErrInternal Code = C.KMIRROR_ERROR_INTERNAL
	// ErrConfig is a configuration that cannot work: every problem is listed, with the nearest known key.
	ErrConfig Code = C.KMIRROR_ERROR_CONFIG
	// ErrConnect is a cluster that cannot be reached.
	ErrConnect Code = C.KMIRROR_ERROR_CONNECT
	// ErrAuthentication is a cluster that refused the credentials.
	ErrAuthentication Code = C.KMIRROR_ERROR_AUTHENTICATION
	// ErrAuthorization is a permission that is missing: the message names the resource and the operation to allow.
	ErrAuthorization Code = C.KMIRROR_ERROR_AUTHORIZATION
	// ErrTopic is a topic that cannot be mirrored as it is; the others go on.
	ErrTopic Code = C.KMIRROR_ERROR_TOPIC
	// ErrDataLoss is about source records that are gone before they were replicated.
	ErrDataLoss Code = C.KMIRROR_ERROR_DATA_LOSS
	// ErrTopicReset is a source topic that is not the one that was mirrored.
	ErrTopicReset Code = C.KMIRROR_ERROR_TOPIC_RESET
	// ErrTargetConflict is a target partition with data from elsewhere.
	ErrTargetConflict Code = C.KMIRROR_ERROR_TARGET_CONFLICT
	// ErrOffsetGap is about offsets without a record that cannot be reproduced on this target.
	ErrOffsetGap Code = C.KMIRROR_ERROR_OFFSET_GAP
	// ErrRecordRefused is a record that the target does not take.
	ErrRecordRefused Code = C.KMIRROR_ERROR_RECORD_REFUSED
	// ErrFenced is a mirror of this name in another process.
	ErrFenced Code = C.KMIRROR_ERROR_FENCED
	// ErrUnsupported is a request that is needed and that the broker does not offer.
	ErrUnsupported Code = C.KMIRROR_ERROR_UNSUPPORTED
	// ErrVerificationFailed is a difference between source and target.
	ErrVerificationFailed Code = C.KMIRROR_ERROR_VERIFICATION_FAILED
	// ErrTimedOut is about what did not happen in the time given; it may still happen.
	ErrTimedOut Code = C.KMIRROR_ERROR_TIMED_OUT
	// ErrState is a call that does not fit the state of the mirror, for example because it was stopped or closed.
	ErrState Code = C.KMIRROR_ERROR_STATE
	// ErrBroker is an error of a broker that usually passes: it is retried.
	ErrBroker Code = C.KMIRROR_ERROR_BROKER
	// ErrDiverged is about different records at the same offset.
	ErrDiverged Code = C.KMIRROR_ERROR_DIVERGED
	// ErrForked is a mirror of the process this one was forked from.
	ErrForked Code = C.KMIRROR_ERROR_FORKED
)

var codeNames = map[Code]string{
	ErrInternal:           "internal",
	ErrConfig:             "config",
	ErrConnect:            "connect",
	ErrAuthentication:     "authentication",
	ErrAuthorization:      "authorization",
	ErrTopic:              "topic",
	ErrDataLoss:           "data_loss",
	ErrTopicReset:         "topic_reset",
	ErrTargetConflict:     "target_conflict",
	ErrOffsetGap:          "offset_gap",
	ErrRecordRefused:      "record_refused",
	ErrFenced:             "fenced",
	ErrUnsupported:        "unsupported",
	ErrVerificationFailed: "verification_failed",
	ErrTimedOut:           "timed_out",
	ErrState:              "state",
	ErrBroker:             "broker",
	ErrDiverged:           "diverged",
	ErrForked:             "forked",
}

// String returns the name of the code, for example "timed_out".
func (c Code) String() string {
	if name, known := codeNames[c]; known {
		return name
	}
	return fmt.Sprintf("code %d", int32(c))
}

// Error makes a code something that errors.Is can look for.
func (c Code) Error() string { return "kmirror: " + c.String() }

// Error is what the engine has to say: what happened, where, and what to do. Secrets are never in it.
type Error struct {
	// Code is what branches are made on.
	Code Code
	// Name is the name of the code, also of one that this package does not know yet.
	Name string
	// Message is for a person to read.
	Message string
	// Retriable is whether the same call may succeed later without anybody changing anything.
	Retriable bool
	// Fatal is whether the mirror, or the partition it is about, cannot go on.
	Fatal bool
	// Topic it is about; empty if it is about none.
	Topic string
	// Partition it is about; -1 if it is about none.
	Partition int32
	// Offset of the source it is about; -1 if it is about none.
	Offset int64
	// KafkaCode is what a broker has answered with; 0 if that is not the cause.
	KafkaCode int16
}

// Error returns the message.
func (e *Error) Error() string { return "kmirror: " + e.Message }

// Is makes errors.Is(err, kmirror.ErrTimedOut) true for every error with this code.
func (e *Error) Is(target error) bool {
	code, isCode := target.(Code)
	return isCode && code == e.Code
}

// failure is an error of this package, in the words of the engine's.
func failure(code Code, message string) *Error {
	return &Error{Code: code, Name: code.String(), Message: message, Partition: -1, Offset: -1}
}

// taken turns an error of the library, which is freed, into one of Go; nil is success.
func taken(theirs *C.kmirror_error_t) error {
	if theirs == nil {
		return nil
	}
	defer C.kmirror_error_free(theirs)
	return copied(theirs)
}

// copied turns an error that belongs to an event or a status into one of Go, without a nil pointer in an interface.
func copied(theirs *C.kmirror_error_t) error {
	if theirs == nil {
		return nil
	}
	return &Error{
		Code:      Code(C.kmirror_error_code(theirs)),
		Name:      C.GoString(C.kmirror_error_name(theirs)),
		Message:   C.GoString(C.kmirror_error_message(theirs)),
		Retriable: bool(C.kmirror_error_is_retriable(theirs)),
		Fatal:     bool(C.kmirror_error_is_fatal(theirs)),
		Topic:     C.GoString(C.kmirror_error_topic(theirs)),
		Partition: int32(C.kmirror_error_partition(theirs)),
		Offset:    int64(C.kmirror_error_offset(theirs)),
		KafkaCode: int16(C.kmirror_error_kafka_code(theirs)),
	}
}

// asText copies a string for the library; what it returns has to be freed. A NUL would cut the text off, and nobody would hear.
func asText(what, text string) (*C.char, error) {
	if strings.ContainsRune(text, 0) {
		return nil, failure(ErrConfig, what+" has a NUL character in it")
	}
	return C.CString(text), nil
}

func free(text *C.char) { C.free(unsafe.Pointer(text)) }

// isTimedOut tells the engine's own limit from its other errors.
func isTimedOut(err error) bool { return errors.Is(err, ErrTimedOut) }
