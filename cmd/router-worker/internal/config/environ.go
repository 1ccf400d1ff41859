package config

import (
	"errors"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/presence-router/presence-router/internal/strictyaml"
)

const prefix = "ROUTER_WORKER_"

// Variables returns the names of the environment variables that set a value, in
// the order of the configuration: ROUTER_WORKER_STREAMS_REPLICAS sets
// streams.replicas.
func Variables() []string {
	var names []string
	for _, leaf := range strictyaml.Leaves(reflect.TypeFor[Config]()) {
		names = append(names, variableFor(leaf.Path))
	}
	return names
}

func variableFor(path string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

func leavesByVariable() map[string]strictyaml.Leaf {
	leaves := make(map[string]strictyaml.Leaf)
	for _, leaf := range strictyaml.Leaves(reflect.TypeFor[Config]()) {
		leaves[variableFor(leaf.Path)] = leaf
	}
	return leaves
}

// readEnviron returns a document for every variable that sets a value, in the
// order of their names; unreadable has those that are no YAML, unknown those that
// set nothing.
func readEnviron(environ []string) (documents []*strictyaml.Document, unreadable, unknown error) {
	values := ours(environ)
	leaves := leavesByVariable()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		leaf, known := leaves[name]
		if !known {
			unknown = errors.Join(unknown, unknownVariable(name))
			continue
		}
		document, err := read(name, values[name], leaf)
		if err != nil {
			unreadable = errors.Join(unreadable, err)
			continue
		}
		documents = append(documents, document)
	}
	return documents, unreadable, unknown
}

// read takes a list of texts with commas between them, as well as in YAML.
func read(name, value string, leaf strictyaml.Leaf) (*strictyaml.Document, error) {
	isList := leaf.Type.Kind() == reflect.Slice
	isFlow := strings.HasPrefix(value, "[") && strings.HasSuffix(value, "]")
	switch {
	case leaf.IsText && !isList:
		return strictyaml.Text(name, leaf.Path, value), nil
	case leaf.IsText && !isFlow:
		return strictyaml.Texts(name, leaf.Path, value), nil
	default:
		return strictyaml.Parse(name, leaf.Path, []byte(value))
	}
}

func ours(environ []string) map[string]string {
	values := make(map[string]string)
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, prefix) && name != FileVariable && !serviceLink.MatchString(variable) {
			values[name] = value
		}
	}
	return values
}

// serviceLink matches what Kubernetes gives every pod for a Service whose name
// begins with router-worker. Those variables begin like ours.
var serviceLink = regexp.MustCompile(`^ROUTER_WORKER(_[A-Z0-9_]+)?_` +
	`(SERVICE_HOST=|SERVICE_PORT(_[A-Z0-9_]+)?=|PORT=(tcp|udp|sctp)://|PORT_[0-9]+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?=)`)

func unknownVariable(name string) error {
	return &strictyaml.Fault{File: name, Message: "is not a known variable: " + hint(name)}
}

func hint(name string) string {
	known := append([]string{FileVariable}, Variables()...)
	for _, k := range known {
		if strings.HasPrefix(k, name+"_") {
			return "a variable sets one value, such as " + k
		}
	}
	for i, k := range known {
		known[i] = strings.TrimPrefix(k, prefix)
	}
	if closest := strictyaml.Closest(strings.TrimPrefix(name, prefix), known); closest != "" {
		return "did you mean " + prefix + closest + "?"
	}
	return "it is " + prefix + " and the path of a value with _ for dots, such as " + variableFor("streams.replicas")
}
