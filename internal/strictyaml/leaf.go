package strictyaml

import (
	"encoding"
	"reflect"

	"github.com/presence-router/presence-router/internal/fault"
)

// Leaf is one value of a configuration that holds no further keys.
type Leaf struct {
	Path   string       // dotted, such as streams.updates.max_age
	Type   reflect.Type // a plain type, a slice or a map
	IsText bool         // whether the value, or each of a slice, is one text or number
}

// Leaves returns the leaves of a struct type in the order of its fields.
func Leaves(config reflect.Type) []Leaf {
	var leaves []Leaf
	set := fieldSetOf(config)
	for _, key := range set.keys {
		t := config.FieldByIndex(set.index[key]).Type
		if t.Kind() != reflect.Struct || isText(t) {
			leaves = append(leaves, Leaf{Path: key, Type: t, IsText: isText(t) || t.Kind() == reflect.Slice && isText(t.Elem())})
			continue
		}
		for _, leaf := range Leaves(t) {
			leaf.Path = fault.Join(key, leaf.Path)
			leaves = append(leaves, leaf)
		}
	}
	return leaves
}

func isText(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct, reflect.Slice, reflect.Map, reflect.Pointer:
		return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
	default:
		return true
	}
}
