package wire

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/presence-router/presence-router/routing/presence"
)

// Subjects names the subjects and streams of one deployment. The zero Subjects is
// of no use: NewSubjects makes them.
type Subjects struct {
	prefix     string // the first token
	update     string // what every published update's subject begins with, final dot included
	deliver    string // what every delivery subject begins with, final dot included
	generation int    // of the layout; see In
}

var prefixPattern = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)

// NewSubjects returns the subjects whose first token is prefix, or an error where
// that is not 1 to 32 of a-z, 0-9, _ and -.
func NewSubjects(prefix string) (Subjects, error) {
	if !prefixPattern.MatchString(prefix) {
		return Subjects{}, fmt.Errorf("subject prefix is %s, want 1 to 32 of a-z, 0-9, _ and -", quoteShort(prefix))
	}
	return Subjects{prefix: prefix, update: prefix + ".update.", deliver: prefix + ".deliver."}, nil
}

// Prefix returns the first token of every subject.
func (s Subjects) Prefix() string { return s.prefix }

// Checkpoint returns the subject of a partition's checkpoint:
// presence.checkpoint.<p> in generation 0, presence.checkpoint.g<g>-<p> in others.
func (s Subjects) Checkpoint(partition int) string {
	if s.generation == 0 {
		return s.prefix + ".checkpoint." + strconv.Itoa(partition)
	}
	return s.prefix + ".checkpoint.g" + strconv.Itoa(s.generation) + "-" + strconv.Itoa(partition)
}

// Checkpoints returns the filter of checkpoints: presence.checkpoint.*.
func (s Subjects) Checkpoints() string { return s.prefix + ".checkpoint.*" }

// ParseCheckpoint returns the generation and the partition whose checkpoint is on
// subject.
func (s Subjects) ParseCheckpoint(subject string) (generation, partition int, err error) {
	token, found := strings.CutPrefix(subject, s.prefix+".checkpoint.")
	known := true
	if mark, number, marked := strings.Cut(token, "-"); marked {
		generation, known = parseGeneration("-" + mark)
		token = number
	}
	partition, ok := parseIndex(token)
	if !found || !known || !ok {
		return 0, 0, fmt.Errorf("parse subject %s: want %s.checkpoint.<partition> or %[2]s.checkpoint.g<generation>-<partition>", quoteShort(subject), s.prefix)
	}
	return generation, partition, nil
}

// Dead returns the subject of dead letters with one reason: presence.dead.<reason>.
func (s Subjects) Dead(reason Reason) string { return s.prefix + ".dead." + string(reason) }

// DeadAll returns the filter of dead letters: presence.dead.*.
func (s Subjects) DeadAll() string { return s.prefix + ".dead.*" }

// Heartbeat returns the subject of a worker's heartbeats:
// $KV.PRESENCE_WORKERS.<worker>.
func (s Subjects) Heartbeat(worker string) string {
	return "$KV." + s.WorkersBucket() + "." + worker
}

// Heartbeats returns the filter of the heartbeats of all workers.
func (s Subjects) Heartbeats() string { return s.Heartbeat(">") }

// Service returns what the subjects of queries begin with: presence.router.
func (s Subjects) Service() string { return s.prefix + ".router" }

// Query returns the subject of one query: presence.router.<name>.
func (s Subjects) Query(name string) string { return s.Service() + "." + name }

// appendUser appends <server>.<localpart> of user.
func appendUser(dst []byte, user presence.UserID) []byte {
	dst = AppendToken(dst, user.Server().String())
	return AppendToken(append(dst, '.'), user.Localpart())
}

// parseUser parses <server>.<localpart>.
func parseUser(tokens string) (presence.UserID, error) {
	serverToken, localpartToken, found := strings.Cut(tokens, ".")
	if !found {
		return presence.UserID{}, fmt.Errorf("%s must be a server token and a localpart token", quoteShort(tokens))
	}
	server, err := DecodeToken(serverToken)
	if err != nil {
		return presence.UserID{}, err
	}
	localpart, err := DecodeToken(localpartToken)
	if err != nil {
		return presence.UserID{}, err
	}
	return joinUser(localpart, server)
}

func joinUser(localpart, server string) (presence.UserID, error) {
	if strings.Contains(localpart, ":") {
		return presence.UserID{}, fmt.Errorf("%w: localpart %s has a colon", presence.ErrInvalidUserID, quoteShort(localpart))
	}
	return presence.ParseUserID("@" + localpart + ":" + server)
}

// parseIndex parses the decimal number of a partition or shard, which has one
// spelling only.
func parseIndex(token string) (int, bool) {
	index, err := strconv.ParseUint(token, 10, 16)
	if err != nil || token != strconv.FormatUint(index, 10) {
		return 0, false
	}
	return int(index), true
}
