package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/sender"
)

// Federate says how deliveries are sent to other homeservers.
type Federate struct {
	Keys            []FederateKey         `yaml:"keys"`             // one for each of server_names
	Name            string                `yaml:"name"`             // of the durable consumer
	APIPrefix       string                `yaml:"api_prefix"`       // of the JetStream API, where another account's is imported
	Shards          []int                 `yaml:"shards"`           // that this process sends; all where empty
	Destinations    []presence.ServerName `yaml:"destinations"`     // that this process sends to; all where empty
	Concurrency     int                   `yaml:"concurrency"`      // most transactions under way
	MaxEDUs         int                   `yaml:"max_edus"`         // most EDUs in one transaction
	MaxStates       int                   `yaml:"max_states"`       // bound on what is held
	MaxBytes        int64                 `yaml:"max_bytes"`        // bound on the memory of that
	TTL             time.Duration         `yaml:"ttl"`              // age at which a state is given up
	OfflineTTL      time.Duration         `yaml:"offline_ttl"`      // the same for a last state that is offline
	FirstRetry      time.Duration         `yaml:"first_retry"`      // pause after a destination's first failure
	LongestRetry    time.Duration         `yaml:"longest_retry"`    // bound on that pause, which doubles
	AckWait         time.Duration         `yaml:"ack_wait"`         // after which what a dead process held comes again
	ConnectTimeout  time.Duration         `yaml:"connect_timeout"`  // bound on connecting to one address
	RequestTimeout  time.Duration         `yaml:"request_timeout"`  // bound on one transaction
	StopTimeout     time.Duration         `yaml:"stop_timeout"`     // bound on transactions under way at the end
	CA              string                `yaml:"ca"`               // PEM file of authorities that are trusted beside the system's
	BlockedNetworks []netip.Prefix        `yaml:"blocked_networks"` // that are not connected to
}

// FederateKey says where the signing key of a server is.
type FederateKey struct {
	ServerName presence.ServerName `yaml:"server_name"`
	KeyFile    string              `yaml:"key_file"` // as Synapse and Dendrite have it
}

// DefaultFederate returns the settings that a configuration starts from. They block
// what is not the public internet.
func DefaultFederate() Federate {
	c := sender.DefaultConfig()
	return Federate{
		Name:           c.Name,
		APIPrefix:      c.APIPrefix,
		Concurrency:    c.Concurrency,
		MaxEDUs:        c.MaxEDUs,
		MaxStates:      c.MaxStates,
		MaxBytes:       c.MaxBytes,
		TTL:            c.TTL,
		OfflineTTL:     c.OfflineTTL,
		FirstRetry:     c.FirstRetry,
		LongestRetry:   c.LongestRetry,
		AckWait:        c.AckWait,
		ConnectTimeout: 10 * time.Second,
		RequestTimeout: time.Minute,
		StopTimeout:    c.StopTimeout,
		BlockedNetworks: prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
			"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
			"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "::/127", "64:ff9b:1::/48", "2001:db8::/32", "fc00::/7", "fe80::/10",
			"fec0::/10", "ff00::/8"),
	}
}

func prefixes(networks ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(networks))
	for i, network := range networks {
		all[i] = netip.MustParsePrefix(network)
	}
	return all
}

// Sender returns the configuration of the sender of the origins.
func (f Federate) Sender(subjectPrefix string, origins []presence.ServerName) sender.Config {
	return sender.Config{
		Prefix: subjectPrefix, APIPrefix: f.APIPrefix, Name: f.Name, Origins: origins,
		Share:       sender.Share{Shards: f.Shards, Destinations: f.Destinations},
		Concurrency: f.Concurrency, MaxEDUs: f.MaxEDUs, MaxStates: f.MaxStates, MaxBytes: f.MaxBytes,
		TTL: f.TTL, OfflineTTL: f.OfflineTTL, FirstRetry: f.FirstRetry, LongestRetry: f.LongestRetry,
		AckWait: f.AckWait, StopTimeout: f.StopTimeout,
	}
}

// Validate returns nil or the joined faults, each a *fault.Field. It lets keys be
// missing, which only the federate command needs.
func (f Federate) Validate() error {
	faults := []error{
		f.Sender("", []presence.ServerName{{}}).Validate(),
		fault.Check(100*time.Millisecond <= f.ConnectTimeout && f.ConnectTimeout <= time.Minute,
			"connect_timeout", f.ConnectTimeout, "100ms to 1m0s"),
		fault.Check(100*time.Millisecond <= f.RequestTimeout && f.RequestTimeout <= 10*time.Minute,
			"request_timeout", f.RequestTimeout, "100ms to 10m0s"),
		checkFile("ca", f.CA),
	}
	for i, key := range f.Keys {
		path := fmt.Sprintf("keys[%d]", i)
		faults = append(faults, fault.Under(path, key.Validate()),
			fault.Check(!slices.ContainsFunc(f.Keys[:i], func(k FederateKey) bool { return k.ServerName == key.ServerName && !key.ServerName.IsZero() }),
				path+".server_name", key.ServerName.String(), "each server once"))
	}
	return errors.Join(faults...)
}

// Validate returns nil or the joined faults, each a *fault.Field.
func (k FederateKey) Validate() error {
	return errors.Join(
		fault.Check(!k.ServerName.IsZero(), "server_name", nil, "one of server_names"),
		fault.Check(k.KeyFile != "", "key_file", nil, "the path of a file with the server's signing key"),
		checkFile("key_file", k.KeyFile),
	)
}

// checkKeyServers finds keys of servers that are not local.
func (c Config) checkKeyServers() error {
	var faults []error
	for i, key := range c.Federate.Keys {
		known := key.ServerName.IsZero() || len(c.ServerNames) == 0 // else there is a fault already
		faults = append(faults, fault.Check(known || slices.Contains(c.ServerNames, key.ServerName),
			fmt.Sprintf("federate.keys[%d].server_name", i), key.ServerName.String(), fmt.Sprintf("one of %v, the server_names", c.ServerNames)))
	}
	return errors.Join(faults...)
}

// CheckKeys returns nil where each of server_names has a key. The error joins a
// *fault.Field for each that has none.
func (c Config) CheckKeys() error {
	var faults []error
	for _, server := range c.ServerNames {
		has := slices.ContainsFunc(c.Federate.Keys, func(k FederateKey) bool { return k.ServerName == server })
		faults = append(faults, fault.Check(has, "federate.keys", nil, fmt.Sprintf("a key of %v, one of server_names", server)))
	}
	return errors.Join(faults...)
}

// checkShards finds shards that there are none of.
func (f Federate) checkShards(shards int) error {
	var faults []error
	for i, shard := range f.Shards {
		faults = append(faults, fault.Check(shard < shards, fmt.Sprintf("federate.shards[%d]", i), shard,
			fmt.Sprintf("less than %d, streams.deliveries.shards", shards)))
	}
	return errors.Join(faults...)
}
