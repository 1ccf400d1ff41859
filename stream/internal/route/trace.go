package route

import (
	"context"
	"slices"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/internal/updates"
	"github.com/presence-router/presence-router/stream/wire"
)

// traces follows updates that carry a W3C trace context: one span while the
// update is routed, one while it is committed, and the context of the second in
// its deliveries. A span that is not exported is no parent for a reader's: then the
// deliveries have the context that the publisher sent. Updates without one cost
// nothing.
type traces struct {
	tracer trace.Tracer
}

// tracing is the trace of one update: its route span, later its commit span.
type tracing struct {
	ctx    context.Context //nolint:containedctx // A span is handed on by its context only, and lives as long as its batch.
	span   trace.Span
	header string // of the deliveries
}

// begin returns the span named name under parent, whose header is the parent's if the
// span is not exported: because it is not sampled, or because the tracer makes none
// and hands the parent on.
func (t traces) begin(parent tracing, name string, options ...trace.SpanStartOption) tracing {
	above := trace.SpanContextFromContext(parent.ctx)
	begun := tracing{header: parent.header}
	begun.ctx, begun.span = t.tracer.Start(parent.ctx, name, options...)
	if own := begun.span.SpanContext(); own.IsSampled() && own.SpanID() != above.SpanID() {
		begun.header = traceparentOf(begun.ctx)
	}
	return begun
}

func traceparentOf(ctx context.Context) string {
	carrier := make(propagation.MapCarrier, 1)
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[wire.TraceHeader]
}

// route begins the route spans of those updates that carry a trace context, by
// sequence.
func (t traces) route(ctx context.Context, updates []updates.Update) map[uint64]tracing {
	var begun map[uint64]tracing
	for _, u := range updates {
		if len(u.Header) == 0 || u.Header.Get(wire.TraceHeader) == "" {
			continue
		}
		if begun == nil {
			begun = make(map[uint64]tracing)
		}
		begun[u.Sequence] = t.begin(published(ctx, u), "route", trace.WithAttributes(attribute.Int64("sequence", int64(u.Sequence)))) //nolint:gosec // Sequences stay far below 2^63.
	}
	return begun
}

// traceparentLength is that of version 00, which all that is known of a later one fits.
const traceparentLength = len("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")

// published returns the context that u carries, with its header as it was sent. One
// that no context can be read from, or that is longer than it needs to be, is not
// handed on.
func published(ctx context.Context, u updates.Update) tracing {
	ctx = propagation.TraceContext{}.Extract(ctx, headerCarrier(u.Header))
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return tracing{ctx: ctx}
	}
	header := u.Header.Get(wire.TraceHeader)
	if len(header) != traceparentLength {
		header = traceparentOf(ctx)
	}
	return tracing{ctx: ctx, header: header}
}

// commit ends the route spans of b's updates and begins their commit spans.
func (t traces) commit(b Batch) {
	if len(b.traces) == 0 {
		return
	}
	for _, u := range b.updates {
		if routed, ok := b.traces[u.Sequence]; ok {
			routed.span.End()
			b.traces[u.Sequence] = t.begin(routed, "commit")
		}
	}
}

// spans returns the commit spans of b's updates.
func (b Batch) spans() []trace.Span {
	if len(b.traces) == 0 {
		return nil
	}
	var spans []trace.Span
	for _, u := range b.updates {
		if committing, ok := b.traces[u.Sequence]; ok {
			spans = append(spans, committing.span)
		}
	}
	return spans
}

// trace returns the traceparent of the newest state that has one, else "".
func (b Batch) trace(states []presence.UserState) string {
	if len(b.traces) == 0 {
		return ""
	}
	for _, s := range slices.Backward(states) {
		published := s.Published()
		if published == nil {
			continue
		}
		if traced, ok := b.traces[published.Position]; ok {
			return traced.header
		}
	}
	return ""
}

// headerCarrier reads the header of a message as a trace context carrier.
type headerCarrier nats.Header

// Get returns the first value of key.
func (c headerCarrier) Get(key string) string { return nats.Header(c).Get(key) }

// Set sets the value of key.
func (c headerCarrier) Set(key, value string) { nats.Header(c).Set(key, value) }

// Keys returns the keys.
func (c headerCarrier) Keys() []string {
	keys := make([]string, 0, len(c))
	for key := range c {
		keys = append(keys, key)
	}
	return keys
}
