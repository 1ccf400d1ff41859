package strictyaml

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/presence-router/presence-router/internal/fault"
)

// MaxFaults is the largest number of faults that one error lists; a last line
// says how many more there are.
const MaxFaults = 100

// Fault is the error about one place of a file.
type Fault struct {
	File    string // name of the file or of the environment variable; empty where unknown
	Line    int    // from 1; 0 where unknown
	Column  int    // in characters, from 1; 0 where unknown
	Path    string // dotted path of the value, such as modules[0].config.routes[2].users; empty for the file
	Message string // what is wrong, such as "is 2: want 1, 3 or 5"

	apart bool // Message does not continue the path as a sentence: a colon stands between
}

// Error reads like config.yaml:12:5: streams.replicas is 2: want 1, 3 or 5.
func (f *Fault) Error() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		b.WriteString(strings.TrimPrefix(":"+strconv.Itoa(f.Line)+":"+strconv.Itoa(f.Column), cutColon(f.File)))
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	return b.String() + f.sentence()
}

// cutColon returns the colon that a place without a file does not begin with.
func cutColon(file string) string {
	if file == "" {
		return ":"
	}
	return ""
}

func (f *Fault) sentence() string {
	switch {
	case f.Path == "":
		return f.Message
	case f.apart:
		return f.Path + ": " + f.Message
	default:
		return f.Path + " " + f.Message
	}
}

// Faults returns what is joined in err as faults, in order. A *fault.Field has
// its path, another error only its text; both have no place.
func Faults(err error) []*Fault {
	var faults []*Fault
	for _, e := range fault.Errors(err) {
		faults = append(faults, asFault(e))
	}
	return faults
}

func asFault(err error) *Fault {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	if field, ok := errors.AsType[*fault.Field](err); ok {
		return &Fault{Path: field.Path, Message: field.Message(), apart: field.Err != nil}
	}
	return &Fault{Message: err.Error(), apart: true}
}

// Under returns err as faults with path put before the path of each. Faults that have
// a file stay: their path is one in that file.
func Under(path string, err error) error {
	var moved []error
	for _, f := range Faults(err) {
		under := *f
		if f.File == "" {
			under.Path = fault.Join(path, f.Path)
		}
		moved = append(moved, &under)
	}
	return errors.Join(moved...)
}

// Join returns the faults of errs as one error, ordered by place, nil where there
// are none. A fault is left out where an earlier err has one about the same
// value, about a value inside it or about one around it: that one is the cause.
func Join(errs ...error) error {
	var kept []*Fault
	var earlier relatives
	for _, err := range errs {
		var added []*Fault
		for _, f := range Faults(err) {
			if !earlier.has(f.Path) {
				added = append(added, f)
			}
		}
		for _, f := range added {
			earlier.add(f.Path)
		}
		kept = append(kept, added...)
	}
	return join(sorted(kept))
}

// Limit returns the first MaxFaults faults of err, and one that says how many
// more there are.
func Limit(err error) error {
	faults := Faults(err)
	more := len(faults) - MaxFaults
	if more <= 0 {
		return err
	}
	last := &Fault{File: faults[MaxFaults].File, Message: "has " + strconv.Itoa(more) + " more faults"}
	return join(append(faults[:MaxFaults:MaxFaults], last))
}

func join(faults []*Fault) error {
	errs := make([]error, len(faults))
	for i, f := range faults {
		errs[i] = f
	}
	return errors.Join(errs...)
}

// sorted orders faults by line and column; files stay in the order in which they
// come first.
func sorted(faults []*Fault) []*Fault {
	rank := make(map[string]int)
	for _, f := range faults {
		if _, known := rank[f.File]; !known {
			rank[f.File] = len(rank)
		}
	}
	slices.SortStableFunc(faults, func(a, b *Fault) int {
		return cmp.Or(
			cmp.Compare(rank[a.File], rank[b.File]),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
		)
	})
	return faults
}
