package wire

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/presence-router/presence-router/routing/presence"
)

// Stored is what the subject of a stored update says.
type Stored struct {
	User       presence.UserID
	Generation int // of the layout
	Partition  int
}

// Update returns the subject that user's updates are published to:
// presence.update.<server>.<localpart>.
func (s Subjects) Update(user presence.UserID) string {
	return string(s.AppendUpdate(make([]byte, 0, 64), user))
}

// AppendUpdate appends Update(user) to dst.
func (s Subjects) AppendUpdate(dst []byte, user presence.UserID) []byte {
	return appendUser(append(dst, s.update...), user)
}

// Updates returns the filter of published updates: presence.update.*.*.
func (s Subjects) Updates() string { return s.update + "*.*" }

// StoredUpdates returns the filter of stored updates, of every generation, in the
// updates stream: presence.*.*.*.*.
func (s Subjects) StoredUpdates() string { return s.prefix + ".*.*.*.*" }

// GenerationUpdates returns the filter of the stored updates of all partitions:
// presence.update.*.*.* in generation 0, presence.update-g<g>.*.*.* in others.
func (s Subjects) GenerationUpdates() string { return s.stored() + "*.*.*" }

// PartitionUpdates returns the filter of the stored updates of one partition:
// presence.update.<p>.*.* in generation 0, presence.update-g<g>.<p>.*.* in others.
func (s Subjects) PartitionUpdates(partition int) string {
	return s.stored() + strconv.Itoa(partition) + ".*.*"
}

// ParseFrontDoor returns the user that the subject of a published update names.
func (s Subjects) ParseFrontDoor(subject string) (presence.UserID, error) {
	tokens, found := strings.CutPrefix(subject, s.update)
	if !found {
		return presence.UserID{}, s.notUpdate(subject, "<server>.<localpart>")
	}
	user, err := parseUser(tokens)
	if err != nil {
		return presence.UserID{}, fmt.Errorf("parse subject %s: %w", quoteShort(subject), err)
	}
	return user, nil
}

// ParseUpdate returns the user and the partition, of whatever generation, that the
// subject of a stored update names.
func (s Subjects) ParseUpdate(subject string) (Stored, error) {
	stored, tokens, found := s.cutPartition(subject)
	if !found {
		return Stored{}, s.notUpdate(subject, "<partition>.<server>.<localpart>")
	}
	user, err := parseUser(tokens)
	if err != nil {
		return Stored{}, fmt.Errorf("parse subject %s: %w", quoteShort(subject), err)
	}
	stored.User = user
	return stored, nil
}

// NamesUser reports whether subject is one that the server stores user's updates
// under, whatever the partition. It is ParseUpdate for those who know the user.
func (s Subjects) NamesUser(subject string, user presence.UserID) bool {
	_, tokens, found := s.cutPartition(subject)
	var buffer [3*presence.MaxUserIDBytes + 2]byte
	return found && tokens == string(appendUser(buffer[:0], user))
}

// FrontDoor returns the subject that a stored update was published to, which is
// the stored one without the partition. It reports false for other subjects.
func (s Subjects) FrontDoor(stored string) (string, bool) {
	_, tokens, found := s.cutPartition(stored)
	if !found {
		return "", false
	}
	return s.update + tokens, true
}

// State returns the subject of user's newest update: presence.state.<server>.<localpart>.
func (s Subjects) State(user presence.UserID) string {
	return string(appendUser([]byte(s.prefix+".state."), user))
}

// States returns the filter of newest updates: presence.state.*.*.
func (s Subjects) States() string { return s.prefix + ".state.*.*" }

// StateTransform returns the destination that the server stores newest updates
// under, over the wildcards of StoredUpdates.
func (s Subjects) StateTransform() string {
	return s.prefix + ".state.{{wildcard(3)}}.{{wildcard(4)}}"
}

// ParseState returns the user whose newest update is stored under subject.
func (s Subjects) ParseState(subject string) (presence.UserID, error) {
	tokens, found := strings.CutPrefix(subject, s.prefix+".state.")
	if !found {
		return presence.UserID{}, fmt.Errorf("parse subject %s: want %s.state.<server>.<localpart>", quoteShort(subject), s.prefix)
	}
	user, err := parseUser(tokens)
	if err != nil {
		return presence.UserID{}, fmt.Errorf("parse subject %s: %w", quoteShort(subject), err)
	}
	return user, nil
}

func (s Subjects) notUpdate(subject, tokens string) error {
	return fmt.Errorf("parse subject %s: want %s%s", quoteShort(subject), s.update, tokens)
}

// cutPartition splits a stored update subject after the partition; tokens are
// those of the user, not yet looked at.
func (s Subjects) cutPartition(subject string) (stored Stored, tokens string, found bool) {
	rest, begins := strings.CutPrefix(subject, s.update[:len(s.update)-1])
	mark, rest, marked := strings.Cut(rest, ".")
	generation, known := parseGeneration(mark)
	number, tokens, split := strings.Cut(rest, ".")
	partition, ok := parseIndex(number)
	if !begins || !marked || !known || !split || !ok || strings.Count(tokens, ".") != 1 {
		return Stored{}, "", false
	}
	return Stored{Generation: generation, Partition: partition}, tokens, true
}
