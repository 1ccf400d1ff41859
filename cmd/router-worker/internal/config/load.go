package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/presence-router/presence-router/internal/strictyaml"
)

// FileVariable is the environment variable that names the file, for commands
// that get no path.
const FileVariable = prefix + "CONFIG"

// Load reads the configuration: the defaults, over them the file at path, over it
// environ (as os.Environ returns it). Where path is "", FileVariable in environ
// names the file; where that is not set either, there is none. Errors are all
// faults of all places, joined, each a *strictyaml.Fault, or that of reading the
// file.
func Load(path string, environ []string) (Config, error) {
	if path == "" {
		path = fileNamed(environ)
	}
	if path == "" {
		return load(nil, environ)
	}
	data, err := readFile(path)
	if err != nil {
		return Config{}, err
	}
	return Parse(path, data, environ)
}

// Parse is Load for a file that has been read; name is what faults call it.
func Parse(name string, data []byte, environ []string) (Config, error) {
	file, err := strictyaml.Parse(name, "", data)
	if err != nil {
		return Config{}, err
	}
	return load(file, environ)
}

// readFile reads one byte more than strictyaml.Parse accepts at most.
func readFile(path string) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, strictyaml.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	return data, nil
}

func fileNamed(environ []string) string {
	path := ""
	for _, variable := range environ {
		if value, found := strings.CutPrefix(variable, FileVariable+"="); found {
			path = value
		}
	}
	return path
}

// load puts the file, nil for none, and the environment over the defaults.
func load(file *strictyaml.Document, environ []string) (Config, error) {
	if file == nil {
		file = strictyaml.Empty("environment")
	}
	variables, unreadable, unknown := readEnviron(environ)
	documents := append([]*strictyaml.Document{file}, variables...)
	config := Default()
	decoded := []error{unreadable}
	for _, document := range documents {
		decoded = append(decoded, document.Decode(&config))
	}
	invalid := strictyaml.Locate(config.Validate(), documents...)
	faults := errors.Join(strictyaml.Join(errors.Join(decoded...), invalid), unknown)
	if faults != nil {
		return Config{}, strictyaml.Limit(faults)
	}
	return config, nil
}
