// A service with several mirrors: it prints what they tell until it gets SIGTERM or SIGINT, and then stops them.
//
//	go build -o service .
//	./service source:9092 target:9092 orders 'billing\..*'
//
// Each pattern is a mirror with a name of its own, so that they do not know of each other. One that cannot be started ends the
// others, too. To build it elsewhere, change the line with replace in go.mod to where kmirror's bindings/go is.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"kmirror"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintf(os.Stderr, "usage: %s SOURCE TARGET TOPICS...\n", os.Args[0])
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := serve(ctx, os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("stopped")
}

// serve runs a mirror for each of the patterns until the context is cancelled or one of them fails.
func serve(ctx context.Context, source, target string, patterns []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failures := make([]error, len(patterns))
	var running sync.WaitGroup
	for i, topics := range patterns {
		running.Add(1)
		go func() {
			defer running.Done()
			failures[i] = mirror(ctx, kmirror.Config{
				"name":                     fmt.Sprintf("service-%d", i),
				"source.bootstrap.servers": source,
				"target.bootstrap.servers": target,
				"topics":                   topics,
			})
			if failures[i] != nil {
				cancel()
			}
		}()
	}
	running.Wait()
	return errors.Join(failures...)
}

// mirror runs one of them, and tells what it tells.
func mirror(ctx context.Context, config kmirror.Config) error {
	topics := config["topics"]
	mirror, err := kmirror.Start(ctx, config)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", topics, err)
	}
	defer mirror.Close()
	if err := mirror.SetLogger(slog.Default().With("mirror", config["name"])); err != nil {
		return err
	}
	for {
		select {
		case event, open := <-mirror.Events():
			if !open {
				return ended(mirror)
			}
			if event.Kind == kmirror.EventLag && event.Topic != "" {
				continue // That of all topics is enough.
			}
			fmt.Printf("[%s] %s: %s\n", topics, event.Kind, event)
		case <-ctx.Done():
			// Its own context: this one has ended, and what is under way is to be finished.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			return mirror.Stop(ctx)
		}
	}
}

// ended tells why a mirror has ended by itself; a switch-over is no failure.
func ended(mirror *kmirror.Mirror) error {
	status, err := mirror.Status()
	if err != nil {
		return err
	}
	return status.Err
}
