package federation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/presence-router/presence-router/routing/presence"
)

// Resolver looks service records up, as *net.Resolver does.
type Resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// discovery finds servers (Matrix specification, server-server API, "Resolving
// server names").
type discovery struct {
	resolver  Resolver
	wellKnown *wellKnown
	now       func() time.Time
	services  *cache[string, target] // by name
}

// serviceLifetime bounds how long service records are used. They have a lifetime of
// their own, which the resolver does not tell.
const serviceLifetime = 5 * time.Minute

// find returns how server is reached.
func (d *discovery) find(ctx context.Context, server presence.ServerName) (target, error) {
	t, err := d.look(ctx, server)
	if err != nil {
		return target{}, fmt.Errorf("find %s: %w", server, err)
	}
	return t, nil
}

// forget has what led to t looked up anew.
func (d *discovery) forget(t target) { d.services.remove(t.host) }

func (d *discovery) look(ctx context.Context, server presence.ServerName) (target, error) {
	if t, ok := direct(server); ok {
		return t, nil
	}
	delegated, found, err := d.wellKnown.ask(ctx, server)
	if err != nil {
		return target{}, err
	}
	if !found {
		return d.service(ctx, server.String())
	}
	if t, ok := direct(delegated); ok {
		return t, nil
	}
	return d.service(ctx, delegated.String())
}

// service looks for service records of a name without a port and remembers them.
func (d *discovery) service(ctx context.Context, name string) (target, error) {
	now := d.now()
	if t, ok := d.services.get(name, now); ok {
		return t, nil
	}
	t, err := d.lookUp(ctx, name)
	if err == nil {
		d.services.put(name, t, now, now.Add(serviceLifetime))
	}
	return t, err
}

// errNoService is the answer of a domain that says it has no such service.
var errNoService = errors.New("its service record says that it has no homeserver")

// lookUp looks for service records, the deprecated ones as well, and falls back to
// the name itself.
func (d *discovery) lookUp(ctx context.Context, name string) (target, error) {
	for _, service := range []string{"matrix-fed", "matrix"} {
		_, records, err := d.resolver.LookupSRV(ctx, service, "tcp", name+".") // with the dot no search domain is tried
		if len(records) > 0 {
			return serviceTarget(name, records)
		}
		if err != nil && !isNotFound(err) {
			return target{}, fmt.Errorf("look up service record: %w", err)
		}
	}
	return target{host: name, name: name, addresses: []string{net.JoinHostPort(name, defaultPort)}}, nil
}

// maxRecords bounds how many service records are tried.
const maxRecords = 8

func serviceTarget(name string, records []*net.SRV) (target, error) {
	t := target{host: name, name: name}
	for _, record := range records[:min(len(records), maxRecords)] {
		if host := strings.TrimSuffix(record.Target, "."); host != "" {
			t.addresses = append(t.addresses, net.JoinHostPort(host, strconv.Itoa(int(record.Port))))
		}
	}
	if t.addresses == nil {
		return target{}, errNoService
	}
	return t, nil
}

func isNotFound(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}
