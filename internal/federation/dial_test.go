package federation_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/federation"
)

func TestBlockedNetworksHaveNoWayRound(t *testing.T) {
	t.Parallel()
	blocked := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fe80::/10")}
	tests := []struct{ name, address string }{
		{"IPv4", "127.0.0.1"},
		{"IPv4 mapped to IPv6", "::ffff:127.0.0.1"},
		{"IPv6", "::1"},
		{"IPv6 with a zone", "::1%lo"},
		{"link-local with a zone", "fe80::1%lo"},
		{"IPv4 compatible", "::127.0.0.1"},
		{"IPv4 translated", "::ffff:0:127.0.0.1"},
		{"NAT64", "64:ff9b::10.1.2.3"},
		{"NAT64 with a zone", "64:ff9b::10.1.2.3%lo"},
		{"local NAT64", "64:ff9b:1::10.1.2.3"},
		{"6to4", "2002:0a01:0203::1"},
		{"Teredo server", "2001:0:0a01:0203:0:1:fefe:fefe"},
		{"Teredo client", "2001:0:0808:0808:0:1:f5fe:fdfc"},
		{"ISATAP", "2001:db8::5efe:10.1.2.3"},
		{"ISATAP of a global address", "2001:db8::200:5efe:10.1.2.3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			conn, err := federation.NewDialer(10*time.Second, blocked)(t.Context(), "tcp", "["+tt.address+"]:1")
			if err == nil {
				_ = conn.Close()
			}
			if err == nil || !strings.Contains(err.Error(), "blocked network") {
				t.Errorf("dialling %s returns %v, want that it is in a blocked network", tt.address, err)
			}
		})
	}
	// What only looks like them is let through, and refused by the machine itself.
	for _, address := range []string{"::1", "::ffff:127.0.0.1"} {
		_, err := federation.NewDialer(10*time.Second, []netip.Prefix{netip.MustParsePrefix("128.0.0.0/8")})(t.Context(), "tcp", "["+address+"]:1")
		if err == nil || strings.Contains(err.Error(), "blocked network") {
			t.Errorf("dialling %s returns %v, want the error of the machine", address, err)
		}
	}
}
