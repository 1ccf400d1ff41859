package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/presence-router/presence-router/routing/presence"
)

// ReceivedDelivery is a delivery as its reader sees it. Its three slices have the
// same length.
type ReceivedDelivery struct {
	Delivery // every state has its JSON and its sequence attached (Published)

	Sequences []uint64          // positions in the updates stream, 0 for a state that a router made up
	RawStates []json.RawMessage // as they were published, parts of the data that was decoded
}

// deliveryFields is a set of the known fields of a delivery.
type deliveryFields uint8

const (
	recipientField deliveryFields = 1 << iota
	epochField
	sequencesField
	statesField
)

type receiver struct {
	ReceivedDelivery

	seen deliveryFields
}

// DecodeDelivery returns the delivery that AppendDelivery wrote. Parts of data are
// kept, not copied. Unknown fields are passed over. An error names the field; one
// about a state wraps the *InvalidError of DecodeUpdate.
func DecodeDelivery(data []byte) (ReceivedDelivery, error) {
	var r receiver
	if err := scanObject(data, maxDepth+2, r.set); err != nil {
		return ReceivedDelivery{}, fmt.Errorf("decode delivery: %w", err)
	}
	if err := r.finish(); err != nil {
		return ReceivedDelivery{}, fmt.Errorf("decode delivery: %w", err)
	}
	return r.ReceivedDelivery, nil
}

func deliveryField(key []byte) deliveryFields {
	switch string(key) {
	case "recipient":
		return recipientField
	case "epoch":
		return epochField
	case "sequences":
		return sequencesField
	case "states":
		return statesField
	default:
		return 0
	}
}

func (r *receiver) set(key, value []byte) error {
	field := deliveryField(key)
	if err := once(&r.seen, field, key); err != nil || field == 0 {
		return err
	}
	var err error
	switch field {
	case recipientField:
		r.Recipient, err = parseUserIDField("recipient", value)
	case epochField:
		r.Epoch, err = parseEpoch(value)
	case sequencesField:
		err = eachOf("sequences", value, r.addSequence)
	case statesField:
		err = eachOf("states", value, r.addState)
	}
	return err
}

func parseEpoch(value []byte) (int64, error) {
	if isNull(value) {
		return 0, errors.New("epoch is null, want a number")
	}
	return parseTime([]byte("epoch"), value)
}

// eachOf calls visit with each element of the array that the named field holds.
func eachOf(name string, value []byte, visit func([]byte) error) error {
	if value[0] != '[' {
		return fmt.Errorf("%s is %s, want an array", name, showJSON(value))
	}
	s := scanner{data: value, limit: maxDepth + 1}
	return s.array(visit)
}

func (r *receiver) addSequence(value []byte) error {
	sequence, ok := parseWhole(bytes.TrimSpace(value), math.MaxUint64)
	if !ok {
		return fmt.Errorf("sequences[%d] is %s, want an integer from 0 to %d",
			len(r.Sequences), showJSON(value), uint64(math.MaxUint64))
	}
	r.Sequences = append(r.Sequences, sequence)
	return nil
}

func (r *receiver) addState(value []byte) error {
	r.RawStates = append(r.RawStates, json.RawMessage(value))
	return nil
}

// finish decodes the states, which needs the sequences.
func (r *receiver) finish() error {
	for _, name := range []string{"recipient", "epoch", "sequences", "states"} {
		if r.seen&deliveryField([]byte(name)) == 0 {
			return fmt.Errorf("%s is missing", name)
		}
	}
	if len(r.Sequences) != len(r.RawStates) {
		return fmt.Errorf("sequences has %d elements, want %d as in states", len(r.Sequences), len(r.RawStates))
	}
	r.States = make([]presence.UserState, len(r.RawStates))
	for i, raw := range r.RawStates {
		state, err := DecodeUpdate(raw, r.Sequences[i], len(raw))
		if err != nil {
			return fmt.Errorf("states[%d]: %w", i, err)
		}
		r.States[i] = state
	}
	return nil
}
