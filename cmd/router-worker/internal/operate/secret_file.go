package operate

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
)

// The bits of a file's mode that matter for a secret. The group may read it, and
// others may too with a warning: containers mount secrets with 0444.
const (
	groupWrites  fs.FileMode = 0o020
	othersRead   fs.FileMode = 0o004
	othersWrites fs.FileMode = 0o002
)

// checkMode returns an error if every user of the machine can replace the file.
func checkMode(name string) error {
	if mode := modeOf(name); mode&othersWrites != 0 {
		return fmt.Errorf("mode of %s is %04o: every user can write it, want 0600 or 0640", name, mode)
	}
	return nil
}

// warnOfModes warns of the files of c that hold secrets.
func warnOfModes(log *slog.Logger, c config.NATS) {
	warnOfMode(log, "nats.credentials", c.Credentials)
	warnOfMode(log, "nats.queries.credentials", c.Queries.Credentials)
	warnOfMode(log, "nats.tls.key", c.TLS.Key)
}

// warnOfMode warns if others can read the secret of a key of the configuration, or
// others than its owner can write it.
func warnOfMode(log *slog.Logger, key, name string) {
	if mode := modeOf(name); mode&(groupWrites|othersRead|othersWrites) != 0 {
		log.Warn("other users can read or write a secret", "key", key, "file", name, "mode", fmt.Sprintf("%04o", mode), "want", "0600 or 0640")
	}
}

// modeOf returns the permissions of a file, 0 for one that is missing, that no path
// names, or on a system where the mode says nothing.
func modeOf(name string) fs.FileMode {
	if name == "" || runtime.GOOS == "windows" {
		return 0
	}
	info, err := os.Stat(name)
	if err != nil {
		return 0 // Whoever reads it says why.
	}
	return info.Mode().Perm()
}
