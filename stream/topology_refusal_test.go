package stream_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/stream"
	"github.com/presence-router/presence-router/stream/topology"
)

// Beside a change that is refused, plan and apply say of every other one that it is not made.
func TestTopologySaysThatNothingIsMade(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *stream.Config) { c.Streams.State.Enabled = false })
	config := s.config.Streams
	config.State.Enabled = true
	config.Updates.MaxAge += time.Hour
	config.Deliveries.MaxAge -= time.Minute // which is refused
	streams := newTopology(t, s.js, config)
	planned, err := streams.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	applied, err := streams.Apply(t.Context())
	if !errors.Is(err, topology.ErrRefused) || !slices.Equal(applied, planned) {
		t.Errorf("Apply = %v, %v, want it refused, and what was planned: %v", applied, err, planned)
	}
	const why = ": no change is made while another is refused"
	for i, want := range []string{"keep PRESENCE_UPDATES: max_age is ", "refuse PRESENCE_DELIVERIES: max_age is ", "keep PRESENCE_STATE: stream is missing, configured is "} {
		if len(planned) != 3 || !strings.HasPrefix(planned[i].String(), want) || strings.HasSuffix(planned[i].String(), why) != strings.HasPrefix(want, "keep") {
			t.Errorf("plan is %v, want 3 changes, number %d to begin with %q", planned, i+1, want)
		}
	}
}
