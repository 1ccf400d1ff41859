package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Layout says how the updates of a deployment are divided. A deployment begins with
// generation 0, and each change of the number of partitions makes the next one.
type Layout struct {
	Generation int `json:"generation"`
	Partitions int `json:"partitions"`
}

// String says the layout in a few words.
func (l Layout) String() string {
	return fmt.Sprintf("%d partitions of generation %d", l.Partitions, l.Generation)
}

// LayoutRecord is what a deployment knows of its layouts beside the one that its
// updates are stored in: whether workers are to wait with that.
type LayoutRecord struct {
	Serving Layout      `json:"serving"`        // the one that workers serve
	Move    *LayoutMove `json:"move,omitempty"` // to another one, nil where none is under way
}

// LayoutMove is a change of layouts that is under way.
type LayoutMove struct {
	To       Layout    `json:"to"`
	Sequence uint64    `json:"sequence"` // of the updates stream: up to it no update is stored in the layout To
	Time     time.Time `json:"time"`     // when the update at Sequence was stored
	Created  time.Time `json:"created"`  // when the updates stream was created
}

// Encode returns r as JSON.
func (r LayoutRecord) Encode() ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode layout record: %w", err)
	}
	return data, nil
}

// DecodeLayoutRecord returns the record that Encode wrote, or an error where it is
// not valid. Unknown fields are passed over.
func DecodeLayoutRecord(data []byte) (LayoutRecord, error) {
	var r LayoutRecord
	if err := json.Unmarshal(data, &r); err != nil {
		return LayoutRecord{}, fmt.Errorf("decode layout record: %w", err)
	}
	if err := r.Validate(); err != nil {
		return LayoutRecord{}, fmt.Errorf("decode layout record: %w", err)
	}
	return r, nil
}

// Validate returns nil, or the joined errors that each name a field.
func (r LayoutRecord) Validate() error {
	errs := []error{r.Serving.validate("serving")}
	if r.Move != nil {
		errs = append(errs, r.Move.To.validate("move.to"))
		if r.Move.To.Generation <= r.Serving.Generation {
			errs = append(errs, fmt.Errorf("move.to.generation is %d, want more than that of serving, %d", r.Move.To.Generation, r.Serving.Generation))
		}
		if r.Move.Created.IsZero() {
			errs = append(errs, errors.New("move.created is missing, want the creation time of the updates stream"))
		}
	}
	return errors.Join(errs...)
}

func (l Layout) validate(field string) error {
	var errs []error
	if l.Generation < 0 {
		errs = append(errs, fmt.Errorf("%s.generation is %d, want at least 0", field, l.Generation))
	}
	if l.Partitions < 1 {
		errs = append(errs, fmt.Errorf("%s.partitions is missing or %d, want at least 1", field, l.Partitions))
	}
	return errors.Join(errs...)
}

// LayoutRecord returns the subject of the deployment's LayoutRecord, which stands
// in the bucket of workers. Its key is not the ID of any worker.
func (s Subjects) LayoutRecord() string { return s.Heartbeat("deployment/layout") }

// In returns the same subjects for the layout of a generation: they differ in those
// of stored updates and of checkpoints. NewSubjects returns those of generation 0.
func (s Subjects) In(generation int) Subjects {
	s.generation = generation
	return s
}

// UpdateTransform returns the destination that the server stores published
// updates under, over the wildcards of Updates.
func (s Subjects) UpdateTransform(partitions int) string {
	return s.stored() + "{{partition(" + strconv.Itoa(partitions) + transformTail
}

const transformTail = ",1,2)}}.{{wildcard(1)}}.{{wildcard(2)}}"

// ParseUpdateTransform returns the layout whose UpdateTransform is destination.
func (s Subjects) ParseUpdateTransform(destination string) (Layout, error) {
	head, tail, found := strings.Cut(destination, ".{{partition(")
	mark, begins := strings.CutPrefix(head, s.update[:len(s.update)-1])
	generation, known := parseGeneration(mark)
	number, ends := strings.CutSuffix(tail, transformTail)
	partitions, ok := parseIndex(number)
	if !found || !begins || !known || !ends || !ok || partitions < 1 {
		return Layout{}, fmt.Errorf("parse transform %s: want %s", quoteShort(destination), s.update+"{{partition(<partitions>"+transformTail)
	}
	return Layout{Generation: generation, Partitions: partitions}, nil
}

// stored returns what the subjects of stored updates begin with, final dot
// included: presence.update. in generation 0, presence.update-g<g>. in others. That
// is one token in any case, so that one filter and one transform suits them all.
func (s Subjects) stored() string {
	if s.generation == 0 {
		return s.update
	}
	return s.update[:len(s.update)-1] + generationMark + strconv.Itoa(s.generation) + "."
}

const generationMark = "-g"

// parseGeneration parses what stands in a stored update's subject between "update"
// and the dot: nothing in generation 0.
func parseGeneration(mark string) (int, bool) {
	if mark == "" {
		return 0, true
	}
	number, found := strings.CutPrefix(mark, generationMark)
	generation, ok := parseIndex(number)
	return generation, found && ok && generation > 0
}
