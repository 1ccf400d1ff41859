package federation

import (
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"strings"

	"github.com/presence-router/presence-router/routing/presence"
)

// target is how a server is reached.
type target struct {
	host      string   // for the Host header
	name      string   // that the certificate is for: a DNS name or an IP address
	addresses []string // host:port, to be tried in this order
}

const defaultPort = "8448"

// split returns host and port of a server name, the port empty where it has none,
// and the brackets of an IPv6 address left out.
func split(server presence.ServerName) (host, port string) {
	text := server.String()
	if colon := strings.LastIndexByte(text, ':'); colon > strings.LastIndexByte(text, ']') {
		text, port = text[:colon], text[colon+1:]
	}
	return strings.Trim(text, "[]"), port
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// direct returns the target of a server name that says itself where the server is:
// by an IP address or a port.
func direct(server presence.ServerName) (target, bool) {
	host, port := split(server)
	if port == "" {
		if !isAddress(host) {
			return target{}, false
		}
		port = defaultPort
	}
	return target{host: server.String(), name: host, addresses: []string{net.JoinHostPort(host, port)}}, true
}

// authority returns what stands for t in a URL: connections are shared by requests
// for which name and addresses are the same, and by no others.
func (t target) authority() string {
	return hex.EncodeToString([]byte(t.name + " " + strings.Join(t.addresses, " ")))
}

var errAuthority = errors.New("not an authority of ours")

// parseAuthority returns the target that authority was called on, less its host.
func parseAuthority(authority string) (target, error) {
	text, err := hex.DecodeString(authority)
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 2 {
		return target{}, errAuthority
	}
	return target{name: fields[0], addresses: fields[1:]}, nil
}
