package dendrite

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// Config says what a Source follows and where its updates go.
type Config struct {
	ServerNames []presence.ServerName // of Dendrite; users of other servers are left out
	TopicPrefix string                // global.jetstream.topic_prefix of Dendrite
	APIPrefix   string                // of the JetStream API on Dendrite's NATS
	Name        string                // of the durable consumer; processes that stand by for each other have the same
	// AckWait is when another process takes over from one that Dendrite's NATS does not
	// hear, 1s to 1m; the same for all of one Name.
	AckWait time.Duration

	Prefix          string // of the router's subjects
	RouterAPIPrefix string // of the JetStream API on the router's NATS
	LookUp          bool   // whether PRESENCE_STATE is kept, where the status of a user is looked up
}

// DefaultConfig returns the settings to start from; it lacks server names.
func DefaultConfig() Config {
	return Config{
		TopicPrefix: "Dendrite", APIPrefix: wire.DefaultAPIPrefix, Name: "presence-router", AckWait: 10 * time.Second,
		Prefix: "presence", RouterAPIPrefix: wire.DefaultAPIPrefix, LookUp: true,
	}
}

var (
	topicPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	namePattern  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

// Validate returns nil or the joined faults, each a *fault.Field. It leaves out what is
// about the router's side.
func (c Config) Validate() error {
	faults := []error{
		fault.Check(len(c.ServerNames) > 0, "server_names", nil, "the server names of this Dendrite"),
		fault.Check(topicPattern.MatchString(c.TopicPrefix), "topic_prefix", c.TopicPrefix, "1 to 64 of A-Z, a-z, 0-9, _ and -"),
		fault.Check(namePattern.MatchString(c.Name), "name", c.Name, "1 to 64 of A-Z, a-z, 0-9, _ and -"),
		fault.Within("ack_wait", c.AckWait, time.Second, time.Minute),
	}
	if err := wire.CheckAPIPrefix(c.APIPrefix); err != nil {
		faults = append(faults, &fault.Field{Path: "nats.api_prefix", Err: err})
	}
	for i, name := range c.ServerNames {
		faults = append(faults, fault.Check(!slices.Contains(c.ServerNames[:i], name) || name.IsZero(),
			fmt.Sprintf("server_names[%d]", i), name.String(), "each name once"))
	}
	return errors.Join(faults...)
}

// stream is what Dendrite calls the stream, and the subject of what is in it.
func (c Config) stream() string { return c.TopicPrefix + "OutputPresenceEvent" }
