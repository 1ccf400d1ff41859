package main_test

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	v1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector is an OTLP endpoint.
type collector struct {
	url string

	mu      sync.Mutex
	spans   map[string]*v1.Span // by name
	metrics map[string]bool
}

func startCollector(tb testing.TB) *collector {
	tb.Helper()
	c := &collector{spans: make(map[string]*v1.Span), metrics: make(map[string]bool)}
	server := httptest.NewServer(c)
	tb.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	data, _ := io.ReadAll(body)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r.URL.Path {
	case "/v1/traces":
		var request collectortrace.ExportTraceServiceRequest
		_ = proto.Unmarshal(data, &request)
		for _, resource := range request.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				for _, span := range scope.GetSpans() {
					c.spans[span.GetName()] = span
				}
			}
		}
	case "/v1/metrics":
		var request collectormetrics.ExportMetricsServiceRequest
		_ = proto.Unmarshal(data, &request)
		for _, resource := range request.GetResourceMetrics() {
			for _, scope := range resource.GetScopeMetrics() {
				for _, metric := range scope.GetMetrics() {
					c.metrics[metric.GetName()] = true
				}
			}
		}
	default:
		http.NotFound(w, r)
	}
}

func TestTracesGoFromTheUpdateToTheDelivery(t *testing.T) {
	t.Parallel()
	const traceID, publisherSpan = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	tests := []struct{ name, variable string }{
		{"configured", "ROUTER_WORKER_TELEMETRY_OTLP_ENDPOINT"},
		{"by the variable of OpenTelemetry", "OTEL_EXPORTER_OTLP_ENDPOINT"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := startCollector(t)
			env := append(withStreams(t), tt.variable+"="+c.url, "ROUTER_WORKER_MODULES="+routed)
			p := startWorker(t, env)
			js := jetStream(t, urlOf(env))
			publishRaw(t, js, "presence.update.example%2Ecom.bob", bobIsOnline,
				nats.Header{"traceparent": {"00-" + traceID + "-" + publisherSpan + "-01"}})
			publishRaw(t, js, "presence.update.example%2Ecom.bob", `{"user_id":"@bob:example.com","state":"busy"}`, nil)
			follower := start(t, "", env, "deliveries", "--all", "--user", "@alice:example.com")
			follower.await(follower.stdout, "#2\n")
			delivery := firstDelivery(t, js, "example%2Ecom.alice")
			p.signal(syscall.SIGTERM) // sends what is left
			if got := p.code(); got != 0 {
				t.Fatalf("run ends with %d, want 0", got)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			route, commit := c.spans["route"], c.spans["commit"]
			if route == nil || commit == nil {
				t.Fatalf("collected are spans %v, want route and commit", c.spans)
			}
			if got := hex.EncodeToString(route.GetTraceId()) + " " + hex.EncodeToString(route.GetParentSpanId()); got != traceID+" "+publisherSpan {
				t.Errorf("route is in trace and under span %s, want those of the update", got)
			}
			if got, want := hex.EncodeToString(commit.GetParentSpanId()), hex.EncodeToString(route.GetSpanId()); got != want {
				t.Errorf("commit is under span %s, want route, %s", got, want)
			}
			if got, want := delivery.Headers().Get("traceparent"), traceparent(commit); got != want {
				t.Errorf("the delivery has traceparent %q, want that of the commit: %q", got, want)
			}
			for name, span := range c.spans {
				if hex.EncodeToString(span.GetTraceId()) != traceID {
					t.Errorf("span %s is in a trace that no publisher began", name)
				}
			}
			if !c.metrics["presence_router_deliveries"] && !c.metrics["presence_router_deliveries_total"] {
				t.Errorf("collected are metrics %v, want those of the router", c.metrics)
			}
		})
	}
}

func TestTraceparentIsKeptUnlessASpanIsExported(t *testing.T) {
	t.Parallel()
	c := startCollector(t)
	const unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
	tests := []struct{ name, endpoint, traceparent string }{
		{"no endpoint", "", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		{"no endpoint, not sampled", "", unsampled},
		{"not sampled", c.url, unsampled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			env := append(withStreams(t), "ROUTER_WORKER_TELEMETRY_OTLP_ENDPOINT="+tt.endpoint, "ROUTER_WORKER_MODULES="+routed)
			startWorker(t, env)
			js := jetStream(t, urlOf(env))
			publishRaw(t, js, "presence.update.example%2Ecom.bob", bobIsOnline, nats.Header{"traceparent": {tt.traceparent}})
			eventually(t, func() error {
				if got := deliveredTo(t, js, "example%2Ecom.alice"); len(got) != 1 {
					return fmt.Errorf("delivered are updates %v, want 1", got)
				}
				return nil
			})
			if got := firstDelivery(t, js, "example%2Ecom.alice").Headers().Get("traceparent"); got != tt.traceparent {
				t.Errorf("the delivery has traceparent %q, want %q of the publisher", got, tt.traceparent)
			}
		})
	}
}

func TestRunOutlivesItsCollector(t *testing.T) {
	t.Parallel()
	env := append(withStreams(t), "ROUTER_WORKER_TELEMETRY_OTLP_ENDPOINT=http://"+unusedAddress(t))
	p := startWorker(t, env)
	p.signal(syscall.SIGTERM)
	if got := p.code(); got != 0 || strings.Count(p.stderr.String(), "\n") > 20 {
		t.Errorf("run ends with %d, want 0 and few lines", got)
	}
	if got := p.stderr.String(); !strings.Contains(got, `msg="telemetry reports an error"`) && !strings.Contains(got, `msg="shutting down"`) {
		t.Errorf("run says %s, want that the collector is away", got)
	}
}

func traceparent(span *v1.Span) string {
	return "00-" + hex.EncodeToString(span.GetTraceId()) + "-" + hex.EncodeToString(span.GetSpanId()) + "-01"
}

func firstDelivery(tb testing.TB, js jetstream.JetStream, recipient string) jetstream.Msg {
	tb.Helper()
	consumer, err := js.OrderedConsumer(tb.Context(), "PRESENCE_DELIVERIES", jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{"presence.deliver.*.*." + recipient},
	})
	if err != nil {
		tb.Fatal(err)
	}
	message, err := consumer.Next()
	if err != nil {
		tb.Fatal(err)
	}
	return message
}
