package wire

import (
	"iter"
	"strconv"

	"github.com/presence-router/presence-router/routing/presence"
)

// Delivery is one message for one recipient.
type Delivery struct {
	Recipient presence.UserID
	Epoch     int64 // ms; sequences are comparable within one epoch
	States    []presence.UserState
}

// AppendDelivery appends d as JSON to dst. The sequence of a state is the
// position of the update it came from, 0 where it came from none. It allocates
// nothing where dst has room.
func AppendDelivery(dst []byte, d Delivery) []byte {
	dst = appendText(append(dst, `{"recipient":`...), d.Recipient.String())
	dst = strconv.AppendInt(append(dst, `,"epoch":`...), d.Epoch, 10)
	dst = append(dst, `,"sequences":[`...)
	for i := range d.States {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, sequenceOf(&d.States[i]), 10)
	}
	dst = append(dst, `],"states":[`...)
	for i := range d.States {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendState(dst, d.States[i])
	}
	return append(dst, `]}`...)
}

func sequenceOf(s *presence.UserState) uint64 {
	if published := s.Published(); published != nil {
		return published.Position
	}
	return 0
}

// Split yields d in parts that AppendDelivery makes no larger than maxBytes each,
// in order, as few as that takes. A state that is too large by itself is a part by
// itself. A delivery without states has no parts.
func (d Delivery) Split(maxBytes int) iter.Seq[Delivery] {
	return func(yield func(Delivery) bool) {
		if len(d.States) > 0 && d.bound() <= maxBytes {
			yield(d)
			return
		}
		for rest := d; len(rest.States) > 0; {
			part := rest
			part.States = rest.States[:rest.fitting(maxBytes)]
			if !yield(part) {
				return
			}
			rest.States = rest.States[len(part.States):]
		}
	}
}

// bound returns a number of bytes that d encoded does not exceed.
func (d Delivery) bound() int {
	const (
		envelope = 80 // keys, punctuation and the epoch
		perState = 22 // the sequence and two commas
		perByte  = 6
	)
	bound := envelope + perByte*len(d.Recipient.String())
	for i := range d.States {
		bound += perState + stateBound(&d.States[i])
	}
	return bound
}

// fitting returns how many states from the first on, at least one, make a
// delivery of at most maxBytes.
func (d Delivery) fitting(maxBytes int) int {
	var scratch []byte
	size := len(AppendDelivery(nil, Delivery{Recipient: d.Recipient, Epoch: d.Epoch}))
	for i := range d.States {
		scratch = strconv.AppendUint(scratch[:0], sequenceOf(&d.States[i]), 10)
		scratch = AppendState(scratch, d.States[i])
		size += len(scratch)
		if i > 0 {
			size += len(",,")
		}
		if i > 0 && size > maxBytes {
			return i
		}
	}
	return len(d.States)
}
