package presence_test

import (
	"fmt"

	"github.com/presence-router/presence-router/routing/presence"
)

func ExampleParseUserID() {
	id, err := presence.ParseUserID("@jo.ann:matrix.org:8448")
	fmt.Println(id.Localpart(), id.Server(), err)

	_, err = presence.ParseUserID("@jo.ann")
	fmt.Println(err)
	// Output:
	// jo.ann matrix.org:8448 <nil>
	// invalid user ID "@jo.ann": has no colon before the server name
}

func ExampleParseServerName() {
	name, err := presence.ParseServerName("[2001:db8::1]:8448")
	fmt.Println(name, err)

	_, err = presence.ParseServerName("exa mple.com")
	fmt.Println(err)
	// Output:
	// [2001:db8::1]:8448 <nil>
	// invalid server name "exa mple.com": byte ' ' is not allowed in a host
}

// A router hides the status of a user. The altered copy still knows its update.
func ExampleUserState_Altered() {
	state := presence.UserState{
		UserID:    presence.MustUserID("@bob:example.com"),
		State:     presence.Online,
		StatusMsg: presence.Status("lunch ☕"),
	}.FromUpdate([]byte(`{"user_id":"@bob:example.com","state":"online","status_msg":"lunch ☕"}`), 17)

	hidden := state
	hidden.StatusMsg = presence.StatusMsg{}
	fmt.Println(state.Altered(), hidden.Altered(), hidden.Published().Position)
	// Output: false true 17
}
