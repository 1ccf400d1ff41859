package strictyaml

import (
	"iter"
	"strconv"
	"strings"
)

// step is one part of a dotted path: a key, or an index of a list.
type step struct {
	key     string
	index   int
	isIndex bool
}

// pathOf writes steps as a dotted path, keys that would garble a terminal in
// quotes and shortened.
func pathOf(steps []step) string {
	var b strings.Builder
	for i, s := range steps {
		switch {
		case s.isIndex:
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		case i > 0:
			b.WriteString("." + readable(s.key))
		default:
			b.WriteString(readable(s.key))
		}
	}
	return b.String()
}

func readable(key string) string {
	quoted := strconv.Quote(shorten(key))
	if quoted == `"`+key+`"` && key != "" {
		return key
	}
	return quoted
}

// splitPath undoes pathOf for keys without dots and brackets.
func splitPath(path string) []step {
	var steps []step
	for part := range strings.SplitSeq(path, ".") {
		key, indexes, _ := strings.Cut(part, "[")
		if key != "" {
			steps = append(steps, step{key: key})
		}
		for digits := range strings.SplitSeq(indexes, "[") {
			if index, err := strconv.Atoi(strings.TrimSuffix(digits, "]")); err == nil {
				steps = append(steps, step{index: index, isIndex: true})
			}
		}
	}
	return steps
}

// holds reports whether inner is outer or a path inside it. The empty path holds
// all.
func holds(outer, inner string) bool {
	rest, within := strings.CutPrefix(inner, outer)
	return within && (outer == "" || rest == "" || rest[0] == '.' || rest[0] == '[')
}

// relatives is a set of paths that answers whether one of them holds, or is held
// by, another path.
type relatives struct {
	paths map[string]bool // true for a path that was added, false for one around it
}

func (r *relatives) add(path string) {
	if r.paths == nil {
		r.paths = make(map[string]bool)
	}
	for outer := range around(path) {
		r.paths[outer] = r.paths[outer] || outer == path
	}
}

func (r *relatives) has(path string) bool {
	if _, found := r.paths[path]; found {
		return true
	}
	for outer := range around(path) {
		if r.paths[outer] {
			return true
		}
	}
	return false
}

// around yields the paths that hold path, path included.
func around(path string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range len(path) {
			if (path[i] == '.' || path[i] == '[') && !yield(path[:i]) {
				return
			}
		}
		if yield(path) && path != "" {
			yield("")
		}
	}
}
