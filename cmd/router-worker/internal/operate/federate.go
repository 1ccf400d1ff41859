package operate

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/internal/federation"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/sender"
)

// Federate connects and sends deliveries to other homeservers until ctx ends, then
// takes no more, waits for what is under way and returns nil. The error says what
// kept it from starting.
func (p Process) Federate(ctx context.Context) error {
	c := p.Config
	if err := c.CheckKeys(); err != nil {
		return err
	}
	client, err := federationConfig(c.Federate, "presence-router/"+p.Version, p.Log)
	if err != nil {
		return err
	}
	id := rand.Text()[:8]
	p.Log.Info("starting to federate", "version", p.Version, "sender", id, "servers", c.ServerNames, "nats", c.NATS.URL)
	return p.connected(ctx, id, func(ctx context.Context, nc *nats.Conn, t *Telemetry, ready *Readiness) error {
		return p.send(ctx, nc, client, t, ready)
	})
}

func (p Process) send(ctx context.Context, nc *nats.Conn, c federation.Config, t *Telemetry, ready *Readiness) error {
	client, err := federation.NewClient(c, federation.WithMeterProvider(t.Meters))
	if err != nil {
		return fmt.Errorf("make the federation client: %w", err)
	}
	defer client.Close()
	s, err := sender.New(nc, p.Config.Federate.Sender(p.Config.Streams.Prefix, p.Config.ServerNames),
		func(ctx context.Context, b sender.Batch) error { return sendBatch(ctx, client, b) },
		sender.WithLogger(p.Log), sender.WithMeterProvider(t.Meters))
	if err != nil {
		return fmt.Errorf("make the sender: %w", err)
	}
	if f, kept := p.Config.Federate, p.Config.Streams.Deliveries.MaxAge; f.OfflineTTL > kept {
		p.Log.Info("states of users who went offline are kept for longer than the stream has them: a restart loses those",
			"offline_ttl", f.OfflineTTL, "max_age", kept)
	}
	ready.Set(s.Ready)
	return s.Run(ctx)
}

// sendBatch says in the sender's words what the client's errors mean.
func sendBatch(ctx context.Context, client *federation.Client, b sender.Batch) error {
	t := federation.Transaction{ID: b.ID, Origin: b.Origin, Destination: b.Destination, Time: b.Time}
	for _, content := range b.Contents {
		t.EDUs = append(t.EDUs, federation.EDU{Type: "m.presence", Content: content})
	}
	err := client.Send(ctx, t)
	if unreachable, ok := errors.AsType[*federation.UnreachableError](err); ok {
		return &sender.Unsent{Err: unreachable.Err}
	}
	if status, ok := errors.AsType[*federation.StatusError](err); ok && status.RetryAfter > 0 {
		return &sender.RetryAfter{After: status.RetryAfter, Err: err}
	}
	return err
}

// federationConfig reads the files that the configuration names. The error joins a
// *fault.Field for each that cannot be used.
func federationConfig(c config.Federate, userAgent string, log *slog.Logger) (federation.Config, error) {
	f := federation.Config{
		Keys:           make(map[presence.ServerName]federation.Key, len(c.Keys)),
		Blocked:        c.BlockedNetworks,
		ConnectTimeout: c.ConnectTimeout,
		RequestTimeout: c.RequestTimeout,
		Connections:    c.Concurrency,
		UserAgent:      userAgent,
	}
	var faults []error
	for i, entry := range c.Keys {
		path := fmt.Sprintf("federate.keys[%d].key_file", i)
		key, err := readKey(entry.KeyFile)
		if err == nil {
			err = checkMode(entry.KeyFile)
		}
		if err != nil {
			faults = append(faults, &fault.Field{Path: path, Err: err})
		} else {
			warnOfMode(log, path, entry.KeyFile)
		}
		f.Keys[entry.ServerName] = key
	}
	var err error
	if f.Roots, err = readRoots(c.CA); err != nil {
		faults = append(faults, &fault.Field{Path: "federate.ca", Err: err})
	}
	return f, errors.Join(faults...)
}

// maxFileBytes bounds what is read of a file with keys or certificates.
const maxFileBytes = 1 << 20

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // The operator names the file.
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, cause(err))
	}
	defer file.Close() //nolint:errcheck // It was only read.
	data, err := io.ReadAll(io.LimitReader(file, maxFileBytes))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, cause(err))
	}
	return data, nil
}

func readKey(path string) (federation.Key, error) {
	data, err := readFile(path)
	if err != nil {
		return federation.Key{}, err
	}
	key, err := federation.ParseKey(data)
	if err != nil {
		return federation.Key{}, fmt.Errorf("read %s: %w", path, err)
	}
	return key, nil
}

// readRoots returns the authorities of the system and of the file, nil where there is
// no file.
func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // The system has none.
	}
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("read %s: it holds no certificate", path)
	}
	return pool, nil
}
