package wire

import "strings"

// UpdatesStream returns the name of the stream of updates: PRESENCE_UPDATES.
func (s Subjects) UpdatesStream() string { return s.upper() + "_UPDATES" }

// DeliveriesStream returns the name of the stream of deliveries, dead letters and
// checkpoints: PRESENCE_DELIVERIES.
func (s Subjects) DeliveriesStream() string { return s.upper() + "_DELIVERIES" }

// DeadStream returns the name of the stream that keeps dead letters: PRESENCE_DEAD.
func (s Subjects) DeadStream() string { return s.upper() + "_DEAD" }

// StateStream returns the name of the stream of newest updates: PRESENCE_STATE.
func (s Subjects) StateStream() string { return s.upper() + "_STATE" }

// WorkersBucket returns the name of the key-value bucket of workers: PRESENCE_WORKERS.
func (s Subjects) WorkersBucket() string { return s.upper() + "_WORKERS" }

// WorkersStream returns the name of the stream behind the bucket of workers.
func (s Subjects) WorkersStream() string { return "KV_" + s.WorkersBucket() }

func (s Subjects) upper() string { return strings.ToUpper(s.prefix) }
