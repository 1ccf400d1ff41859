package natstest_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/presence-router/presence-router/internal/natstest"
)

func TestStored(t *testing.T) {
	t.Parallel()
	js := natstest.JetStream(t, natstest.Connect(t, natstest.Run(t).URL()))
	config := jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept.*"}}
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	const messages = 1200
	for i := range messages {
		if _, err := js.Publish(t.Context(), fmt.Sprintf("kept.%d", i%3), []byte(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		filter      string
		first, step int
		want        int
	}{
		{filter: "kept.>", first: 0, step: 1, want: messages},
		{filter: "kept.1", first: 1, step: 3, want: messages / 3},
		{filter: "kept.9", want: 0},
	}
	for _, tt := range tests {
		t.Run(tt.filter, func(t *testing.T) {
			found := natstest.Stored(t, js, "KEPT", tt.filter)
			if len(found) != tt.want {
				t.Fatalf("Stored(%s) returns %d messages, want %d", tt.filter, len(found), tt.want)
			}
			for i, m := range found {
				if got, want := string(m.Data()), strconv.Itoa(tt.first+i*tt.step); got != want {
					t.Fatalf("message %d of %s is %s, want %s", i, tt.filter, got, want)
				}
			}
			if got := natstest.Count(t, js, "KEPT", tt.filter); got != tt.want {
				t.Errorf("Count(%s) = %d, want %d", tt.filter, got, tt.want)
			}
		})
	}
	kept, err := js.Stream(t.Context(), "KEPT")
	if err != nil {
		t.Fatal(err)
	}
	if left := kept.CachedInfo().State.Consumers; left != 0 {
		t.Errorf("%d consumers are left over, want none", left)
	}
}
