package kmirror_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"kmirror"
)

// hang is how long something may take at most; nothing is expected to come near it.
const hang = 60 * time.Second

// silent is an address that takes connections and never answers.
func silent(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = connection.Close() })
		}
	}()
	return listener.Addr().String()
}

// unanswered is a configuration whose start goes on until its time is up.
func unanswered(t *testing.T) kmirror.Config {
	t.Helper()
	return kmirror.Config{
		"source.bootstrap.servers":                  silent(t),
		"target.bootstrap.servers":                  silent(t),
		"topics":                                    "orders",
		"source.request.timeout.ms":                 "3000",
		"target.request.timeout.ms":                 "3000",
		"source.socket.connection.setup.timeout.ms": "3000",
	}
}

type held struct{ goroutines, descriptors, threads int }

func look(t *testing.T) held {
	t.Helper()
	count := func(directory string) int {
		entries, err := os.ReadDir(directory)
		if err != nil {
			t.Skip("only Linux tells: " + err.Error())
		}
		return len(entries)
	}
	return held{runtime.NumGoroutine(), count("/proc/self/fd"), count("/proc/self/task")}
}

func TestACancelledStartReturnsAtOnceAndLeavesNothingBehind(t *testing.T) {
	config := unanswered(t)
	before := look(t)
	ctx, cancel := context.WithCancel(context.Background())
	returned := make(chan error)
	begun := time.Now()
	go func() {
		_, err := kmirror.Start(ctx, config)
		returned <- err
	}()
	time.Sleep(200 * time.Millisecond)
	cancel()
	select {
	case err := <-returned:
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	case <-time.After(hang):
		t.Fatal("it does not return")
	}
	expectLetGo(t, before)
	took := time.Since(begun)

	// As long as the whole call takes, nothing has waited for it, in the library neither.
	begun = time.Now()
	_, err := kmirror.Start(context.Background(), config)
	if whole := time.Since(begun); err == nil || took > whole/2 {
		t.Errorf("cancelled it took %v, and %v as a whole: %v", took, whole, err)
	}
}

func TestACancelledPlanLeavesNothingBehind(t *testing.T) {
	config := unanswered(t)
	before := look(t)
	begun := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if _, err := kmirror.Plan(ctx, config); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	expectLetGo(t, before)
	took := time.Since(begun)
	begun = time.Now()
	if _, err := kmirror.Plan(context.Background(), config); err == nil || took > time.Since(begun)/2 {
		t.Errorf("cancelled it took %v, and %v as a whole: %v", took, time.Since(begun), err)
	}
}

// expectLetGo waits until there are no more goroutines than before, each of which stands for a call that is in the library.
func expectLetGo(t *testing.T, before held) {
	t.Helper()
	for limit := time.Now().Add(hang); ; time.Sleep(5 * time.Millisecond) {
		// The listeners hold the other end of what the mirror has connected to.
		now := look(t)
		if now.goroutines <= before.goroutines {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("before %+v, afterwards %+v", before, now)
		}
	}
}

func TestWhatIsLoggedBeforeAStartFailsIsHeard(t *testing.T) {
	var lines strings.Builder
	logger := slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	config := kmirror.Config{
		"source.bootstrap.servers": "127.0.0.1:1", "target.bootstrap.servers": "127.0.0.1:2", "topics": "orders",
	}
	if _, err := kmirror.Start(context.Background(), config, kmirror.WithLogger(logger)); err == nil {
		t.Error("it started")
	}
	if lines.Len() == 0 {
		t.Error("nothing was logged")
	}
}

func TestADeadlineIsTheContextsError(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := kmirror.Plan(ctx, unanswered(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestAContextThatHasEndedStartsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	config := addresses()
	if _, err := kmirror.Start(ctx, config); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := kmirror.Check(ctx, config); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := kmirror.Plan(ctx, config); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := kmirror.Verify(ctx, config, kmirror.VerifyOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := kmirror.Promote(ctx, config, kmirror.PromoteOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestNobodyListensIsAnErrorOfConnecting(t *testing.T) {
	config := kmirror.Config{
		"source.bootstrap.servers": "127.0.0.1:1", "target.bootstrap.servers": "127.0.0.1:2", "topics": "orders",
	}
	report, err := kmirror.Check(context.Background(), config)
	if err != nil || report.OK || len(report.Problems) != 2 {
		t.Errorf("%+v, %v", report, err)
	}
	_, err = kmirror.Start(context.Background(), config)
	var told *kmirror.Error
	if !errors.As(err, &told) || told.Code != kmirror.ErrConnect || told.Code.String() != "connect" {
		t.Errorf("%#v", err)
	}
}

func TestAMirrorThatIsNotThereGivesErrorsAndNoCrash(t *testing.T) {
	for _, mirror := range []*kmirror.Mirror{nil, {}} {
		if err := mirror.Close(); err != nil {
			t.Error(err)
		}
		if err := mirror.Stop(context.Background()); !errors.Is(err, kmirror.ErrState) {
			t.Error(err)
		}
		if _, err := mirror.Status(); !errors.Is(err, kmirror.ErrState) {
			t.Error(err)
		}
		if _, open := <-mirror.Events(); open {
			t.Error("an event of nothing")
		}
	}
}
