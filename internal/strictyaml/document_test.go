package strictyaml_test

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/internal/strictyaml"
)

func TestParseFaults(t *testing.T) {
	tests := []struct{ name, yaml, want string }{
		{"empty", "", "f: is empty: want settings"},
		{"only comments", "# nothing\n", "f: is empty: want settings"},
		{"empty document", "---\n", "f: is empty: want settings"},
		{"two documents", "a: 1\n---\nb: 2\n", "f:2:1: has a second document: want one"},
		{"user ID without quotes", "é:\n  users: [@bob:e.org]\n", `f:2:11: a value cannot begin with @: put it in quotes, such as "@alice:example.com"`},
		{"tab", "a:\n\tb: 1\n", "f:2:1: a tab cannot indent: use spaces"},
		{"open list", "a: [1\nb: 2", "f:2:2: is not YAML: while parsing a flow sequence that begins in line 1: did not find expected ',' or ']'"},
		{"unknown anchor", "a: *b", "f:1:4: is not YAML: unknown anchor 'b' referenced"},
		{"not UTF-8", "a: b\né: \xff", "f:2:4: is not UTF-8 text"},
		{"half a character in JSON", `{"a": "\ud83d"}`, "f:1:10: is not YAML: while scanning a quoted scalar that begins in line 1: found invalid Unicode character escape code"},
		{"syntax of a second document", "a: 1\n---\n[", "f:4:1: is not YAML: did not find expected node content"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := strictyaml.Parse("f", "", []byte(tt.yaml))
			compare(t, err, tt.want)
		})
	}
}

func TestParseBoundsSize(t *testing.T) {
	_, err := strictyaml.Parse("f", "", make([]byte, strictyaml.MaxBytes+1))
	compare(t, err, "f: is 67108865 bytes long: want at most 67108864")
	_, err = strictyaml.Parse("f", "", append(make([]byte, strictyaml.MaxBytes-1), 0xff))
	compare(t, err, fmt.Sprintf("f:1:%d: is not UTF-8 text", strictyaml.MaxBytes))
}

func TestTextsFromOutside(t *testing.T) {
	var into settings
	for _, document := range []*strictyaml.Document{
		strictyaml.Text("NAME", "name", "null"),
		strictyaml.Text("COUNT", "count", "3"),
		strictyaml.Text("SIZE", "size", "2MiB"),
		strictyaml.Text("ON", "on", "true"),
		strictyaml.Text("USER", "user", "@a:e.org"),
		strictyaml.Texts("SERVERS", "servers", "a.org, b.org"),
	} {
		if err := document.Decode(&into); err != nil {
			t.Error(err)
		}
	}
	got := fmt.Sprint(into.Name, into.Count, into.Size, into.On, into.User, into.Servers)
	if want := "null3 2097152 true @a:e.org [a.org b.org]"; got != want {
		t.Errorf("Decode of texts = %s, want %s", got, want)
	}
}

func TestFaultsOfTextsNameTheirSource(t *testing.T) {
	var into settings
	compare(t, strictyaml.Text("COUNT", "count", "").Decode(&into), `COUNT: count is "": want a whole number`)
	compare(t, strictyaml.Texts("SERVERS", "servers", "a.org,").Decode(&into), `SERVERS: servers[1]: invalid server name "": the host is empty`)
}

func TestLocate(t *testing.T) {
	file := parse(t, "streams:\n  updates: {max_age: 1s}\nroutes:\n  - users: [a]\n  - users:\n      - b\n      - c\n")
	variable := strictyaml.Text("VARIABLE", "streams.replicas", "2")
	tests := []struct{ path, want string }{
		{"streams.updates.max_age", "f:2:22"},
		{"streams.updates.missing", "f:2:12"},
		{"streams.replicas", "VARIABLE"},
		{"streams.replicas2", "f:2:3"},
		{"routes[1].users[1]", "f:7:9"},
		{"routes[1].users[9]", "f:6:7"},
		{"routes[0].users[0].deeper", "f:4:13"},
		{"routes[1].users[2]", "f:6:7"},
		{"routes.users", "f:4:3"},
		{"streams[0]", "f:2:3"},
		{"nowhere", "f:1:1"},
		{"", "f:1:1"},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			err := strictyaml.Locate(&fault.Field{Path: tt.path, Value: 1, Bound: "2"}, file, variable)
			if got, _, _ := strings.Cut(err.Error(), ": "); got != tt.want {
				t.Errorf("Locate(%q) says %q, want %q", tt.path, err, tt.want)
			}
		})
	}
}

func TestPositionLooksBehindAliases(t *testing.T) {
	var node yaml.Node
	if err := yaml.Load([]byte("a: &a {b: 1}\nc: *a\n"), &node); err != nil {
		t.Fatal(err)
	}
	if line, column := strictyaml.Position(node.Content[0], "c.b"); line != 1 || column != 11 {
		t.Errorf("Position(c.b) = %d:%d, want 1:11", line, column)
	}
	if line, column := strictyaml.Position(nil, "a"); line != 0 || column != 0 {
		t.Errorf("Position of nil = %d:%d, want 0:0", line, column)
	}
}

func TestLocateKeepsOtherErrors(t *testing.T) {
	err := strictyaml.Locate(errors.Join(io.EOF, strictyaml.Under("a", io.ErrNoProgress)), parse(t, "a: 1"))
	compare(t, err, "f:1:1: EOF\nf:1:4: a: "+io.ErrNoProgress.Error())
}

func TestLimit(t *testing.T) {
	var errs []error
	for i := range strictyaml.MaxFaults + 23 {
		errs = append(errs, &strictyaml.Fault{File: "f", Line: i + 1, Column: 1, Path: "a", Message: "is wrong"})
	}
	lines := strings.Split(strictyaml.Limit(errors.Join(errs...)).Error(), "\n")
	if last := lines[len(lines)-1]; len(lines) != strictyaml.MaxFaults+1 || last != "f: has 23 more faults" {
		t.Errorf("Limit gives %d lines, the last %q, want %d and how many more", len(lines), last, strictyaml.MaxFaults+1)
	}
	compare(t, strictyaml.Limit(errors.Join(errs[:strictyaml.MaxFaults]...)), strings.Join(lines[:strictyaml.MaxFaults], "\n"))
	compare(t, strictyaml.Limit(errs[0]), "f:1:1: a is wrong")
	compare(t, strictyaml.Limit(nil), "")
}

// Faults are ordered by their places, and stay together by file.
func TestJoinSorts(t *testing.T) {
	at := func(file string, line, column int) error {
		return &strictyaml.Fault{File: file, Line: line, Column: column, Path: fmt.Sprintf("%s%d%d", file, line, column), Message: "is wrong"}
	}
	err := strictyaml.Join(errors.Join(at("b", 9, 1), at("a", 2, 1), at("b", 3, 7)), errors.Join(at("a", 1, 1), at("b", 3, 2)))
	compare(t, err, "b:3:2: b32 is wrong\nb:3:7: b37 is wrong\nb:9:1: b91 is wrong\na:1:1: a11 is wrong\na:2:1: a21 is wrong")
}

func TestClosest(t *testing.T) {
	known := []string{"replicas", "storage", "max_age", "url", strings.Repeat("b", 128), "near", "nearest"}
	tests := []struct{ word, want string }{
		{"replica", "replicas"},
		{"REPLICAS", "replicas"},
		{"repilcas", "replicas"},
		{"storge", "storage"},
		{"maxage", "max_age"},
		{"ulr", "url"},
		{"x", ""},
		{"max_agee", "max_age"},
		{"ur", "url"},
		{"ab", ""},
		{"storageee", "storage"},
		{"storageeee", ""},
		{"entirely", ""},
		{strings.Repeat("a", 1<<20), ""},
		{strings.Repeat("b", 127) + "c", strings.Repeat("b", 128)}, // as long as is compared
		{strings.Repeat("b", 128) + "c", ""},
		{"nearer", "nearest"},
		{"neare", "near"},
	}
	for _, tt := range tests {
		if got := strictyaml.Closest(tt.word, known); got != tt.want {
			t.Errorf("Closest(%.20q) = %q, want %q", tt.word, got, tt.want)
		}
	}
}

func TestLeaves(t *testing.T) {
	var got []string
	for _, leaf := range strictyaml.Leaves(reflect.TypeFor[settings]()) {
		got = append(got, fmt.Sprintf("%s:%t", leaf.Path, leaf.IsText))
	}
	want := "note:true name:true mode:true small:true count:true size:true max_bytes:true port:true ratio:true on:true wait:true " +
		"user:true servers:true nested.deep:false limits:false maybe:false networks:true channel:true raw:false"
	if strings.Join(got, " ") != want {
		t.Errorf("Leaves = %v, want %s", got, want)
	}
}

func FuzzParseAndDecode(f *testing.F) {
	for _, seed := range []string{"", "name: x", "a: &a [*a]", "<<: 1", "? {a: b}\n: c", "nested: {deep: [{value: 1}]}", "size: 3KiB", "user: \"@a:b\""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		document, err := strictyaml.Parse("f", "", data)
		if err != nil {
			return
		}
		var into settings
		for _, found := range strictyaml.Faults(document.Decode(&into)) {
			if found.File != "f" || found.Message == "" || strings.ContainsAny(found.Path, "\n\r") {
				t.Errorf("Decode(%q) has the fault %+v, want file, message and a path of one line", data, found)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, routes := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("routes=%d", routes), func(b *testing.B) {
			text := []byte("nested:\n  deep:\n" + strings.Repeat("    - {value: 1}\n", routes))
			document, err := strictyaml.Parse("f", "", text)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				var into settings
				if err := document.Decode(&into); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
