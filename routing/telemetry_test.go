package routing_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/presence-router/presence-router/routing"
)

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader := sdkmetric.NewManualReader()
		d := patient(t, obedient(), routing.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))))
		d.UsersForStates(t.Context(), bobsUpdate())
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		d.UsersForStates(ended, bobsUpdate())

		metrics := collect(t, reader)
		durations, _ := metrics["presence_router_router_duration_seconds"].(metricdata.Histogram[float64])
		seconds := make(map[string]float64)
		for _, point := range durations.DataPoints {
			if point.Count != 1 {
				t.Errorf("%d calls measured with %v, want 1", point.Count, point.Attributes.ToSlice())
			}
			seconds[value(point.Attributes, "router")] = point.Sum
		}
		if len(seconds) != 3 || seconds["bad"] != patience.Seconds() || seconds["before"] != 0 {
			t.Errorf("seconds by router %v, want 5 of bad, 0 of before and after", seconds)
		}
		failures, _ := metrics["presence_router_router_errors_total"].(metricdata.Sum[int64])
		counts := make(map[string]int64)
		for _, point := range failures.DataPoints {
			counts[value(point.Attributes, "router")+" "+value(point.Attributes, "kind")] = point.Value
		}
		if len(counts) != 3*5 || counts["bad timeout"] != 1 || counts["bad cancelled"] != 1 || counts["after cancelled"] != 1 {
			t.Errorf("failures by router and kind %v, want 1 timeout of bad and 1 cancelled of each, and every kind", counts)
		}
	})
}

func collect(t *testing.T, reader *sdkmetric.ManualReader) map[string]metricdata.Aggregation {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatalf("Collect: %v", err)
	}
	byName := make(map[string]metricdata.Aggregation)
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			byName[m.Name] = m.Data
		}
	}
	return byName
}

func value(set attribute.Set, key string) string {
	v, _ := set.Value(attribute.Key(key))
	return v.AsString()
}

func TestSpans(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	provider := trace.NewTracerProvider(trace.WithSpanProcessor(recorder))
	d := patient(t, both(func(context.Context) error { return errBroken }), routing.WithTracerProvider(provider))
	ctx, parent := provider.Tracer("test").Start(t.Context(), "update")
	d.UsersForStates(ctx, bobsUpdate())
	parent.End()

	spans := recorder.Ended()
	if len(spans) != 4 {
		t.Fatalf("%d spans, want the caller's and one per router", len(spans))
	}
	for i, want := range []struct{ router, status string }{{"before", "Unset"}, {"bad", "Error"}, {"after", "Unset"}} {
		s := spans[i]
		router := value(attribute.NewSet(s.Attributes()...), "router")
		if s.Name() != "users for states" || router != want.router || s.Status().Code.String() != want.status ||
			s.Parent().SpanID() != parent.SpanContext().SpanID() {
			t.Errorf("span %q of router %q with status %s, want users for states of %s with status %s under the caller's",
				s.Name(), router, s.Status().Code, want.router, want.status)
		}
	}
}

// logLine is what the log says about a failure.
type logLine struct {
	Level   string `json:"level"`
	Msg     string `json:"msg"`
	Router  string `json:"router"`
	Kind    string `json:"kind"`
	Policy  string `json:"on_error"`
	Error   string `json:"error"`
	Stack   string `json:"stack"`
	Omitted int    `json:"omitted_lines"`
}

func logLines(t *testing.T, log *bytes.Buffer) []logLine {
	t.Helper()
	var lines []logLine
	for decoder := json.NewDecoder(log); decoder.More(); {
		var line logLine
		if err := decoder.Decode(&line); err != nil {
			t.Fatalf("decode log: %v", err)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestFailuresAreLoggedOncePerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		d := patient(t, both(func(context.Context) error { return errBroken }),
			routing.WithLogger(slog.New(slog.NewJSONHandler(&log, nil))))
		for range 1000 {
			d.UsersForStates(t.Context(), bobsUpdate())
		}
		<-time.After(time.Second)
		d.UsersForStates(t.Context(), bobsUpdate())

		lines := logLines(t, &log)
		first := logLine{Level: "WARN", Msg: "router failed", Router: "bad", Kind: "error", Policy: "retry", Error: "broken"}
		second := first
		second.Omitted = 999
		if len(lines) != 2 || lines[0] != first || lines[1] != second {
			t.Errorf("log %+v, want %+v and %+v", lines, first, second)
		}
	})
}

func TestPanicIsLoggedWithItsStack(t *testing.T) {
	var log bytes.Buffer
	d := patient(t, both(func(context.Context) error { panicHere(); return nil }),
		routing.WithLogger(slog.New(slog.NewJSONHandler(&log, nil))))
	d.UsersForStates(t.Context(), bobsUpdate())
	lines := logLines(t, &log)
	if len(lines) != 1 || lines[0].Kind != "panic" || !bytes.Contains([]byte(lines[0].Stack), []byte("panicHere")) {
		t.Errorf("log %+v, want one line with the stack of panicHere", lines)
	}
}

func TestCancelledIsNoWarning(t *testing.T) {
	var log bytes.Buffer
	d := patient(t, answering(), routing.WithLogger(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d.UsersForStates(ctx, bobsUpdate())
	if got := log.String(); strings.Count(got, `"level":"DEBUG","msg":"router call cancelled","router":`) != strings.Count(got, "\n") || got == "" {
		t.Errorf("log %s, want lines for debugging alone", got)
	}
}
