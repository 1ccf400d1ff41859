package strictyaml

import (
	"bytes"
	"encoding/json"
	"iter"
	"slices"
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

// textList is the kind of a list whose items are still text, in Value. The library does
// not know it, and so would not take the list for an empty one.
const textList yaml.Kind = 1 << 16

// mostNodes is how many nodes a list in JSON may be of without becoming a textList.
const mostNodes = 4096

// IsList reports whether node is a list.
func IsList(node *yaml.Node) bool { return node.Kind == yaml.SequenceNode || node.Kind == textList }

// Len returns how many items a list has.
func Len(list *yaml.Node) int {
	if list.Kind != textList {
		return len(list.Content)
	}
	_, items := endOfList(list.Value)
	return items
}

// Items yields the items of a list. Those of a long one are made for the occasion, and
// are garbage if nobody keeps them.
func Items(list *yaml.Node) iter.Seq2[int, *yaml.Node] {
	if list.Kind != textList {
		return slices.All(list.Content)
	}
	return func(yield func(int, *yaml.Node) bool) {
		r := jsonReader{text: list.Value, line: list.Line, column: list.Column}
		r.take(1)
		for i := 0; ; i++ {
			r.skip(" \t\r\n,")
			if r.text[r.at] == ']' || !yield(i, r.value()) {
				return
			}
		}
	}
}

// expand gives a list its items for good, for whoever asks for one of them by index.
func expand(list *yaml.Node) {
	if list.Kind != textList {
		return
	}
	items := make([]*yaml.Node, 0, Len(list))
	for _, item := range Items(list) {
		items = append(items, item)
	}
	list.Kind, list.Value, list.Content = yaml.SequenceNode, "", items
}

// jsonReader reads valid JSON.
type jsonReader struct {
	text         string
	at           int          // index in text of what comes next
	line, column int          // where that is
	nodes        []yaml.Node  // room for the next ones
	made         int          // how many nodes there are
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
	first, made, begin := len(r.open), r.made, r.at
	r.take(r.at + 1)
	for r.skip(between); r.text[r.at] != end; r.skip(between) {
		r.open = append(r.open, r.value())
		if kind == yaml.SequenceNode && r.made-made > mostNodes {
			r.open, r.made = r.open[:first], made
			r.keep(node, begin)
			return node
		}
	}
	r.take(r.at + 1)
	if len(r.open) > first {
		node.Content = append([]*yaml.Node(nil), r.open[first:]...)
	}
	r.open = r.open[:first]
	return node
}

// keep makes node a list of which the items are read when they are asked for: for a long
// one they take many times the memory of the text. The list begins at begin.
func (r *jsonReader) keep(node *yaml.Node, begin int) {
	end, _ := endOfList(r.text[begin:])
	node.Kind, node.Value = textList, r.text[begin:begin+end]
	r.take(begin + end)
}

// endOfList returns the index behind the list that text begins with, and how many items
// it has. It is not empty.
func endOfList(text string) (end, items int) {
	for depth := 0; ; end++ {
		switch text[end] {
		case '"':
			end = endOfText(text, end) - 1
		case '[', '{':
			depth++
		case ']', '}':
			depth--
			if depth == 0 {
				return end + 1, items + 1
			}
		case ',':
			if depth == 1 {
				items++
			}
		}
	}
}

// endOfText returns the index behind the text in quotes that begins at start.
func endOfText(text string, start int) int {
	for end := start + 1; ; end++ {
		switch text[end] {
		case '\\':
			end++
		case '"':
			return end + 1
		}
	}
}

func (r *jsonReader) quoted() *yaml.Node {
	node := r.node(yaml.ScalarNode, stringTag, yaml.DoubleQuotedStyle)
	end := endOfText(r.text, r.at)
	node.Value = r.text[r.at+1 : end-1]
	if strings.Contains(node.Value, `\`) {
		_ = json.Unmarshal([]byte(r.text[r.at:end]), &node.Value) // which is valid
	}
	r.take(end)
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
	r.made++
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
