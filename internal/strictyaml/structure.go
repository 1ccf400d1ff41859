package strictyaml

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// fieldSet is the keys that a struct type takes.
type fieldSet struct {
	keys  []string         // in the order of the struct
	index map[string][]int // of the field, for reflect.Value.FieldByIndex
}

func (d *decoder) structure(node *yaml.Node, into reflect.Value) {
	if node.Kind != yaml.MappingNode {
		d.wantsForm(node, "a mapping with the keys "+strings.Join(d.fieldsOf(into.Type()).keys, ", "))
		return
	}
	fields := d.fieldsOf(into.Type())
	d.entries(node, func(key, value *yaml.Node) {
		index, known := fields.index[key.Value]
		if !known {
			d.fault(key, "is not a known key: "+suggestion(key.Value, fields.keys))
			return
		}
		d.value(value, into.FieldByIndex(index))
	})
}

// entries hands the entries of a mapping to use, with the key on the path, but
// for those whose key is no plain one or stands there already.
func (d *decoder) entries(mapping *yaml.Node, use func(key, value *yaml.Node)) {
	seen := keySet{}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key := mapping.Content[i]
		d.path = append(d.path, step{key: key.Value})
		if first := seen.add(key); first != nil {
			d.fault(key, fmt.Sprintf("appears twice: the first is in line %d", first.Line))
		} else if d.isPlainKey(key) {
			use(key, mapping.Content[i+1])
		}
		d.path = d.path[:len(d.path)-1]
	}
}

func (d *decoder) isPlainKey(key *yaml.Node) bool {
	switch {
	case key.Kind != yaml.ScalarNode:
		d.fault(key, "is "+show(key)+" as a key: want a plain word")
		return false
	case key.Tag == mergeTag:
		d.fault(key, "is a merge key, which is not supported: write the keys out")
		return false
	default:
		return true
	}
}

// keySet finds repeated keys: a short list for the usual mapping, so that a file
// of many small ones stays fast.
type keySet struct {
	list []*yaml.Node
	many map[string]*yaml.Node
}

// add returns the earlier key with the same text, nil where there is none.
func (s *keySet) add(key *yaml.Node) *yaml.Node {
	if s.many != nil {
		return s.addToMany(key)
	}
	for _, k := range s.list {
		if k.Value == key.Value {
			return k
		}
	}
	s.list = append(s.list, key)
	if len(s.list) > 16 {
		s.many = make(map[string]*yaml.Node)
		for _, k := range s.list {
			s.many[k.Value] = k
		}
	}
	return nil
}

func (s *keySet) addToMany(key *yaml.Node) *yaml.Node {
	if first := s.many[key.Value]; first != nil {
		return first
	}
	s.many[key.Value] = key
	return nil
}

func (d *decoder) fieldsOf(t reflect.Type) fieldSet {
	set, known := d.fields[t]
	if !known {
		set = fieldSetOf(t)
		d.fields[t] = set
	}
	return set
}

func fieldSetOf(t reflect.Type) fieldSet {
	set := fieldSet{index: make(map[string][]int)}
	set.add(t, nil)
	return set
}

// add takes the fields of a struct type that stands at index. The fields of an
// embedded struct without a tag are keys of the outer one.
func (s *fieldSet) add(t reflect.Type, index []int) {
	for f := range t.Fields() {
		at := slices.Concat(index, f.Index)
		tag, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case f.Anonymous && tag == "" && f.Type.Kind() == reflect.Struct:
			s.add(f.Type, at)
		case f.IsExported() && tag != "-":
			key := cmp.Or(tag, strings.ToLower(f.Name))
			s.keys = append(s.keys, key)
			s.index[key] = at
		}
	}
}
