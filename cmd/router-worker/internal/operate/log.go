package operate

import (
	"io"
	"log/slog"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
)

// NewLogger returns a logger that writes to w as c says.
func NewLogger(w io.Writer, c config.Log) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level.Slog()}
	if c.Format == config.JSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
