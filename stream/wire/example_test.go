package wire_test

import (
	"fmt"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

func ExampleSubjects_Update() {
	subjects, err := wire.NewSubjects("presence")
	if err != nil {
		panic(err)
	}
	fmt.Println(subjects.Update(presence.MustUserID("@jo.ann:matrix.org:8448")))
	// Output: presence.update.matrix%2Eorg%3A8448.jo%2Eann
}

func ExampleDecodeUpdate() {
	_, err := wire.DecodeUpdate([]byte(`{"user_id":"@bob:example.com","state":"away"}`), 1, 64<<10)
	fmt.Println(err)
	// Output: invalid_state: invalid presence state: state is "away", want online, unavailable, offline, busy or a namespaced value
}

func ExampleAppendDelivery() {
	update := []byte(`{"user_id":"@bob:example.com","state":"online","colour":"red"}`)
	state, err := wire.DecodeUpdate(update, 17, 64<<10)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", wire.AppendDelivery(nil, wire.Delivery{
		Recipient: presence.MustUserID("@alice:example.com"),
		Epoch:     1795370000000,
		States:    []presence.UserState{state},
	}))
	// Output: {"recipient":"@alice:example.com","epoch":1795370000000,"sequences":[17],"states":[{"user_id":"@bob:example.com","state":"online","colour":"red"}]}
}
