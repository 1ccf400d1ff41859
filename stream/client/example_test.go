package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/client"
	"github.com/presence-router/presence-router/stream/wire"
)

func ExampleClient_Publisher() {
	ctx, c, stop := startExample()
	defer stop()
	publisher, err := c.Publisher(ctx, client.DefaultPublisherConfig())
	if err != nil {
		panic(err)
	}
	online := presence.UserState{UserID: presence.MustUserID("@bob:example.com"), State: presence.Online}
	for _, id := range []string{"sync-17", "sync-17"} { // the second one is a repetition
		err := publisher.Publish(ctx, client.Update{State: online, ID: id}, func(r client.Receipt, err error) {
			fmt.Println("update", r.Sequence, r.Duplicate, err)
		})
		if err != nil {
			panic(err)
		}
	}
	if err := publisher.Close(ctx); err != nil {
		panic(err)
	}
	// Output:
	// update 1 false <nil>
	// update 1 true <nil>
}

func ExampleClient_InterestedUsers() {
	ctx, c, stop := startExample()
	defer stop()
	interest, err := c.InterestedUsers(ctx, presence.MustUserID("@alice:example.com"))
	if err != nil {
		panic(err)
	}
	fmt.Println("everybody:", interest.All)
	for user, err := range interest.Users(ctx) {
		if err != nil {
			panic(err)
		}
		fmt.Println(user)
	}
	// Output:
	// everybody: false
	// @bob:example.com
	// @carol:example.com
}

func ExampleClient_UsersForStates() {
	ctx, c, stop := startExample()
	defer stop()
	away := presence.UserState{UserID: presence.MustUserID("@bob:example.com"), State: presence.Unavailable}
	for user, err := range c.UsersForStates(ctx, []presence.UserState{away}) {
		if err != nil {
			panic(err)
		}
		fmt.Println(user.UserID, "receives that", user.States[0].UserID, "is", user.States[0].State)
	}
	// Output: @alice:example.com receives that @bob:example.com is unavailable
}

func ExampleClient_SendOnlinePresence() {
	ctx, c, stop := startExample()
	defer stop()
	publishExample(ctx, c)
	sent, err := c.SendOnlinePresence(ctx, []presence.UserID{presence.MustUserID("@alice:example.com")})
	if err != nil {
		panic(err)
	}
	fmt.Println(sent[0].UserID, "is sent", sent[0].States, "states")
	// Output: @alice:example.com is sent 2 states
}

func ExampleClient_CurrentStates() {
	ctx, c, stop := startExample()
	defer stop()
	publishExample(ctx, c)
	users := []presence.UserID{presence.MustUserID("@bob:example.com"), presence.MustUserID("@nobody:example.com")}
	for latest, err := range c.CurrentStates(ctx, users, presence.UserID{}) {
		if err != nil {
			panic(err)
		}
		fmt.Println(latest.State.UserID, "is", latest.State.State, "since update", latest.State.Published().Position)
	}
	// Output: @bob:example.com is online since update 1
}

// What a worker answers instead of an answer has a code and a sentence.
func ExampleClient_errors() {
	ctx, c, stop := startExample()
	defer stop()
	users := []presence.UserID{presence.MustUserID("@bob:example.com")}
	for _, err := range c.CurrentStates(ctx, users, presence.MustUserID("@eva:somewhere.org")) {
		if q, ok := errors.AsType[*wire.QueryError](err); ok && q.Code == wire.CodeNotLocal {
			fmt.Println(q.Err)
		}
	}
	// Output: for is "@eva:somewhere.org", want a user of one of server_names
}

func ExampleClient_Deliveries() {
	ctx, c, stop := startExample()
	defer stop()
	publishExample(ctx, c)
	var position client.Position // from the oldest; stored in a file it may be of another run
	for delivery, err := range c.Deliveries(ctx, client.InScope(wire.Local), position) {
		if err != nil {
			panic(err)
		}
		for i, state := range delivery.States {
			fmt.Println(delivery.Recipient, "hears that", state.UserID, "is", state.State, "by update", delivery.Sequences[i])
		}
		if position = delivery.Position; delivery.Pending == 0 {
			break
		}
	}
	fmt.Println("to go on behind message", position.Sequence > 0)
	// Output:
	// @alice:example.com hears that @bob:example.com is online by update 1
	// @alice:example.com hears that @carol:example.com is busy by update 2
	// to go on behind message true
}

func ExampleClient_Durable() {
	ctx, c, stop := startExample()
	defer stop()
	publishExample(ctx, c)
	for delivery, err := range c.Durable(ctx, client.DurableConfig{Name: "mailer", Selection: client.InScope(wire.Local)}) {
		if err != nil {
			panic(err)
		}
		fmt.Println(delivery.Recipient, "hears of", delivery.States[0].UserID)
		if err := delivery.Ack(ctx); err != nil {
			panic(err)
		}
		break
	}
	// Output: @alice:example.com hears of @bob:example.com
}

func ExampleClient_Follow() {
	ctx, c, stop := startExample()
	defer stop()
	publishExample(ctx, c)
	view := client.NewView(presence.MustUserID("@alice:example.com"), client.DefaultViewBytes)
	if err := c.CatchUp(ctx, view); err != nil {
		panic(err)
	}
	for latest := range view.All() {
		fmt.Println("snapshot:", latest.State.UserID, "is", latest.State.State)
	}

	saved, err := json.Marshal(view) // for the next run
	if err != nil {
		panic(err)
	}
	if view, err = client.RestoreView(saved, client.DefaultViewBytes); err != nil {
		panic(err)
	}
	publishStates(ctx, c, presence.UserState{UserID: presence.MustUserID("@bob:example.com"), State: presence.Offline})
	for latest, err := range c.Follow(ctx, view) {
		if err != nil {
			panic(err)
		}
		fmt.Println("news:", latest.State.UserID, "is", latest.State.State)
		break
	}
	// Output:
	// snapshot: @bob:example.com is online
	// snapshot: @carol:example.com is busy
	// news: @bob:example.com is offline
}

// publishExample publishes that bob is online and carol busy, and waits until it is
// delivered and known to queries.
func publishExample(ctx context.Context, c *client.Client) {
	bob, carol := presence.MustUserID("@bob:example.com"), presence.MustUserID("@carol:example.com")
	publishStates(ctx, c, presence.UserState{UserID: bob, State: presence.Online})
	awaitExample(ctx, c, bob)
	publishStates(ctx, c, presence.UserState{UserID: carol, State: presence.Busy})
	awaitExample(ctx, c, bob, carol)
}
