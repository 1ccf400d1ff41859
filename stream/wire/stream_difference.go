package wire

import "slices"

// StreamDifference is a setting of streams that is otherwise than a worker is
// configured.
type StreamDifference struct {
	Setting    string   `json:"setting"`
	Have       string   `json:"have"`
	Configured string   `json:"configured"`
	Streams    []string `json:"streams"`
}

// Alike reports whether d and other differ at most in the streams.
func (d StreamDifference) Alike(other StreamDifference) bool {
	return d.Setting == other.Setting && d.Have == other.Have && d.Configured == other.Configured
}

// Equal reports whether d and other are the same.
func (d StreamDifference) Equal(other StreamDifference) bool {
	return d.Alike(other) && slices.Equal(d.Streams, other.Streams)
}
