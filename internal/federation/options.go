package federation

import (
	"net"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// Option sets something of a Client that has a working default.
type Option func(*options)

type options struct {
	resolver Resolver
	dial     Dial
	now      func() time.Time
	meter    metric.Meter
}

func newOptions(c Config, opts []Option) options {
	o := options{
		resolver: net.DefaultResolver,
		dial:     dialer(c.ConnectTimeout, c.Blocked),
		now:      time.Now,
		meter:    noop.NewMeterProvider().Meter(scope),
	}
	for _, set := range opts {
		set(&o)
	}
	return o
}

// WithResolver has resolver look up service records. The default is
// net.DefaultResolver.
func WithResolver(resolver Resolver) Option {
	return func(o *options) { o.resolver = resolver }
}

// WithDial has dial connect, whatever networks are blocked.
func WithDial(dial Dial) Option {
	return func(o *options) { o.dial = dial }
}

// WithClock has now say what time it is. The default is time.Now.
func WithClock(now func() time.Time) Option {
	return func(o *options) { o.now = now }
}

// WithMeterProvider has the client measure. The default measures nothing.
func WithMeterProvider(provider metric.MeterProvider) Option {
	return func(o *options) { o.meter = provider.Meter(scope) }
}
