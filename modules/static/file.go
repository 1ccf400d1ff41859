package static

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/internal/strictyaml"
	"github.com/presence-router/presence-router/routing/presence"
)

const (
	// maxLine bounds the memory that one line of a file takes, in bytes.
	maxLine = 16 << 20
	// maxRoutes keeps the number of a route in 31 bits.
	maxRoutes = 1 << 30
	// maxFaults bounds the memory that faults take; far fewer are shown.
	maxFaults = 10_000
)

// routesFile is what a file of routes holds.
type routesFile struct {
	routes  []Route // of line 1, line 2 and so on
	content [sha256.Size]byte
}

// ReadFile reads RoutesFile, unless there is none or it has been read. The errors are
// joined: a *fault.Field if the file cannot be read, and a *strictyaml.Fault, with
// file, line and column, for everything that is wrong in it.
func (c *Config) ReadFile() error {
	if c.RoutesFile == "" || c.file != nil {
		return nil
	}
	file, err := os.Open(c.RoutesFile)
	if err != nil {
		return &fault.Field{Path: routesFileKey, Err: err}
	}
	defer func() { _ = file.Close() }()
	r := reader{file: c.RoutesFile, sum: sha256.New()}
	if err := r.read(file); err != nil {
		return err
	}
	c.file = &routesFile{routes: r.routes, content: [sha256.Size]byte(r.sum.Sum(nil))}
	return nil
}

// Files returns the SHA-256 of the file that ReadFile has read, by the key that names
// it.
func (c *Config) Files() map[string][sha256.Size]byte {
	if c.file == nil {
		return nil
	}
	return map[string][sha256.Size]byte{routesFileKey: c.file.content}
}

// reader reads a file of routes, one JSON object a line.
type reader struct {
	file   string
	line   line
	routes []Route
	users  []presence.UserID // room for those of the next routes
	faults []error
	sum    hash.Hash // of what was read
}

func (r *reader) read(file io.Reader) error {
	lines := bufio.NewScanner(io.TeeReader(file, r.sum))
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		r.line.number++
		if len(r.faults) >= maxFaults || len(r.routes) == maxRoutes {
			r.fault(&strictyaml.Fault{Message: fmt.Sprintf("is not looked at: %d routes and %d faults stand before it, want at most %d and %d",
				len(r.routes), len(r.faults), maxRoutes, maxFaults)})
			break
		}
		r.take(lines.Bytes())
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		r.line.number++
		r.fault(&strictyaml.Fault{Message: fmt.Sprintf("is too long a line: want at most %d bytes", maxLine)})
	case err != nil:
		r.faults = append(r.faults, &fault.Field{Path: routesFileKey, Err: err})
	}
	return errors.Join(r.faults...)
}

// take adds the route of a line, or the faults.
func (r *reader) take(text []byte) {
	r.line.read(text)
	if len(r.line.faults) == 0 {
		r.routes = append(r.routes, Route{Recipients: r.keep(r.line.recipients.users), Users: r.keep(r.line.users.users)})
		return
	}
	for _, f := range r.line.faults {
		r.fault(f)
	}
}

func (r *reader) fault(f *strictyaml.Fault) {
	f.File, f.Line, f.Column = r.file, r.line.number, max(f.Column, 1)
	r.faults = append(r.faults, f)
}

// keep copies users to where many of them stand together. A piece of memory for each
// side of each route would cost more than what is in it.
func (r *reader) keep(users []presence.UserID) []presence.UserID {
	const together = 4096
	if len(r.users) < len(users) {
		r.users = make([]presence.UserID, max(together, len(users)))
	}
	kept := r.users[:len(users):len(users)]
	r.users = r.users[len(users):]
	copy(kept, users)
	return kept
}
