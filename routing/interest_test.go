package routing_test

import (
	"slices"
	"testing"

	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

func TestUsers(t *testing.T) {
	a, b, c := id("@a:x"), id("@b:x"), id("@c:x")
	for _, tt := range []struct {
		name string
		in   []presence.UserID
		want []presence.UserID
	}{
		{name: "nobody"},
		{name: "sorted", in: []presence.UserID{c, a, b}, want: []presence.UserID{a, b, c}},
		{name: "repeated", in: []presence.UserID{b, a, b, a}, want: []presence.UserID{a, b}},
		{name: "zero IDs", in: []presence.UserID{{}, b, {}}, want: []presence.UserID{b}},
		{name: "zero IDs alone", in: []presence.UserID{{}, {}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := slices.Clone(tt.in)
			interest := routing.Users(in...)
			if got := interest.Users(); !slices.Equal(got, tt.want) || (got == nil) != (tt.want == nil) {
				t.Errorf("Users(%v).Users() = %v, want %v", tt.in, got, tt.want)
			}
			if interest.IsAll() {
				t.Errorf("Users(%v) is All", tt.in)
			}
			if !slices.Equal(in, tt.in) {
				t.Errorf("Users changed its arguments from %v to %v", tt.in, in)
			}
		})
	}
}

func TestInterestContains(t *testing.T) {
	some := routing.Users(id("@a:x"), id("@c:x"))
	for _, tt := range []struct {
		name     string
		interest routing.Interest
		user     presence.UserID
		want     bool
	}{
		{name: "first", interest: some, user: id("@a:x"), want: true},
		{name: "last", interest: some, user: id("@c:x"), want: true},
		{name: "between", interest: some, user: id("@b:x")},
		{name: "nobody", interest: routing.Interest{}, user: id("@a:x")},
		{name: "all", interest: routing.All(), user: id("@a:x"), want: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.interest.Contains(tt.user); got != tt.want {
				t.Errorf("Contains(%s) = %t, want %t", tt.user, got, tt.want)
			}
		})
	}
}

func TestUnion(t *testing.T) {
	ab, bc := routing.Users(id("@a:x"), id("@b:x")), routing.Users(id("@b:x"), id("@c:x"))
	for _, tt := range []struct {
		name string
		in   []routing.Interest
		want []presence.UserID
		all  bool
	}{
		{name: "none"},
		{name: "one", in: []routing.Interest{ab}, want: ab.Users()},
		{name: "nobody beside some", in: []routing.Interest{{}, ab, {}}, want: ab.Users()},
		{name: "two that overlap", in: []routing.Interest{bc, ab}, want: []presence.UserID{id("@a:x"), id("@b:x"), id("@c:x")}},
		{name: "all first", in: []routing.Interest{routing.All(), ab}, all: true},
		{name: "all last", in: []routing.Interest{ab, routing.All()}, all: true},
		{name: "all and nobody", in: []routing.Interest{{}, routing.All()}, all: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := routing.Union(tt.in...)
			if got.IsAll() != tt.all || !slices.Equal(got.Users(), tt.want) {
				t.Errorf("Union = all %t, %v, want all %t, %v", got.IsAll(), got.Users(), tt.all, tt.want)
			}
			if got.IsAll() && got.Users() != nil {
				t.Errorf("Users() of All = %v, want nil", got.Users())
			}
		})
	}
	if got := ab.Users(); !slices.Equal(got, []presence.UserID{id("@a:x"), id("@b:x")}) {
		t.Errorf("Union changed its argument to %v", got)
	}
}

func id(s string) presence.UserID { return presence.MustUserID(s) }
