package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/query"
	"github.com/presence-router/presence-router/stream/source/dendrite"
	"github.com/presence-router/presence-router/stream/wire"
)

// Sources says which homeservers are followed that do not publish updates themselves.
type Sources struct {
	APIPrefix string     `yaml:"api_prefix"` // of the JetStream API, where the router's is imported
	Dendrite  []Dendrite `yaml:"dendrite"`
}

// Dendrite says how to follow one Dendrite. What is left out is as Dendrite has it.
type Dendrite struct {
	NATS        DendriteNATS          `yaml:"nats"`
	TopicPrefix string                `yaml:"topic_prefix"` // global.jetstream.topic_prefix of Dendrite
	ServerNames []presence.ServerName `yaml:"server_names"` // whose users are followed
	Name        string                `yaml:"name"`         // of the durable consumer
	AckWait     time.Duration         `yaml:"ack_wait"`     // after which another process takes over
}

// DendriteNATS says how to reach Dendrite's NATS servers. Without a URL they are the
// router's, by the router's connection settings.
type DendriteNATS struct {
	URL            URL               `yaml:"url"`
	Credentials    string            `yaml:"credentials"`
	InboxPrefix    query.ReplyPrefix `yaml:"inbox_prefix"`
	APIPrefix      string            `yaml:"api_prefix"` // of the JetStream API
	TLS            TLS               `yaml:"tls"`
	ConnectTimeout time.Duration     `yaml:"connect_timeout"`
}

// Beside returns how to connect, where router says how to connect to the router's NATS.
func (n DendriteNATS) Beside(router NATS) NATS {
	if n.URL == "" {
		router.InboxPrefix = cmp.Or(n.InboxPrefix, router.InboxPrefix)
		router.ConnectTimeout = cmp.Or(n.ConnectTimeout, router.ConnectTimeout)
		return router
	}
	return NATS{
		URL: n.URL, Credentials: n.Credentials, TLS: n.TLS,
		InboxPrefix:    cmp.Or(n.InboxPrefix, query.DefaultInboxPrefix),
		ConnectTimeout: cmp.Or(n.ConnectTimeout, router.ConnectTimeout),
	}
}

// Source returns the configuration of the source.
func (d Dendrite) Source() dendrite.Config {
	c := dendrite.DefaultConfig()
	c.ServerNames = d.ServerNames
	c.TopicPrefix = cmp.Or(d.TopicPrefix, c.TopicPrefix)
	c.APIPrefix = cmp.Or(d.NATS.APIPrefix, c.APIPrefix)
	c.Name = cmp.Or(d.Name, c.Name)
	c.AckWait = cmp.Or(d.AckWait, c.AckWait)
	return c
}

// Validate returns nil or the joined faults, each a *fault.Field. It lets dendrite be
// empty, which only the source dendrite command needs.
func (s Sources) Validate() error {
	var faults []error
	if err := wire.CheckAPIPrefix(s.APIPrefix); err != nil {
		faults = append(faults, &fault.Field{Path: "api_prefix", Err: err})
	}
	for i, d := range s.Dendrite {
		same := slices.IndexFunc(s.Dendrite[:i], d.readsWith)
		faults = append(faults, fault.Under(fmt.Sprintf("dendrite[%d]", i), d.Validate()),
			fault.Check(same < 0, fmt.Sprintf("dendrite[%d]", i), d.Source().TopicPrefix,
				fmt.Sprintf("another topic_prefix, name or nats.url than sources.dendrite[%d]: they would take messages from each other", same)))
	}
	return errors.Join(faults...)
}

// readsWith reports whether both read through the same consumer.
func (d Dendrite) readsWith(other Dendrite) bool {
	a, b := d.Source(), other.Source()
	return d.NATS.URL == other.NATS.URL && a.TopicPrefix == b.TopicPrefix && a.Name == b.Name
}

// Validate returns nil or the joined faults, each a *fault.Field.
func (d Dendrite) Validate() error {
	return errors.Join(d.Source().Validate(), fault.Under("nats", d.NATS.validate()))
}

func (n DendriteNATS) validate() error {
	if n.URL == "" {
		own := fault.Check(n.Credentials == "" && n.TLS == TLS{}, "url", nil, "the NATS servers of Dendrite, which credentials and tls are for")
		return errors.Join(own, n.Beside(Default().NATS).Validate())
	}
	return n.Beside(Default().NATS).Validate()
}

// checkSourceServers finds servers that are not local, and those of two sources: the
// updates of a user would not stay in order.
func (c Config) checkSourceServers() error {
	var faults []error
	first := make(map[presence.ServerName]string)
	for i, d := range c.Sources.Dendrite {
		for j, name := range d.ServerNames {
			path := fmt.Sprintf("sources.dendrite[%d].server_names[%d]", i, j)
			if name.IsZero() || len(c.ServerNames) == 0 {
				continue // There is a fault already.
			}
			source := fmt.Sprintf("sources.dendrite[%d]", i)
			other, taken := first[name]
			faults = append(faults,
				fault.Check(slices.Contains(c.ServerNames, name), path, name.String(), fmt.Sprintf("one of %v, the server_names", c.ServerNames)),
				fault.Check(!taken || other == source, path, name.String(), "each server in one source, "+other+" has it"))
			first[name] = cmp.Or(other, source)
		}
	}
	return errors.Join(faults...)
}

// CheckDendrites returns nil if there is a Dendrite to follow, else a *fault.Field.
func (c Config) CheckDendrites() error {
	return fault.Check(len(c.Sources.Dendrite) > 0, "sources.dendrite", nil, "a list with the Dendrites to follow, such as [{server_names: [example.com]}]")
}
