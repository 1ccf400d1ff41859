package stream //nolint:testpackage // Exports what takes a minute on a real clock.

import (
	"log/slog"

	"github.com/presence-router/presence-router/stream/wire"
)

// NoteLetters returns a function that a commit calls with the dead letters in it.
func NoteLetters(log *slog.Logger) func(map[wire.Reason]int64) { return newLetterNotice(log).note }
