package kmirror

/*
#include <kmirror.h>
#include <stdlib.h>
*/
import "C"

import (
	"context"
	"encoding/json"
	"slices"
)

// Report is what a check, a plan, a verification and a switch-over have in common.
type Report struct {
	// Problems as sentences; none is well. Of a verification they are the first differences and what is not proved to be equal, of a plan what
	// cannot be mirrored and which permissions are missing, of a check what has failed, of a switch-over what is not copied.
	Problems []string
	// JSON is the whole as the library tells it.
	JSON json.RawMessage
}

// CheckReport is whether a mirror would run. Its problems are what has failed, and what to do.
type CheckReport struct {
	Report
	// OK is whether nothing has failed; there may be warnings, which are among the lines.
	OK bool
	// Lines are what was looked at, one after the other.
	Lines []CheckLine
}

// CheckLine is a thing that was looked at.
type CheckLine struct {
	// Side is "source", "target", or empty for what is about both.
	Side string `json:"side"`
	// Subject is what was looked at, for example "connection".
	Subject string `json:"subject"`
	// Outcome is "ok", "warning" or "failed".
	Outcome string `json:"outcome"`
	// Message is what was found.
	Message string `json:"message"`
	// Fix is what to do about it; empty if nothing has to be done.
	Fix string `json:"fix"`
}

// PlanReport is what a mirror would do.
type PlanReport struct{ Report }

// VerifyReport is what a comparison of both clusters has come to.
type VerifyReport struct {
	Report
	// Outcome is "identical", "identical_in_a_sample", "incomplete" (no difference was seen, but not everything is proved to be
	// equal: the problems say what and why) or "different".
	Outcome string
	// Identical is whether every record that the source had when the verification began is on the target, equal, at its place, and
	// nothing else is in the range; where a sample was asked for, as far as it goes. What was allowed may be missing.
	Identical bool
	// RecordsCompared is how many records were read from both sides.
	RecordsCompared int64
	// Differences is how many real ones there are, also those that are not among the problems.
	Differences int64
}

// PromoteReport is what a switch-over has come to.
type PromoteReport struct {
	Report
	// Promoted is whether the mirror is marked, so that no process of it writes again.
	Promoted bool
	// RecordsNotCopied is how many are not, as far as it is known.
	RecordsNotCopied int64
}

// VerifyOptions say what [Verify] compares.
type VerifyOptions struct {
	// Topics are patterns that select from the configured ones; empty is all.
	Topics string
	// Sample is how much of a partition, as "5%" or as a number of offsets; empty is everything.
	Sample string
	// Allow is what is accepted; nothing is unless it is said.
	Allow []Allowed
}

// Allowed is something that keeps a verification from being identical, and is accepted.
type Allowed int

const (
	// AllowBehind accepts that the target is behind.
	AllowBehind Allowed = iota + 1
	// AllowExpired accepts that one side has removed records at the beginning of its log which the other still has.
	AllowExpired
)

// PromoteOptions say how [Promote] does it.
type PromoteOptions struct {
	// Force marks the mirror also when not everything can be copied in time; the report says what is missing.
	Force bool
}

// Check looks whether a mirror would run: connections to every broker, permissions, topics, clocks. It writes nothing. That something is
// wrong is no error.
func Check(ctx context.Context, properties Config) (*CheckReport, error) {
	call := func(config config, cancellation cancellation) (*CheckReport, error) {
		var theirs *C.kmirror_report_t
		if err := taken(C.kmirror_check(config.pointer, cancellation, &theirs)); err != nil {
			return nil, err
		}
		defer C.kmirror_report_free(theirs)
		report := &CheckReport{Report: copiedReport(theirs)}
		if err := json.Unmarshal(report.JSON, report); err != nil {
			return nil, failure(ErrInternal, "the library's report is not as expected: "+err.Error())
		}
		return report, nil
	}
	return withConfig(ctx, properties, "check", call, nil)
}

// Plan works out what a mirror would do, also what it could not. It connects to both clusters and writes nothing.
func Plan(ctx context.Context, properties Config) (*PlanReport, error) {
	call := func(config config, cancellation cancellation) (*PlanReport, error) {
		var report *C.kmirror_report_t
		if err := taken(C.kmirror_plan(config.pointer, cancellation, &report)); err != nil {
			return nil, err
		}
		defer C.kmirror_report_free(report)
		return &PlanReport{copiedReport(report)}, nil
	}
	return withConfig(ctx, properties, "plan", call, nil)
}

// Verify compares what consumers would read from both clusters, without a mirror. That there are differences is no error.
func Verify(ctx context.Context, properties Config, options VerifyOptions) (*VerifyReport, error) {
	call := func(config config, cancellation cancellation) (*VerifyReport, error) {
		topics, err := orNull("Topics", options.Topics)
		if err != nil {
			return nil, err
		}
		defer free(topics)
		sample, err := orNull("Sample", options.Sample)
		if err != nil {
			return nil, err
		}
		defer free(sample)
		var report *C.kmirror_report_t
		limit := C.int64_t(timeout(ctx, forEver))
		if err := taken(C.kmirror_config_verify(config.pointer, topics, sample, limit, cancellation, &report)); err != nil {
			return nil, err
		}
		return takenVerification(report, options.Allow), nil
	}
	return withConfig(ctx, properties, "verify", call, nil)
}

// Promote ends the mirror of this configuration for a switch-over from outside, as [Mirror.Promote] does for one that runs here: it has
// to be stopped, or its process to be gone.
//
// When the context is cancelled, the switch-over is given up, unless it is too late for that.
func Promote(ctx context.Context, properties Config, options PromoteOptions) (*PromoteReport, error) {
	call := func(config config, cancellation cancellation) (*PromoteReport, error) {
		var report *C.kmirror_report_t
		limit, force := C.int64_t(timeout(ctx, promoteLimit)), C.bool(options.Force)
		if err := taken(C.kmirror_config_promote(config.pointer, force, limit, cancellation, &report)); err != nil {
			return nil, err
		}
		return takenPromotion(report), nil
	}
	return withConfig(ctx, properties, "promote", call, nil)
}

// withConfig runs a call that waits and needs no mirror. late gets what comes after the context has ended.
func withConfig[T any](
	ctx context.Context, properties Config, what string, call func(config, cancellation) (T, error), late func(T),
) (T, error) {
	var nothing T
	if err := ctx.Err(); err != nil {
		return nothing, given(what, err)
	}
	config, err := makeConfig(properties)
	if err != nil {
		return nothing, err
	}
	inside := func(cancellation cancellation) (T, error) {
		defer config.free()
		return call(config, cancellation)
	}
	return await(ctx, nil, what, inside, late)
}

// orNull copies a text for the library, which takes NULL where nothing was said.
func orNull(what, text string) (*C.char, error) {
	if text == "" {
		return nil, nil
	}
	return asText(what, text)
}

func copiedReport(theirs *C.kmirror_report_t) Report {
	report := Report{JSON: json.RawMessage(C.GoString(C.kmirror_report_json(theirs)))}
	for i := C.size_t(0); i < C.kmirror_report_problem_count(theirs); i++ {
		report.Problems = append(report.Problems, C.GoString(C.kmirror_report_problem(theirs, i)))
	}
	return report
}

// takenVerification turns a report of the library, which is freed, into one of Go.
func takenVerification(theirs *C.kmirror_report_t, allowed []Allowed) *VerifyReport {
	defer C.kmirror_report_free(theirs)
	behind, expired := slices.Contains(allowed, AllowBehind), slices.Contains(allowed, AllowExpired)
	C.kmirror_report_allow(theirs, C.bool(behind), C.bool(expired))
	return &VerifyReport{
		Report:          copiedReport(theirs),
		Outcome:         C.GoString(C.kmirror_report_outcome(theirs)),
		Identical:       bool(C.kmirror_report_identical(theirs)),
		RecordsCompared: int64(C.kmirror_report_records_compared(theirs)),
		Differences:     int64(C.kmirror_report_differences(theirs)),
	}
}

// takenPromotion turns a report of the library, which is freed, into one of Go.
func takenPromotion(theirs *C.kmirror_report_t) *PromoteReport {
	defer C.kmirror_report_free(theirs)
	return &PromoteReport{
		Report:           copiedReport(theirs),
		Promoted:         bool(C.kmirror_report_promoted(theirs)),
		RecordsNotCopied: int64(C.kmirror_report_records_not_copied(theirs)),
	}
}
