package kmirror_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"time"

	"kmirror"
)

// Mirrors a topic until it has caught up, compares both sides, stops.
func Example() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	mirror, err := kmirror.Start(ctx, kmirror.Config{
		"source.bootstrap.servers": "a:9092",
		"target.bootstrap.servers": "b:9092",
		"topics":                   `orders,billing\..*`,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer mirror.Close()
	if err := mirror.WaitUntilCaughtUp(ctx); err != nil {
		log.Fatal(err)
	}
	report, err := mirror.Verify(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("identical:", report.Identical)
}

// Tells when the target is behind by more than lag.threshold.ms, until the mirror ends.
func ExampleMirror_Events() {
	mirror, err := kmirror.Start(context.Background(), kmirror.Config{
		"source.bootstrap.servers": "a:9092",
		"target.bootstrap.servers": "b:9092",
		"lag.threshold.ms":         "5000",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer mirror.Close()
	if err := mirror.SetLogger(slog.Default()); err != nil {
		log.Fatal(err)
	}
	for event := range mirror.Events() {
		switch event.Kind {
		case kmirror.EventLagAbove, kmirror.EventLagBelow:
			fmt.Println(event.Lag.Records, "records,", event.Lag.Time, "behind")
		case kmirror.EventPartitionParked:
			fmt.Println(event.Topic, event.Partition, event.Err)
		}
	}
}

// Every problem of a configuration is told at once, before anything is connected.
func ExampleConfig_Check() {
	config := kmirror.Config{
		"source.bootstrap.servers": "a:9092",
		"target.bootstrap.servers": "b:9092",
		"topcs":                    "orders",
	}
	_, err := config.Check()
	fmt.Println(errors.Is(err, kmirror.ErrConfig), strings.Contains(err.Error(), "topics"))
	// Output: true true
}

// What is printed or logged of a configuration has no secrets in it.
func ExampleConfig_String() {
	fmt.Println(kmirror.Config{
		"source.bootstrap.servers": "a:9092",
		"source.sasl.password":     "swordfish",
	})
	// Output: source.bootstrap.servers=a:9092 source.sasl.password=[hidden]
}

// Branches on the kind of an error, and looks at its parts.
func ExampleError() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := kmirror.Start(ctx, kmirror.Config{"topics": "orders"})
	var told *kmirror.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Println("not within a minute")
	case errors.As(err, &told):
		fmt.Println(told.Name, told.Code == kmirror.ErrConfig, told.Retriable)
	}
	// Output: config true false
}
