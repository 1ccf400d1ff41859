// Package config reads and checks the configuration of router-worker.
package config

import (
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/presence-router/presence-router/internal/strictyaml"
	"github.com/presence-router/presence-router/modules"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/query"
	"github.com/presence-router/presence-router/stream/topology"
	"github.com/presence-router/presence-router/stream/wire"
)

// Config is everything that an operator can set.
type Config struct {
	ServerNames []presence.ServerName `yaml:"server_names"` // whose users are local; at least one
	NATS        NATS                  `yaml:"nats"`
	Streams     topology.Config       `yaml:"streams"`
	Worker      stream.WorkerConfig   `yaml:"worker"`
	Federate    Federate              `yaml:"federate"`
	Sources     Sources               `yaml:"sources"`
	HTTP        HTTP                  `yaml:"http"`
	Log         Log                   `yaml:"log"`
	Telemetry   Telemetry             `yaml:"telemetry"`
	Modules     []modules.Entry       `yaml:"modules"` // run in this order
}

// NATS says how to reach the NATS servers.
type NATS struct {
	URL            URL               `yaml:"url"`          // one or more, separated by commas
	Credentials    string            `yaml:"credentials"`  // path of a credentials file; none where empty
	InboxPrefix    query.ReplyPrefix `yaml:"inbox_prefix"` // of the subjects that answers come to
	Queries        NATSQueries       `yaml:"queries"`
	TLS            TLS               `yaml:"tls"`             // for servers that ask for more than the system's certificates
	ConnectTimeout time.Duration     `yaml:"connect_timeout"` // bound on waiting for a server at the start
}

// NATSQueries says how the connection logs in that takes queries and answers them.
type NATSQueries struct {
	Credentials string `yaml:"credentials"` // path of a credentials file; those of NATS where empty
}

// TLS names PEM files; an empty path is none.
type TLS struct {
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"` // of the client, with Key
	Key  string `yaml:"key"`
}

// HTTP says where health and metrics are served.
type HTTP struct {
	Listen string `yaml:"listen"` // host:port; nothing is served where empty
	PProf  bool   `yaml:"pprof"`  // whether /debug/pprof/ is served too
}

// Log says what is logged and how.
type Log struct {
	Level  Level  `yaml:"level"`
	Format Format `yaml:"format"`
}

// Telemetry says where traces and metrics are sent.
type Telemetry struct {
	OTLPEndpoint URL `yaml:"otlp_endpoint"` // http or https; nothing is sent where empty
}

// Level is the least important level that is logged.
type Level string

// The levels.
const (
	Debug Level = "debug"
	Info  Level = "info"
	Warn  Level = "warn"
	Error Level = "error"
)

// Slog returns the level in slog's terms, slog.LevelInfo where l is no level.
func (l Level) Slog() slog.Level {
	switch l {
	case Debug:
		return slog.LevelDebug
	case Warn:
		return slog.LevelWarn
	case Error:
		return slog.LevelError
	case Info:
		return slog.LevelInfo
	default:
		return slog.LevelInfo
	}
}

// Format is how a log line is written.
type Format string

// The formats.
const (
	Text Format = "text"
	JSON Format = "json"
)

// URL is one or more URLs, separated by commas, that may hold passwords: it shows
// itself without user and password unless asked by Reveal.
type URL string

// Reveal returns the URLs as they were configured, with what is secret in them.
func (u URL) Reveal() string { return string(u) }

// String returns the URLs without user and password.
func (u URL) String() string {
	shown := strictyaml.HideUser(string(u))
	if !strings.Contains(shown, "://") {
		shown = hideBefore(shown)
	}
	return shown
}

// hideBefore hides what stands before the last @ of a URL without a scheme.
func hideBefore(text string) string {
	at := strings.LastIndexByte(text, '@')
	if at < 0 {
		return text
	}
	return "***" + text[at:]
}

// GoString returns what String returns.
func (u URL) GoString() string { return `"` + u.String() + `"` }

// MarshalText returns what String returns.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// LogValue returns what String returns.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }

func (u URL) list() []string {
	list := strings.Split(string(u), ",")
	for i, text := range list {
		list[i] = strings.TrimSpace(text)
	}
	return list
}

// parsedURL reports whether text is a URL with a host and one of the schemes.
func parsedURL(text string, schemes ...string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return false
	}
	return slices.Contains(schemes, u.Scheme)
}

// Default returns the configuration that files and variables start from. It lacks
// server_names, which have no default.
func Default() Config {
	return Config{
		NATS:     NATS{URL: "nats://127.0.0.1:4222", InboxPrefix: query.DefaultInboxPrefix, ConnectTimeout: 30 * time.Second},
		Streams:  topology.DefaultConfig(),
		Worker:   stream.DefaultWorkerConfig(),
		Federate: DefaultFederate(),
		Sources:  Sources{APIPrefix: wire.DefaultAPIPrefix},
		HTTP:     HTTP{Listen: "127.0.0.1:8080"},
		Log:      Log{Level: Info, Format: Text},
	}
}
