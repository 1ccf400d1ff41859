// Package fault describes what is wrong with a value that somebody configured.
package fault

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Field is the error about one configured value: which, what it is, and what it
// may be.
type Field struct {
	Path  string // dotted path from the value that was validated, such as streams.replicas or routes[2].users
	Value any    // as configured; nil where it is missing
	Bound string // what is allowed, such as "1, 3 or 5"
	Err   error  // says what is wrong instead of Value and Bound, where set
}

// Check returns the fault of the value at path, or nil where it is ok.
func Check(ok bool, path string, value any, bound string) error {
	if ok {
		return nil
	}
	return &Field{Path: path, Value: value, Bound: bound}
}

// Within returns the fault of a value that is not from lowest to highest, or nil.
func Within[T cmp.Ordered](path string, value, lowest, highest T) error {
	return Check(lowest <= value && value <= highest, path, value, fmt.Sprintf("%v to %v", lowest, highest))
}

// Error names field, value and bound.
func (f *Field) Error() string {
	switch {
	case f.Err == nil:
		return strings.TrimPrefix(f.Path+" "+f.Message(), " ")
	case f.Path == "":
		return f.Message()
	default:
		return f.Path + ": " + f.Message()
	}
}

// Unwrap returns Err.
func (f *Field) Unwrap() error { return f.Err }

// Message says what is wrong, to be read after the path: "is 2: want 1, 3 or 5",
// or the text of Err.
func (f *Field) Message() string {
	if f.Err != nil {
		return f.Err.Error()
	}
	if f.Value == nil {
		return "is missing: want " + f.Bound
	}
	return "is " + show(f.Value) + ": want " + f.Bound
}

// show quotes what is a string underneath, so that an empty one can be seen.
func show(value any) string {
	if v := reflect.ValueOf(value); v.Kind() == reflect.String {
		return strconv.Quote(fmt.Sprint(value))
	}
	return fmt.Sprint(value)
}

// Under returns err with path put before the path of every Field in it. Errors
// that are no Field become one whose path is path.
func Under(path string, err error) error {
	var under []error
	for _, f := range Fields(err) {
		moved := *f
		moved.Path = Join(path, f.Path)
		under = append(under, &moved)
	}
	return errors.Join(under...)
}

// Fields returns the Field errors joined in err, in order. An error that holds no
// Field becomes the Err of one.
func Fields(err error) []*Field {
	var fields []*Field
	for _, e := range Errors(err) {
		var f *Field
		if !errors.As(e, &f) {
			f = &Field{Err: e}
		}
		fields = append(fields, f)
	}
	return fields
}

// Errors returns the errors that errors.Join made err of, at any depth and in
// order; err alone where it is no such error, none where it is nil.
func Errors(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || !isJoin(err, joined.Unwrap()) {
		return []error{err}
	}
	var flat []error
	for _, e := range joined.Unwrap() {
		flat = append(flat, Errors(e)...)
	}
	return flat
}

// isJoin tells errors.Join from fmt.Errorf with several %w, whose parts mean
// nothing alone, by the one thing that differs: the text.
func isJoin(err error, parts []error) bool {
	rest := err.Error()
	for i, part := range parts {
		if i > 0 {
			rest = strings.TrimPrefix(rest, "\n")
		}
		after, found := strings.CutPrefix(rest, part.Error())
		if !found {
			return false
		}
		rest = after
	}
	return rest == ""
}

// Join puts two dotted paths behind each other: streams and replicas are
// streams.replicas, routes and [2] are routes[2].
func Join(path, rest string) string {
	if path == "" || rest == "" || strings.HasPrefix(rest, "[") {
		return path + rest
	}
	return path + "." + rest
}
