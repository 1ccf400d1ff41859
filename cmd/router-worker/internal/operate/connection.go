package operate

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
	"github.com/presence-router/presence-router/internal/fault"
)

// ConnectOptions returns the options that log in and secure a connection, and say
// where its answers come to. The error joins a *fault.Field for each file that cannot
// be read.
func ConnectOptions(c config.NATS) ([]nats.Option, error) {
	options, err := connectOptions(c)
	return options, fault.Under("nats", err)
}

// connectOptions is ConnectOptions with paths from c on.
func connectOptions(c config.NATS) ([]nats.Option, error) {
	options := []nats.Option{nats.CustomInboxPrefix(string(c.InboxPrefix))}
	var faults []error
	if c.Credentials != "" {
		login, err := logIn("credentials", c.Credentials)
		options = append(options, login)
		faults = append(faults, err)
	}
	if c.TLS.CA != "" {
		options = append(options, nats.RootCAs(c.TLS.CA))
		faults = append(faults, readable("tls.ca", c.TLS.CA))
	}
	if c.TLS.Cert != "" {
		options = append(options, nats.ClientCert(c.TLS.Cert, c.TLS.Key))
		faults = append(faults, keyPair(c.TLS))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return options, nil
}

// QueryConnectOptions returns the options by which the connection that answers queries
// differs from the others. The error is a *fault.Field.
func QueryConnectOptions(c config.NATS) ([]nats.Option, error) {
	if c.Queries.Credentials == "" {
		return nil, nil
	}
	login, err := logIn("queries.credentials", c.Queries.Credentials)
	if err != nil {
		return nil, fault.Under("nats", err)
	}
	return []nats.Option{login}, nil
}

// logIn returns an option that logs in with what a file holds: a JWT and the seed of
// its nkey, or the seed of an nkey alone. It replaces another login. The error is a
// *fault.Field.
func logIn(path, name string) (nats.Option, error) {
	content, err := readFile(name)
	if err != nil {
		return nil, &fault.Field{Path: path, Err: err}
	}
	login := nats.UserCredentials(name)
	if !bytes.Contains(content, []byte("USER JWT")) {
		if login, err = nats.NkeyOptionFromSeed(name); err != nil {
			return nil, &fault.Field{Path: path, Err: fmt.Errorf("read %s: it holds neither a JWT nor the seed of a user's nkey", name)}
		}
	}
	return func(o *nats.Options) error {
		o.Nkey, o.SignatureCB, o.UserJWT = "", nil, nil
		if err := login(o); err != nil || o.Nkey == "" {
			return err
		}
		o.Servers = withoutUsers(append(o.Servers, strings.Split(o.Url, ",")...))
		o.Url = ""
		return nil
	}, nil
}

// withoutUsers returns the URLs of servers without users, which count for more than an
// nkey in nats.go.
func withoutUsers(servers []string) []string {
	var all []string
	for _, server := range servers {
		if u, err := url.Parse(server); err == nil && u.User != nil {
			u.User = nil
			server = u.String()
		}
		if server != "" && !slices.Contains(all, server) {
			all = append(all, server)
		}
	}
	return all
}

func readable(path, name string) error {
	file, err := os.Open(name) //nolint:gosec // The operator names the file.
	if err == nil {
		return file.Close()
	}
	return &fault.Field{Path: path, Err: fmt.Errorf("open %s: %w", name, cause(err))}
}

func keyPair(c config.TLS) error {
	if err := errors.Join(readable("tls.cert", c.Cert), readable("tls.key", c.Key)); err != nil {
		return err
	}
	if _, err := tls.LoadX509KeyPair(c.Cert, c.Key); err != nil {
		return &fault.Field{Path: "tls", Err: fmt.Errorf("load certificate %s with key %s: %w", c.Cert, c.Key, err)}
	}
	return nil
}

// cause returns what is behind a *fs.PathError, which would name the path twice.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
