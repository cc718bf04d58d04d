package tests

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kmirror"
)

func TestMirrorsATopicThatIsWrittenTo(t *testing.T) {
	topic, ctx := given(t, "BUSY_TOPIC"), limited(t)
	mirror := started(t, configOf(t, topic, "lag.interval.ms", "200"))
	heard := &handler{}
	must(t, mirror.SetLogger(slog.New(heard)))
	must(t, mirror.WaitUntilCaughtUp(ctx))

	changed := expectEvent(t, mirror.Events(), "change of state", func(event kmirror.Event) bool {
		return event.Kind == kmirror.EventStateChanged
	})
	if changed.State == "" || changed.Topic != "" {
		t.Errorf("%+v", changed)
	}
	lag := expectEvent(t, mirror.Events(), "lag of the topic", func(event kmirror.Event) bool {
		return event.Kind == kmirror.EventLag && event.Topic == topic
	})
	if lag.Lag.Records < -1 || lag.Lag.Bytes < -1 || lag.Lag.Time < -1 || lag.Message == "" || lag.Partition != -1 || lag.Err != nil {
		t.Errorf("%+v", lag)
	}
	if age := time.Since(lag.Time); age < -hang || age > hang {
		t.Errorf("the event is of %v", lag.Time)
	}

	status, err := mirror.Status()
	must(t, err)
	if len(status.Topics) != 1 || status.Topics[0].Topic != topic || len(status.Topics[0].Partitions) != 2 {
		t.Fatalf("%s", status.JSON)
	}
	partition := status.Topics[0].Partitions[1]
	if partition.Partition != 1 || partition.TargetOffsetNext <= 0 || partition.SourceOffsetNext <= 0 || partition.Err != nil {
		t.Errorf("%+v", partition)
	}
	if status.Name == "" || status.State != mirror.State() || status.ReplicatedRecords <= 0 || status.Err != nil {
		t.Errorf("%+v", status)
	}

	report, err := mirror.Verify(ctx, kmirror.AllowBehind)
	must(t, err)
	if !report.Identical || report.Outcome != "identical" || report.RecordsCompared == 0 || report.Differences != 0 || len(report.Problems) != 0 {
		t.Errorf("%s", report.JSON)
	}
	must(t, mirror.Stop(ctx))
	must(t, mirror.Stop(ctx))
	if mirror.State() != kmirror.StateStopped {
		t.Error(mirror.State())
	}
	expectEvent(t, mirror.Events(), "end", func(event kmirror.Event) bool { return event.State == kmirror.StateStopped })
	for event := range mirror.Events() {
		t.Log("after the end: ", event)
	}
	if lines := heard.said(); len(lines) == 0 || !strings.Contains(strings.Join(lines, "\n"), "caught up") {
		t.Errorf("what was logged: %q", lines)
	}
	must(t, mirror.Close())
	expectCopied(t, topic, int(report.RecordsCompared))
}

// handler keeps what is logged, and panics over it.
type handler struct {
	lock  sync.Mutex
	lines []string
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }
func (h *handler) WithAttrs([]slog.Attr) slog.Handler               { return h }
func (h *handler) WithGroup(string) slog.Handler                    { return h }
func (h *handler) Handle(_ context.Context, record slog.Record) error {
	h.lock.Lock()
	defer h.lock.Unlock()
	h.lines = append(h.lines, record.Message)
	if len(h.lines) == 1 {
		panic("a log handler that panics ends neither the program nor the mirror")
	}
	return nil
}

func (h *handler) said() []string {
	h.lock.Lock()
	defer h.lock.Unlock()
	return append([]string(nil), h.lines...)
}

func TestAMirrorThatWasClosedGivesErrorsAndNoCrash(t *testing.T) {
	before := look(t)
	ctx := limited(t)
	mirror := started(t, configOf(t, given(t, "TOPIC")))
	waiting := make(chan error)
	must(t, mirror.Pause())
	go func() { waiting <- mirror.WaitUntilCaughtUp(context.Background()) }()
	events := mirror.Events()
	must(t, mirror.Close())
	must(t, mirror.Close())
	if err := <-waiting; err != nil && !errors.Is(err, kmirror.ErrState) {
		t.Error(err)
	}
	for range events {
	}
	if _, open := <-mirror.Events(); open {
		t.Error("an event after Close")
	}
	_, statusError := mirror.Status()
	_, verifyError := mirror.Verify(ctx)
	_, promoteError := mirror.Promote(ctx)
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	errs := []error{
		statusError, verifyError, promoteError, mirror.Stop(ctx), mirror.Pause(), mirror.Resume(), mirror.SetThrottle(1),
		mirror.WaitUntilCaughtUp(ctx), mirror.SetLogger(logger),
	}
	for i, err := range errs {
		var told *kmirror.Error
		if !errors.As(err, &told) || told.Code != kmirror.ErrState || !strings.Contains(told.Message, "closed") {
			t.Errorf("%d: %v", i, err)
		}
	}
	expectLetGo(t, before)
}

func TestACancelledWaitReturnsAndLeavesNothingBehind(t *testing.T) {
	before := look(t)
	// Nothing comes through any more while more is written, so that nothing is ever caught up.
	mirror := started(t, configOf(t, given(t, "BUSY_TOPIC"), "refresh.interval.ms", "500"))
	must(t, mirror.Pause())
	expectEvent(t, mirror.Events(), "pause", func(event kmirror.Event) bool { return event.State == kmirror.StatePaused })
	for limit := time.Now().Add(hang); ; time.Sleep(5 * time.Millisecond) {
		status, err := mirror.Status()
		must(t, err)
		if status.Lag.Records > 0 {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("paused it is not behind")
		}
	}
	cancelled, cancel := context.WithCancel(context.Background())
	running := runtime.NumGoroutine()
	waiting := make(chan error)
	go func() { waiting <- mirror.WaitUntilCaughtUp(cancelled) }()
	select {
	case err := <-waiting:
		t.Fatalf("paused it has caught up: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// The mirror still has not caught up, but nothing waits for it in the library any more.
	for limit := time.Now().Add(hang); runtime.NumGoroutine() > running; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the wait goes on")
		}
	}
	short, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := mirror.WaitUntilCaughtUp(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if _, err := mirror.Verify(cancelled); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := mirror.Stop(cancelled); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	must(t, mirror.Close())
	expectLetGo(t, before)
}

// lines keeps what goes to it, at the levels that the program's own logger has.
type lines struct {
	handler
	levels []slog.Level
}

func (l *lines) Handle(_ context.Context, record slog.Record) error {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.handler.lines, l.levels = append(l.handler.lines, record.Message), append(l.levels, record.Level)
	return nil
}

func TestAProgramThatDoesNotListenHearsWarningsAndCloseTellsWhatWasNotCopied(t *testing.T) {
	topic := given(t, "OCCUPIED_TOPIC")
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	for _, silent := range []bool{false, true} {
		heard := &lines{}
		slog.SetDefault(slog.New(heard))
		var options []kmirror.Option
		if silent {
			options = append(options, kmirror.WithLogger(nil))
		}
		mirror, err := kmirror.Start(limited(t), configOf(t, topic), options...)
		must(t, err)
		var told *kmirror.Error
		for limit := time.Now().Add(hang); !errors.As(mirror.Err(), &told); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatal("nothing is said of the partition")
			}
		}
		if told.Code != kmirror.ErrTargetConflict || told.Topic != topic {
			t.Errorf("%#v", told)
		}
		if err := mirror.Close(); !errors.Is(err, kmirror.ErrTargetConflict) || !strings.Contains(err.Error(), "when it was closed") {
			t.Errorf("closed with: %v", err)
		}
		parked := strings.Contains(strings.Join(heard.said(), "\n"), "partition parked topic="+topic)
		if parked == silent || slices.ContainsFunc(heard.levels, func(level slog.Level) bool { return level < slog.LevelWarn }) {
			t.Errorf("silent: %v, heard: %q at %v", silent, heard.said(), heard.levels)
		}
	}
}

func TestAThrottleIsTakenOffWhileItRuns(t *testing.T) {
	mirror := started(t, configOf(t, given(t, "BUSY_TOPIC"), "throttle.bytes.per.second", "1"))
	must(t, mirror.SetThrottle(0))
	must(t, mirror.WaitUntilCaughtUp(limited(t)))
	must(t, mirror.Pause())
	expectEvent(t, mirror.Events(), "pause", func(event kmirror.Event) bool { return event.State == kmirror.StatePaused })
	must(t, mirror.Resume())
	must(t, mirror.WaitUntilCaughtUp(limited(t)))
}

func TestStartsAndStopsLeaveNothingBehind(t *testing.T) {
	topic := given(t, "BUSY_TOPIC")
	cycle := func() {
		mirror := started(t, configOf(t, topic))
		go func() {
			for range mirror.Events() {
			}
		}()
		must(t, mirror.SetLogger(slog.New(slog.NewTextHandler(discard{}, nil))))
		must(t, mirror.Close())
	}
	cycle()
	before := look(t)
	for range 10 {
		cycle()
	}
	expectLetGo(t, before)
}

type discard struct{}

func (discard) Write(text []byte) (int, error) { return len(text), nil }

func TestManyGoroutinesUseAMirrorThatIsClosedMeanwhile(t *testing.T) {
	before := look(t)
	mirror := started(t, configOf(t, given(t, "BUSY_TOPIC")))
	var all sync.WaitGroup
	for range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			for {
				if _, err := mirror.Status(); err != nil {
					if !errors.Is(err, kmirror.ErrState) {
						t.Error(err)
					}
					return
				}
				_ = mirror.Pause()
				_ = mirror.Resume()
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
				_ = mirror.WaitUntilCaughtUp(ctx)
				cancel()
				select {
				case <-mirror.Events():
				default:
				}
			}
		}()
	}
	time.Sleep(500 * time.Millisecond)
	must(t, mirror.Close())
	all.Wait()
	expectLetGo(t, before)
}

func TestLagIsToldAboveAndBelowWhenTheTargetStandsStill(t *testing.T) {
	pid := brokerOfTheLoneTarget(t)
	mirror := started(t, configOf(t, given(t, "BUSY_TOPIC"), "target.bootstrap.servers", given(t, "LONE_TARGET"),
		"lag.threshold.ms", "3000", "lag.interval.ms", "100"))
	must(t, mirror.WaitUntilCaughtUp(limited(t)))
	stop(t, pid)
	above := expectEvent(t, mirror.Events(), "lag above", func(event kmirror.Event) bool {
		return event.Kind == kmirror.EventLagAbove
	})
	if above.Lag.Time <= 3*time.Second || above.Lag.Records <= 0 {
		t.Errorf("%+v", above)
	}
	resume(t, pid)
	below := expectEvent(t, mirror.Events(), "lag below", func(event kmirror.Event) bool {
		return event.Kind == kmirror.EventLagBelow
	})
	if below.Lag.Time >= 3*time.Second {
		t.Errorf("%+v", below)
	}
}

func TestAPlanIsMadeAndAMirrorIsPromoted(t *testing.T) {
	topic, ctx := given(t, "TOPIC"), limited(t)
	config := configOf(t, topic)
	checked, err := kmirror.Check(ctx, config)
	must(t, err)
	if !checked.OK || len(checked.Problems) != 0 || len(checked.Lines) < 8 || checked.Lines[0].Side != "source" {
		t.Errorf("%+v", checked)
	}
	plan, err := kmirror.Plan(ctx, config)
	must(t, err)
	if len(plan.Problems) != 0 || !strings.Contains(string(plan.JSON), topic) {
		t.Errorf("%s", plan.JSON)
	}
	mirror := started(t, config)
	promoted, err := mirror.Promote(ctx)
	must(t, err)
	if !promoted.Promoted || promoted.RecordsNotCopied != 0 || mirror.State() != kmirror.StatePromoted {
		t.Errorf("%s in state %s", promoted.JSON, mirror.State())
	}
	// It would be two writers.
	if again, err := kmirror.Start(ctx, config); err == nil {
		_ = again.Close()
		t.Error("a mirror that was promoted starts again")
	}
	report, err := kmirror.Verify(ctx, config, kmirror.VerifyOptions{Topics: topic, Sample: "50%"})
	must(t, err)
	if !report.Identical || report.Outcome != "identical_in_a_sample" || report.RecordsCompared == 0 {
		t.Errorf("%s", report.JSON)
	}
	expectCopied(t, topic, 1000)
}
