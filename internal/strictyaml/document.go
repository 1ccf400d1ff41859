package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// MaxBytes is the largest file that Parse reads: one with a route for each of
// some hundred thousand users.
const MaxBytes = 64 << 20

// Document is the YAML of one file, or of one environment variable.
type Document struct {
	name string
	path string // where the value of the document stands in the configuration; empty for all of it
	root *yaml.Node
}

// Parse reads the one YAML document in data, which is the value at path of a
// configuration ("" for all of it). The name begins every fault. Errors are
// faults: data that is no UTF-8 or no YAML, too large, empty, or more than one
// document.
func Parse(name, path string, data []byte) (*Document, error) {
	if err := checkText(name, path, data); err != nil {
		return nil, err
	}
	if root := parseJSON(data); root != nil {
		return &Document{name: name, path: path, root: root}, nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("make YAML loader: %w", err)
	}
	root, err := loadOnly(loader)
	if err != nil {
		return nil, syntaxFault(name, path, data, err)
	}
	return &Document{name: name, path: path, root: root}, nil
}

// Text returns the document that holds text as one plain value, whatever YAML
// would make of it.
func Text(name, path, text string) *Document {
	return &Document{name: name, path: path, root: plain(text)}
}

// Texts is Text for a list of values with commas between them.
func Texts(name, path, text string) *Document {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for item := range strings.SplitSeq(text, ",") {
		list.Content = append(list.Content, plain(strings.TrimSpace(item)))
	}
	return &Document{name: name, path: path, root: list}
}

// Empty returns the document that sets nothing; name is where Locate finds what
// no other document has.
func Empty(name string) *Document {
	return &Document{name: name, root: &yaml.Node{Kind: yaml.MappingNode}}
}

func plain(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: anyTag, Value: text}
}

// Decode sets what the document holds in config, a pointer to the whole
// configuration. What the document does not name stays as it is; what has a fault
// may be set in part. Errors are all the faults, joined.
func (d *Document) Decode(config any) error {
	return Locate(decode(wrap(d.root, d.path), config), d)
}

// wrap puts node below mappings, so that it stands at path.
func wrap(node *yaml.Node, path string) *yaml.Node {
	for _, s := range slices.Backward(splitPath(path)) {
		node = &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{plain(s.key), node}}
	}
	return node
}

// Locate returns err as faults, each with the place where its value stands: in
// the last of the documents whose path holds it. Where the value is missing, the
// place is that of the nearest value around it. Faults that have a file stay.
func Locate(err error, documents ...*Document) error {
	var located []error
	for _, f := range Faults(err) {
		if f.File == "" {
			f = place(*f, documents)
		}
		located = append(located, f)
	}
	return errors.Join(located...)
}

func place(f Fault, documents []*Document) *Fault {
	for _, d := range slices.Backward(documents) {
		if !holds(d.path, f.Path) {
			continue
		}
		f.File = d.name
		if f.Line == 0 {
			f.Line, f.Column = Position(d.root, strings.TrimPrefix(f.Path[len(d.path):], "."))
		}
		break
	}
	return &f
}
