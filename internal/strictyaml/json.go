package strictyaml

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// parseJSON returns the tree of data that is one JSON object, nil for all else. The
// library would return the same tree, but of a long list inside a list it keeps every
// token until the list ends, which takes several times the memory of the tree.
func parseJSON(data []byte) *yaml.Node {
	isObject := bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{"))
	if !isObject || bytes.Contains(data, []byte(`\u`)) || !json.Valid(data) { // \u may be half a character
		return nil
	}
	r := jsonReader{text: string(data), line: 1, column: 1}
	return r.value()
}

// jsonReader reads valid JSON.
type jsonReader struct {
	text         string
	at           int // index in text of what comes next
	line, column int // where that is
	nodes        []yaml.Node
	open         []*yaml.Node // what is inside the lists and mappings around it
}

func (r *jsonReader) value() *yaml.Node {
	r.skip(" \t\r\n")
	switch r.text[r.at] {
	case '{':
		return r.inside(yaml.MappingNode, mapTag, " \t\r\n,:", '}')
	case '[':
		return r.inside(yaml.SequenceNode, listTag, " \t\r\n,", ']')
	case '"':
		return r.quoted()
	default:
		return r.plain()
	}
}

// inside reads a list or a mapping up to end.
func (r *jsonReader) inside(kind yaml.Kind, tag, between string, end byte) *yaml.Node {
	node := r.node(kind, tag, yaml.FlowStyle)
	first := len(r.open)
	r.take(r.at + 1)
	for r.skip(between); r.text[r.at] != end; r.skip(between) {
		r.open = append(r.open, r.value())
	}
	r.take(r.at + 1)
	if len(r.open) > first {
		node.Content = append([]*yaml.Node(nil), r.open[first:]...)
	}
	r.open = r.open[:first]
	return node
}

func (r *jsonReader) quoted() *yaml.Node {
	node := r.node(yaml.ScalarNode, stringTag, yaml.DoubleQuotedStyle)
	end, isPlain := r.at+1, true
	for ; r.text[end] != '"'; end++ {
		if r.text[end] == '\\' {
			isPlain = false
			end++
		}
	}
	node.Value = r.text[r.at+1 : end]
	if !isPlain {
		_ = json.Unmarshal([]byte(r.text[r.at:end+1]), &node.Value) // which is valid
	}
	r.take(end + 1)
	return node
}

func (r *jsonReader) plain() *yaml.Node {
	node := r.node(yaml.ScalarNode, "", 0)
	end := r.at + strings.IndexAny(r.text[r.at:], " \t\r\n,]}")
	node.Value = r.text[r.at:end]
	node.Tag = tagOf(node.Value)
	r.take(end)
	return node
}

// tagOf returns the tag of a word or a number. As in the library, -0 and numbers beyond
// 64 bits are floats.
func tagOf(text string) string {
	_, signed := strconv.ParseInt(text, 10, 64)
	_, unsigned := strconv.ParseUint(text, 10, 64)
	switch {
	case text == "null":
		return nullTag
	case text == "true" || text == "false":
		return boolTag
	case text != "-0" && (signed == nil || unsigned == nil):
		return intTag
	default:
		return floatTag
	}
}

// node returns a node that stands here, out of memory for many.
func (r *jsonReader) node(kind yaml.Kind, tag string, style yaml.Style) *yaml.Node {
	if len(r.nodes) == 0 {
		r.nodes = make([]yaml.Node, 256)
	}
	node := &r.nodes[0]
	r.nodes = r.nodes[1:]
	node.Kind, node.Tag, node.Style, node.Line, node.Column = kind, tag, style, r.line, r.column
	return node
}

func (r *jsonReader) skip(blanks string) {
	end := r.at
	for strings.IndexByte(blanks, r.text[end]) >= 0 {
		end++
	}
	r.take(end)
}

// take moves on to end, and counts lines and characters.
func (r *jsonReader) take(end int) {
	taken := r.text[r.at:end]
	if lines := strings.Count(taken, "\n"); lines > 0 {
		r.line, r.column = r.line+lines, 1
		taken = taken[strings.LastIndexByte(taken, '\n')+1:]
	}
	r.column += utf8.RuneCountInString(taken)
	r.at = end
}
