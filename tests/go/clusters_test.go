// Package tests mirrors between real clusters from Go; what was copied is read back by franz-go.
//
// A test of Rust starts it, with two clusters and topics: cargo test --test it bindings::go
package tests

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"kmirror"
)

// hang is how long something may take at most; nothing is expected to come near it.
const hang = 120 * time.Second

// given returns what the test of Rust has told under a name.
func given(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv("KMIRROR_TEST_" + name)
	if value == "" {
		t.Fatal("these tests need Kafka clusters: run them with cargo test --test it bindings::go")
	}
	return value
}

func configOf(t *testing.T, topic string, more ...string) kmirror.Config {
	t.Helper()
	config := kmirror.Config{
		"source.bootstrap.servers": given(t, "SOURCE"),
		"target.bootstrap.servers": given(t, "TARGET"),
		"topics":                   topic,
		"name":                     "go-" + topic,
	}
	for i := 0; i < len(more); i += 2 {
		config[more[i]] = more[i+1]
	}
	return config
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	t.Cleanup(cancel)
	return ctx
}

// started returns a running mirror, which is closed at the end of the test.
func started(t *testing.T, config kmirror.Config) *kmirror.Mirror {
	t.Helper()
	mirror, err := kmirror.Start(limited(t), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mirror.Close(); err != nil {
			t.Error(err)
		}
	})
	return mirror
}

// must ends the test when there is an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// expectEvent receives until an event is as wanted.
func expectEvent(t *testing.T, events <-chan kmirror.Event, what string, wanted func(kmirror.Event) bool) kmirror.Event {
	t.Helper()
	limit := time.After(hang)
	for {
		select {
		case event, open := <-events:
			if !open {
				t.Fatalf("the events have ended without %s", what)
			}
			if wanted(event) {
				return event
			}
		case <-limit:
			t.Fatalf("no %s", what)
		}
	}
}

// records reads a topic from its beginning, so many records of it, and returns them by partition and offset.
func records(t *testing.T, bootstrap, topic string, count int) map[string]*kgo.Record {
	t.Helper()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(bootstrap, ",")...),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	must(t, err)
	defer client.Close()
	ctx := limited(t)
	found := make(map[string]*kgo.Record)
	for len(found) < count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d records of %s after %v", len(found), topic, err)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			found[fmt.Sprintf("%d@%d", record.Partition, record.Offset)] = record
		})
	}
	return found
}

// expectCopied compares the records of the target with those of the source, at the same offsets.
func expectCopied(t *testing.T, topic string, count int) {
	t.Helper()
	target := records(t, given(t, "TARGET"), topic, count)
	source := records(t, given(t, "SOURCE"), topic, count)
	compared := 0
	for place, copied := range target {
		original, isThere := source[place]
		if !isThere {
			continue // The source was read up to another place.
		}
		compared++
		same := bytes.Equal(copied.Key, original.Key) && bytes.Equal(copied.Value, original.Value) &&
			(copied.Value == nil) == (original.Value == nil) && copied.Timestamp.Equal(original.Timestamp) &&
			fmt.Sprint(copied.Headers) == fmt.Sprint(original.Headers)
		if !same {
			t.Errorf("%s %s: %+v at the source, %+v on the target", topic, place, original, copied)
		}
	}
	if compared < count/2 {
		t.Errorf("only %d of %d records of %s could be compared", compared, count, topic)
	}
}

// held is what a program has in its hands: threads are the library's.
type held struct{ goroutines, descriptors, threads int }

func look(t *testing.T) held {
	t.Helper()
	descriptors, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	threads, err := os.ReadDir("/proc/self/task")
	must(t, err)
	own, err := os.ReadFile("/proc/self/comm")
	must(t, err)
	now := held{goroutines: runtime.NumGoroutine(), descriptors: len(descriptors)}
	for _, thread := range threads {
		// Go's own threads have the name of the program, come as they are needed, and stay.
		name, err := os.ReadFile("/proc/self/task/" + thread.Name() + "/comm")
		if err == nil && strings.HasPrefix(string(name), "kmirror-") && !bytes.Equal(name, own) {
			now.threads++
		}
	}
	return now
}

// expectLetGo waits until no more is held than before.
func expectLetGo(t *testing.T, before held) {
	t.Helper()
	for limit := time.Now().Add(hang); ; time.Sleep(20 * time.Millisecond) {
		now := look(t)
		if now.goroutines <= before.goroutines && now.descriptors <= before.descriptors && now.threads <= before.threads {
			return
		}
		if time.Now().After(limit) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("before %+v, afterwards %+v:\n%s", before, now, stacks[:runtime.Stack(stacks, true)])
		}
	}
}
