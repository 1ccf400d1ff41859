package config

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/modules"
	"github.com/presence-router/presence-router/routing/presence"
)

// envelopeBytes is what a delivery has around the states: at most 255 bytes of
// user ID, each escaped in six, and the fixed rest.
const envelopeBytes = 2 << 10

// Validate returns nil or the joined faults, each with a path. It reads the
// files that the configs of modules name, no others, and connects to nothing.
func (c Config) Validate() error {
	return errors.Join(
		checkServerNames(c.ServerNames),
		fault.Under("nats", c.NATS.Validate()),
		fault.Under("streams", c.Streams.Validate()),
		fault.Under("worker", c.Worker.Validate()),
		fault.Under("federate", c.Federate.Validate()),
		fault.Under("sources", c.Sources.Validate()),
		fault.Under("http", c.HTTP.Validate()),
		fault.Under("log", c.Log.Validate()),
		fault.Under("telemetry", c.Telemetry.Validate()),
		c.checkTogether(),
		modules.Check(c.Modules),
	)
}

// checkTogether finds values that are in bounds but do not fit each other.
func (c Config) checkTogether() error {
	streams := c.Streams
	alone := fault.Fields(errors.Join(fault.Under("streams", streams.Validate()), fault.Under("worker", c.Worker.Validate())))
	// Values that are out of bounds need not fit: they have a fault of their own.
	unless := func(err error, paths ...string) error {
		if slices.ContainsFunc(alone, func(f *fault.Field) bool { return slices.Contains(paths, f.Path) }) {
			return nil
		}
		return err
	}
	return errors.Join(
		c.checkKeyServers(),
		c.checkSourceServers(),
		unless(c.Federate.checkShards(streams.Deliveries.Shards), "streams.deliveries.shards"),
		unless(fault.Under("nats.inbox_prefix", c.NATS.InboxPrefix.ValidateBeside(streams.Prefix)), "streams.subject_prefix"),
		unless(fault.Under("worker.queries", c.Worker.Queries.ValidateBeside(streams.Prefix)), "streams.subject_prefix"),
		unless(fault.Check(streams.Deliveries.MaxDeliveryBytes >= streams.Updates.MaxUpdateBytes+envelopeBytes,
			"streams.deliveries.max_delivery_bytes", streams.Deliveries.MaxDeliveryBytes,
			fmt.Sprintf("at least %d: streams.updates.max_update_bytes and %d around it, so that every update fits in a delivery",
				streams.Updates.MaxUpdateBytes+envelopeBytes, envelopeBytes)),
			"streams.deliveries.max_delivery_bytes", "streams.updates.max_update_bytes"),
		unless(fault.Check(c.Worker.RetryLimit < streams.Updates.MaxAge,
			"worker.retry_limit", c.Worker.RetryLimit,
			fmt.Sprintf("less than %v, streams.updates.max_age, so that no update expires while its partition waits", streams.Updates.MaxAge)),
			"worker.retry_limit", "streams.updates.max_age"),
	)
}

func checkServerNames(names []presence.ServerName) error {
	if len(names) == 0 {
		return &fault.Field{Path: "server_names", Bound: "the server names whose users are local, such as [example.com]"}
	}
	first := make(map[presence.ServerName]int)
	var faults []error
	for i, name := range names {
		if earlier, repeated := first[name]; repeated && !name.IsZero() {
			faults = append(faults, &fault.Field{
				Path: fmt.Sprintf("server_names[%d]", i), Value: name.String(), Bound: fmt.Sprintf("each name once, server_names[%d] is the same", earlier),
			})
			continue
		}
		first[name] = i
	}
	return errors.Join(faults...)
}

// Validate returns nil or the joined faults, each a *fault.Field.
func (n NATS) Validate() error {
	return errors.Join(
		n.checkURLs(),
		checkFile("credentials", n.Credentials),
		checkFile("queries.credentials", n.Queries.Credentials),
		fault.Under("inbox_prefix", n.InboxPrefix.ValidateInbox()),
		fault.Under("tls", n.TLS.Validate()),
		fault.Check(100*time.Millisecond <= n.ConnectTimeout && n.ConnectTimeout <= time.Hour,
			"connect_timeout", n.ConnectTimeout, "100ms to 1h0m0s"),
	)
}

func (n NATS) checkURLs() error {
	for _, text := range n.URL.list() {
		if !parsedURL(text, "nats", "tls", "ws", "wss") {
			return &fault.Field{
				Path: "url", Value: n.URL, Bound: "nats://host:port (or tls, ws, wss), more of them after commas",
			}
		}
	}
	return nil
}

// Validate returns nil or the joined faults, each a *fault.Field.
func (t TLS) Validate() error {
	return errors.Join(
		checkFile("ca", t.CA),
		checkFile("cert", t.Cert),
		checkFile("key", t.Key),
		fault.Check(t.Cert == "" || t.Key != "", "key", nil, "the path of the key that belongs to cert"),
		fault.Check(t.Key == "" || t.Cert != "", "cert", nil, "the path of the certificate that belongs to key"),
	)
}

// checkFile finds what is no path, and keeps the content of a secret file out of
// the error.
func checkFile(path, value string) error {
	if strings.ContainsAny(value, "\n\x00") || strings.Contains(value, "-----BEGIN") || len(value) > 4096 {
		return &fault.Field{Path: path, Value: "(hidden)", Bound: "the path of a file, not its content"}
	}
	return nil
}

// Validate returns nil or a *fault.Field.
func (h HTTP) Validate() error {
	_, port, err := net.SplitHostPort(h.Listen)
	_, portErr := strconv.ParseUint(port, 10, 16)
	return fault.Check(h.Listen == "" || err == nil && portErr == nil, "listen", h.Listen, "host:port, such as 127.0.0.1:8080 or :8080")
}

// Validate returns nil or the joined faults, each a *fault.Field.
func (l Log) Validate() error {
	return errors.Join(
		fault.Check(l.Level == Debug || l.Level == Info || l.Level == Warn || l.Level == Error,
			"level", string(l.Level), "debug, info, warn or error"),
		fault.Check(l.Format == Text || l.Format == JSON, "format", string(l.Format), "text or json"),
	)
}

// Validate returns nil or a *fault.Field.
func (t Telemetry) Validate() error {
	return fault.Check(t.OTLPEndpoint == "" || parsedURL(t.OTLPEndpoint.Reveal(), "http", "https"),
		"otlp_endpoint", t.OTLPEndpoint, "http://host:port or https://host:port")
}
