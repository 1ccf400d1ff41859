package federation

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

const scope = "github.com/presence-router/presence-router/internal/federation"

type telemetry struct {
	requests metric.Float64Histogram
}

func newTelemetry(meter metric.Meter) (*telemetry, error) {
	requests, err := meter.Float64Histogram("presence_router_federation_request_duration", metric.WithUnit("s"),
		metric.WithDescription("Time that one try to send a transaction took, by outcome."),
		metric.WithExplicitBucketBoundaries(.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60))
	if err != nil {
		return nil, fmt.Errorf("make an instrument: %w", err)
	}
	return &telemetry{requests: requests}, nil
}

func (t *telemetry) sent(ctx context.Context, took time.Duration, err error) {
	t.requests.Record(ctx, took.Seconds(), metric.WithAttributes(attribute.String("outcome", outcome(err))))
}

// outcome is one of few values: a status by its class.
func outcome(err error) string {
	status, ok := errors.AsType[*StatusError](err)
	switch {
	case err == nil:
		return "200"
	case ok && status.Status == 429:
		return "429"
	case ok:
		return strconv.Itoa(status.Status/100) + "xx"
	case errors.As(err, new(*UnreachableError)):
		return "unreachable"
	default:
		return "no_answer"
	}
}
