package routing

import (
	"slices"

	"github.com/presence-router/presence-router/routing/presence"
)

// Interest is whose presence a user may see: some users, or everybody's. The zero
// Interest is nobody's. Interests are immutable and may be shared.
type Interest struct {
	all   bool
	users []presence.UserID // sorted, unique; nil where all
}

// All returns the Interest in everybody (Synapse's PresenceRouter.ALL_USERS).
func All() Interest { return Interest{all: true} }

// Users returns the Interest in the users ids, in any order. Repeated IDs count
// once; zero IDs name nobody and are left out.
func Users(ids ...presence.UserID) Interest {
	users := slices.Clone(ids)
	users = slices.DeleteFunc(users, presence.UserID.IsZero)
	slices.SortFunc(users, presence.UserID.Compare)
	users = slices.Compact(users)
	if len(users) == 0 {
		return Interest{}
	}
	return Interest{users: slices.Clip(users)}
}

// Union returns the Interest in every user that one of interests holds; it is All
// where one of them is.
func Union(interests ...Interest) Interest {
	var union Interest
	for _, interest := range interests {
		union = union.with(interest)
	}
	return union
}

func (i Interest) with(other Interest) Interest {
	switch {
	case i.all || other.all:
		return All()
	case len(other.users) == 0:
		return i
	case len(i.users) == 0:
		return other
	default:
		return Users(slices.Concat(i.users, other.users)...)
	}
}

// IsAll reports whether the interest is in everybody.
func (i Interest) IsAll() bool { return i.all }

// Users returns the users in order of their IDs, each once; nil for All and for
// nobody. The slice is shared: do not modify it.
func (i Interest) Users() []presence.UserID { return i.users }

// Contains reports whether the interest holds userID; All holds everybody.
func (i Interest) Contains(userID presence.UserID) bool {
	if i.all {
		return true
	}
	_, found := slices.BinarySearchFunc(i.users, userID, presence.UserID.Compare)
	return found
}
