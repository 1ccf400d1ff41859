package stream_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/wire"
)

const (
	traceID     = "4bf92f3577b34da6a3ce929d0e0e4736"
	publisherID = "00f067aa0ba902b7"
	traceparent = "00-" + traceID + "-" + publisherID + "-01"
)

// publishTraced stores an update of bob that carries traceparent.
func (s *site) publishTraced(t *testing.T, mark int) uint64 {
	t.Helper()
	return s.publishRaw(t, s.subjects.Update(presence.MustUserID(bob)), update(bob, mark), nats.Header{"traceparent": {traceparent}})
}

func newTracer() (*tracetest.SpanRecorder, stream.Option) {
	spans := tracetest.NewSpanRecorder()
	return spans, stream.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)))
}

func spanNamed(t *testing.T, spans []sdktrace.ReadOnlySpan, name string) sdktrace.ReadOnlySpan {
	t.Helper()
	var found sdktrace.ReadOnlySpan
	for _, span := range spans {
		if span.Name() == name {
			if found != nil {
				t.Fatalf("there are several spans named %s", name)
			}
			found = span
		}
	}
	if found == nil {
		t.Fatalf("no span named %s has ended, of %d", name, len(spans))
	}
	return found
}

func wantParent(t *testing.T, span sdktrace.ReadOnlySpan, parent trace.SpanID) {
	t.Helper()
	if span.SpanContext().TraceID().String() != traceID || span.Parent().SpanID() != parent {
		t.Errorf("span %s has trace %s and parent %s, want %s and %s",
			span.Name(), span.SpanContext().TraceID(), span.Parent().SpanID(), traceID, parent)
	}
}

func TestTraceGoesThroughToTheDelivery(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	spans, tracer := newTracer()
	w := s.start(t, toEach(t, alice, carol), tracer)
	s.awaitPosition(t, s.publish(t, bob, 1)) // without a trace context
	s.awaitPosition(t, s.publishTraced(t, 2))
	w.stop(t)

	if started, ended := len(spans.Started()), len(spans.Ended()); started != 2 || ended != 2 {
		t.Errorf("%d spans have started and %d ended, want 2", started, ended)
	}
	publisher, err := trace.SpanIDFromHex(publisherID)
	if err != nil {
		t.Fatal(err)
	}
	route, commit := spanNamed(t, spans.Ended(), "route"), spanNamed(t, spans.Ended(), "commit")
	wantParent(t, route, publisher)
	wantParent(t, commit, route.SpanContext().SpanID())
	if got := fmt.Sprint(route.Attributes()); !strings.Contains(got, "sequence") {
		t.Errorf("attributes of the route span are %s, want the sequence", got)
	}
	if route.EndTime().After(commit.StartTime()) || commit.EndTime().Before(commit.StartTime()) {
		t.Errorf("the commit span begins before the route span ends")
	}
	want := fmt.Sprintf("00-%s-%s-01", traceID, commit.SpanContext().SpanID())
	for _, d := range s.deliveries(t) {
		expected := ""
		if d.Sequences[0] == 2 {
			expected = want
		}
		if got := d.header.Get("traceparent"); got != expected {
			t.Errorf("traceparent of the delivery of update %d is %q, want %q", d.Sequences[0], got, expected)
		}
	}
}

func TestTraceContextIsHandedOnWithoutSDK(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := s.start(t, toEach(t, alice))
	s.awaitPosition(t, s.publishTraced(t, 1))
	w.stop(t)
	for _, d := range s.deliveries(t) {
		if got := d.header.Get("traceparent"); got != traceparent {
			t.Errorf("traceparent is %q, want %q unchanged", got, traceparent)
		}
	}
}

func TestTraceOfUpdateInSlicesEndsOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	spans, tracer := newTracer()
	all := readers(2500)
	w := s.start(t, toEach(t, all...), tracer)
	s.awaitPosition(t, s.publishTraced(t, 1))
	w.stop(t)
	spanNamed(t, spans.Ended(), "route")
	spanNamed(t, spans.Ended(), "commit")
	for _, d := range s.deliveries(t) {
		if got := d.header.Get("traceparent"); !strings.HasPrefix(got, "00-"+traceID+"-") {
			t.Fatalf("traceparent of the delivery to %s is %q, want the trace %s", d.Recipient, got, traceID)
		}
	}
}

// Of several updates in one delivery the newest gives the trace.
func TestTraceOfDeliveryIsTheNewest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	spans, tracer := newTracer()
	h := newHeld()
	w := s.start(t, h.router(t), tracer)
	s.publish(t, bob, 1)
	await(t, h.asked, "call of the router") // The rest arrives meanwhile.
	last := uint64(0)
	for i := range 3 {
		last = s.publishTraced(t, 2+i)
	}
	close(h.release)
	s.awaitPosition(t, last)
	w.stop(t)
	commits := make(map[string]bool)
	for _, span := range spans.Ended() {
		if span.Name() == "commit" {
			commits[span.SpanContext().SpanID().String()] = true
		}
	}
	if len(commits) != 3 || len(spans.Ended()) != 6 {
		t.Errorf("%d commit spans of %d, want 3 of 6", len(commits), len(spans.Ended()))
	}
	for _, d := range s.deliveries(t) {
		got := d.header.Get("traceparent")
		if d.Sequences[len(d.Sequences)-1] > 1 != (got != "") {
			t.Errorf("traceparent of a delivery of %v is %q", d.Sequences, got)
		}
		if got != "" && !commits[strings.Split(got, "-")[2]] {
			t.Errorf("traceparent %q names no commit span", got)
		}
	}
}

// Updates that reach nobody, and dead letters, end their spans too.
func TestTraceOfUpdateThatReachesNobodyEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	spans, tracer := newTracer()
	w := s.start(t, routerOf(t, func(context.Context, states) (answer, error) { return nil, nil }), tracer)
	s.awaitPosition(t, s.publishTraced(t, 1))
	s.awaitPosition(t, s.publishRaw(t, s.subjects.Update(presence.MustUserID(bob)), "{", nats.Header{"traceparent": {traceparent}}))
	s.awaitPosition(t, s.publishRaw(t, s.subjects.Update(presence.MustUserID(bob)), update(bob, 3), nats.Header{"traceparent": {"nonsense"}}))
	w.stop(t)
	if started, ended := len(spans.Started()), len(spans.Ended()); started != ended || started != 6 {
		t.Errorf("%d spans have started and %d ended, want 6", started, ended)
	}
	if kept := s.awaitLetters(t, 1)[0]; kept.Letter.Reason != wire.Malformed {
		t.Errorf("reason is %s, want %s", kept.Letter.Reason, wire.Malformed)
	}
}

func TestTraceContextOfSpansThatAreNotExported(t *testing.T) {
	t.Parallel()
	const ids = traceID + "-" + publisherID
	tests := []struct{ name, sent, want string }{
		{"not sampled", "00-" + ids + "-00", "00-" + ids + "-00"},
		{"not sampled, with a flag of level 2", "00-" + ids + "-02", "00-" + ids + "-02"},
		{"of a later version", "01-" + ids + "-00-" + strings.Repeat("x", 500), "00-" + ids + "-00"},
	}
	s := newSite(t)
	_, tracer := newTracer()
	w := s.start(t, toEach(t, alice), tracer)
	for i, tt := range tests {
		s.awaitPosition(t, s.publishRaw(t, s.subjects.Update(presence.MustUserID(bob)), update(bob, i), nats.Header{"traceparent": {tt.sent}}))
	}
	w.stop(t)
	got := s.deliveries(t)
	if len(got) != len(tests) {
		t.Fatalf("there are %d deliveries, want %d", len(got), len(tests))
	}
	for i, tt := range tests {
		if traceparent := got[i].header.Get("traceparent"); traceparent != tt.want {
			t.Errorf("%s: traceparent is %q, want %q", tt.name, traceparent, tt.want)
		}
	}
}
