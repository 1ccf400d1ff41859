package strictyaml

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"time"

	"go.yaml.in/yaml/v4"
)

const (
	// maxDepth bounds nesting, and with it an anchor that holds its own alias.
	maxDepth = 64
	// maxAliased bounds what aliases may multiply a file to, in values.
	maxAliased = 1 << 18
	// maxFound bounds the memory that faults take; far fewer are shown.
	maxFound = 10_000
)

// Validator is what Load asks after decoding. The error joins *fault.Field whose
// paths begin at the value.
type Validator interface{ Validate() error }

// Load decodes node into the pointer into, asks its Validate, and returns the
// faults of both, joined, with their places but without a file. A nil or null
// node is an empty mapping.
func Load(node *yaml.Node, into Validator) error {
	if node == nil {
		return into.Validate()
	}
	if isNull(node) {
		return Locate(into.Validate(), &Document{root: node})
	}
	return Join(decode(node, into), Locate(into.Validate(), &Document{root: node}))
}

func decode(node *yaml.Node, into any) error {
	d := decoder{fields: make(map[reflect.Type]fieldSet)}
	d.value(node, reflect.ValueOf(into).Elem())
	return join(d.faults)
}

// decoder walks a node tree and a Go value side by side.
type decoder struct {
	path    []step // to the value in hand
	faults  []*Fault
	stopped bool // nothing more is decoded
	fields  map[reflect.Type]fieldSet
	aliases []*yaml.Node // anchored values around the value in hand that an alias led to
	aliased int          // values decoded behind aliases so far
}

func (d *decoder) value(node *yaml.Node, into reflect.Value) {
	if raw, ok := reflect.TypeAssert[**yaml.Node](into.Addr()); ok {
		*raw = node
		return
	}
	switch {
	case d.stopped:
	case node.Kind == yaml.AliasNode:
		d.alias(node, into)
	case len(d.path) > maxDepth:
		d.fault(node, fmt.Sprintf("is nested deeper than %d levels", maxDepth))
	case isNull(node):
		d.fault(node, "is empty: give it a value or leave the key out")
	default:
		d.countAliased(node)
		d.typed(node, into)
	}
}

// alias decodes what the anchor holds, at the place of the anchor.
func (d *decoder) alias(node *yaml.Node, into reflect.Value) {
	if slices.Contains(d.aliases, node.Alias) {
		d.fault(node, "is an alias of a value around it")
		return
	}
	d.aliases = append(d.aliases, node.Alias)
	d.value(node.Alias, into)
	d.aliases = d.aliases[:len(d.aliases)-1]
}

func (d *decoder) countAliased(node *yaml.Node) {
	if len(d.aliases) == 0 {
		return
	}
	d.aliased++
	if d.aliased > maxAliased {
		d.stop(node, fmt.Sprintf("aliases stand for more than %d values: write them out", maxAliased))
	}
}

func (d *decoder) typed(node *yaml.Node, into reflect.Value) {
	switch target := into.Addr().Interface().(type) {
	case encoding.TextUnmarshaler:
		d.text(node, target)
	case *time.Duration:
		d.duration(node, target)
	default:
		d.kind(node, into)
	}
}

func (d *decoder) kind(node *yaml.Node, into reflect.Value) {
	switch into.Kind() {
	case reflect.Struct:
		d.structure(node, into)
	case reflect.Map:
		d.mapping(node, into)
	case reflect.Slice:
		d.list(node, into)
	case reflect.Pointer:
		d.pointer(node, into)
	case reflect.String:
		d.str(node, into)
	case reflect.Bool:
		d.boolean(node, into)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		d.integer(node, into)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		d.unsigned(node, into)
	case reflect.Float32, reflect.Float64:
		d.float(node, into)
	default:
		d.fault(node, "cannot be configured: it is of Go type "+into.Type().String())
	}
}

func (d *decoder) pointer(node *yaml.Node, into reflect.Value) {
	target := reflect.New(into.Type().Elem())
	d.value(node, target.Elem())
	into.Set(target)
}

func (d *decoder) list(node *yaml.Node, into reflect.Value) {
	if !IsList(node) {
		d.wantsForm(node, "a list")
		return
	}
	length := Len(node)
	list := reflect.MakeSlice(into.Type(), length, length)
	into.Set(list)
	for i, item := range Items(node) {
		d.path = append(d.path, step{index: i, isIndex: true})
		d.value(item, list.Index(i))
		d.path = d.path[:len(d.path)-1]
	}
}

func (d *decoder) mapping(node *yaml.Node, into reflect.Value) {
	if node.Kind != yaml.MappingNode {
		d.wantsForm(node, "a mapping")
		return
	}
	entries := reflect.MakeMapWithSize(into.Type(), len(node.Content)/2)
	into.Set(entries)
	d.entries(node, func(key, value *yaml.Node) {
		k, v := reflect.New(into.Type().Key()).Elem(), reflect.New(into.Type().Elem()).Elem()
		before := len(d.faults)
		d.value(key, k)
		if len(d.faults) == before {
			d.value(value, v)
			entries.SetMapIndex(k, v)
		}
	})
}

// fault records a fault of the value in hand.
func (d *decoder) fault(node *yaml.Node, message string) {
	d.report(&Fault{Line: node.Line, Column: node.Column, Message: message})
}

func (d *decoder) report(f *Fault) {
	switch {
	case d.stopped:
	case len(d.faults) == maxFound:
		f.Path, f.Message, f.apart = "", fmt.Sprintf("has more than %d faults: the rest is not looked at", maxFound), false
		d.faults, d.stopped = append(d.faults, f), true
	default:
		f.Path = pathOf(d.path)
		d.faults = append(d.faults, f)
	}
}

// stop records a fault of the whole document, after which nothing is decoded: what
// is missing then is no fault of its own.
func (d *decoder) stop(node *yaml.Node, message string) {
	d.faults = append(d.faults, &Fault{Line: node.Line, Column: node.Column, Message: message})
	d.stopped = true
}

// wants records that the value in hand is not of the wanted form.
func (d *decoder) wants(node *yaml.Node, bound string) {
	d.fault(node, "is "+show(node)+": want "+bound)
}

// wantsForm is wants for a list or a mapping. It does not repeat what stands
// there: that may be the content of a key file.
func (d *decoder) wantsForm(node *yaml.Node, bound string) {
	form := show(node)
	if node.Kind == yaml.ScalarNode {
		form = "a single value"
	}
	d.fault(node, "is "+form+": want "+bound)
}
