package kmirror_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kmirror"
)

func addresses(more ...string) kmirror.Config {
	config := kmirror.Config{"source.bootstrap.servers": "a:9092", "target.bootstrap.servers": "b:9092"}
	for i := 0; i < len(more); i += 2 {
		config[more[i]] = more[i+1]
	}
	return config
}

// written makes a file and returns its path.
func written(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProblemsOfAConfigurationAreToldAtOnceWithTheNearestKey(t *testing.T) {
	_, err := addresses("topcs", "orders", "num.streams", "many").Check()
	var told *kmirror.Error
	if !errors.As(err, &told) || !errors.Is(err, kmirror.ErrConfig) || errors.Is(err, kmirror.ErrState) {
		t.Fatalf("%#v", err)
	}
	for _, part := range []string{"topcs", "topics", "num.streams"} {
		if !strings.Contains(told.Message, part) {
			t.Errorf("%q is not in: %s", part, told.Message)
		}
	}
	if told.Code != kmirror.ErrConfig || told.Name != "config" || told.Retriable || told.Partition != -1 || told.Offset != -1 {
		t.Errorf("%#v", told)
	}
}

func TestAnEmptyOrNilConfigIsAnError(t *testing.T) {
	for _, config := range []kmirror.Config{nil, {}} {
		if _, err := config.Check(); !errors.Is(err, kmirror.ErrConfig) {
			t.Errorf("%v", err)
		}
		if _, err := kmirror.Start(context.Background(), config); !errors.Is(err, kmirror.ErrConfig) {
			t.Errorf("%v", err)
		}
		if _, err := kmirror.Plan(context.Background(), config); !errors.Is(err, kmirror.ErrConfig) {
			t.Errorf("%v", err)
		}
	}
	if err := kmirror.Config(nil).Load(kmirror.Source, "x"); !errors.Is(err, kmirror.ErrConfig) {
		t.Errorf("%v", err)
	}
}

func TestFilesAreReadAndTheMapCountsFirst(t *testing.T) {
	consumer := written(t, "consumer.properties", "bootstrap.servers=a:9092\nkey.deserializer=x\n")
	config := kmirror.Config{"topics": "orders"}
	if err := config.Load(kmirror.Source, consumer); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Check(); !errors.Is(err, kmirror.ErrConfig) || !strings.Contains(err.Error(), "target.bootstrap.servers") {
		t.Fatalf("nobody has said where the target is: %v", err)
	}
	config["target.bootstrap.servers"] = "b:9092"
	warnings, err := config.Check()
	if err != nil || len(warnings) == 0 || !strings.Contains(strings.Join(warnings, "\n"), "key.deserializer") {
		t.Fatalf("%v, %v", warnings, err)
	}

	mirror := addresses()
	if err := mirror.Load(kmirror.Both, written(t, "mirror.properties", "num.streams=many\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := mirror.Check(); err == nil || !strings.Contains(err.Error(), "mirror.properties:1") {
		t.Fatalf("the file and the line are not in: %v", err)
	}
	mirror["num.streams"] = "1"
	if _, err := mirror.Check(); err != nil {
		t.Fatalf("the map counts before the file: %v", err)
	}
}

func TestAFileThatIsNotThereIsToldByLoad(t *testing.T) {
	config := addresses()
	path := filepath.Join(t.TempDir(), "nothing.properties")
	if err := config.Load(kmirror.Source, path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
	if err := config.Load(kmirror.Side(7), written(t, "x", "")); !errors.Is(err, kmirror.ErrConfig) {
		t.Errorf("%v", err)
	}
	if len(config) != 2 {
		t.Errorf("what failed is kept: %v", config)
	}
}

func TestANulIsRefusedAndNotCutOff(t *testing.T) {
	for _, config := range []kmirror.Config{addresses("topics", "orders\x00,x"), addresses("topics\x00", "orders")} {
		if _, err := config.Check(); !errors.Is(err, kmirror.ErrConfig) || !strings.Contains(err.Error(), "NUL") {
			t.Errorf("%v", err)
		}
	}
	if _, err := addresses("topics", "\xff").Check(); !errors.Is(err, kmirror.ErrConfig) {
		t.Errorf("text that is not UTF-8: %v", err)
	}
}

func TestNoWayToPrintAConfigShowsASecret(t *testing.T) {
	const canary = "swordfish"
	keys := []string{"source.sasl.password", "target.ssl.key.pem", "sasl.jaas.config", "my.token"}
	if secrets := os.Getenv("KMIRROR_TEST_SECRETS"); secrets != "" {
		keys = strings.Fields(secrets)
	}
	for _, key := range keys {
		config := addresses(key, canary)
		var logged bytes.Buffer
		slog.New(slog.NewJSONHandler(&logged, nil)).Info("json", "config", config)
		slog.New(slog.NewTextHandler(&logged, nil)).Info("text", "config", config)
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&logged, format, config)
			fmt.Fprintf(&logged, format, &config)
			fmt.Fprintf(&logged, format, struct{ Config kmirror.Config }{config})
		}
		if strings.Contains(logged.String(), canary) {
			t.Errorf("%s: %s", key, logged.String())
		}
		if !strings.Contains(logged.String(), "a:9092") {
			t.Errorf("too much is hidden: %s", logged.String())
		}
	}
	if text := fmt.Sprint(kmirror.Config{"source.bootstrap.servers": "user:" + canary + "@a:1"}); strings.Contains(text, canary) {
		t.Error(text)
	}
}
