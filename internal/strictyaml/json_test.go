package strictyaml_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/presence-router/presence-router/internal/strictyaml"
	"github.com/presence-router/presence-router/routing/presence"
)

// JSON is read apart from YAML: the trees are the same, places included.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":[]}`, "\r\n {\t\"a\" :\n [1, -2.5e3,true , false,null,{} ,[\"é\",\"b\"]],\n\"c\":{\"d\":18446744073709551616}}\n",
		`{"a":"b\\\"\n\/","a":0,"<<":"null","b":18446744073709551615,"c":-0,"d":-9223372036854775809,"e":1E5}`, `{"a":"\u0041"}`,
		`{"a":1} {}`, `{"a"}`, `["a"]`, `{"é😀":[[[["x"],"y"],"z"],"é"],"q":1}`, `{"a":[{"b":[{"c":["d"]},{"c":["e"]}]},{"f":1}]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var want yaml.Node
		if !json.Valid([]byte(text)) || yaml.Load([]byte(text), &want) != nil || len(want.Content) == 0 {
			return
		}
		got := struct {
			All *yaml.Node `yaml:"all"`
		}{}
		document, err := strictyaml.Parse("f", "all", []byte(text))
		if err != nil {
			return // a second document, or none
		}
		if err := document.Decode(&got); err != nil {
			t.Fatalf("Decode(%q): %v", text, err)
		}
		compareTrees(t, text, "", got.All, want.Content[0])
	})
}

func compareTrees(t *testing.T, text, path string, got, want *yaml.Node) {
	t.Helper()
	if got.Kind != want.Kind || got.Tag != want.Tag || got.Style != want.Style || got.Value != want.Value ||
		got.Line != want.Line || got.Column != want.Column || len(got.Content) != len(want.Content) {
		t.Fatalf("%s of %q is %+v, want %+v", path, text, got, want)
	}
	for i := range got.Content {
		compareTrees(t, text, path+"[]", got.Content[i], want.Content[i])
	}
}

func TestJSONOfOneLineHasPlaces(t *testing.T) {
	t.Parallel()
	text := `{"nested":{"deep":[` + strings.Repeat(`{"value":1},`, 1000) + `{"valeu":2}]},"name":"é","count":"x"}`
	var into settings
	compare(t, strictyaml.Join(parse(t, text).Decode(&into)), "f:1:12021: nested.deep[1000].valeu is not a known key: did you mean value?\n"+
		`f:1:12053: count is "x": want a whole number, without quotes`)
	if len(into.Nested.Deep) != 1001 || into.Nested.Deep[999].Value != 1 || into.Name != "é" {
		t.Errorf("Decode gives %d values and the name %q, want 1001 and é", len(into.Nested.Deep), into.Name)
	}
}

// Long lists in JSON stay text until somebody asks for their items. Nobody notices: a
// document says the same if it is YAML because of its first line.
func TestLongListsInJSON(t *testing.T) {
	t.Parallel()
	const many = 4096
	tests := []struct{ name, text string }{
		{"no fault", `{"servers":["a.org"` + strings.Repeat(`,"b.org"`, many) + `]}`},
		{"as many nodes as are kept", `{"servers":["a.org"` + strings.Repeat(`,"b.org"`, many-1) + ` , "x y"]}`},
		{"faults within and behind", `{"servers" : [ "é` + strings.Repeat("\",\n \"b.org\\\"", many) + `" ]` + "\n" + `, "count": "x", "nam": 1}`},
		{"lists in lists", `{"tree": [[]` + strings.Repeat(`, [[], {"]": "}\"["}]`, many) + `,[3]], "on": 1}`},
		{"in a list of few", `{"tree": [[], [1` + strings.Repeat(",\t[7]", many) + `], "é", 1], "on": 1}`},
		{"a list for a text", `{"name": [1` + strings.Repeat(",2", many) + `]}`},
		{"the key twice", `{"servers":["a.org"` + strings.Repeat(`,"b.org"`, many) + `],"servers":[]}`},
		{"null in it", `{"servers":[null` + strings.Repeat(`,"b.org"`, many) + `,true]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			type config struct {
				Servers []presence.ServerName `yaml:"servers"`
				Count   int                   `yaml:"count"`
				Name    string                `yaml:"name"`
				Tree    tree                  `yaml:"tree"`
			}
			var got, want config
			err := parse(t, "\n"+tt.text).Decode(&got)
			asYAML := "---\n" + tt.text
			compare(t, err, textOf(parse(t, asYAML).Decode(&want)))
			if !reflect.DeepEqual(got, want) {
				t.Errorf("Decode of JSON and of YAML differ: %d and %d servers, %d and %d in the tree",
					len(got.Servers), len(want.Servers), len(got.Tree), len(want.Tree))
			}
		})
	}
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestItemsOfLongLists(t *testing.T) {
	t.Parallel()
	for _, items := range []int{0, 1, 2, 4096, 4097, 5000} {
		text := `{"raw": [` + strings.TrimSuffix(strings.Repeat("[\"a,\"], ", items), ", ") + " ]}"
		var into settings
		if err := parse(t, text).Decode(&into); err != nil {
			t.Fatal(err)
		}
		last, column := -1, 0
		for i, item := range strictyaml.Items(into.Raw) {
			last, column = i, item.Column
		}
		wantColumn := 0
		if items > 0 {
			wantColumn = 10 + 8*(items-1)
		}
		if !strictyaml.IsList(into.Raw) || strictyaml.Len(into.Raw) != items || last != items-1 || column != wantColumn {
			t.Errorf("a list of %d has the length %d, its last item is %d in column %d, want column %d",
				items, strictyaml.Len(into.Raw), last, column, wantColumn)
		}
		for i := range strictyaml.Items(into.Raw) {
			if i > 0 {
				t.Errorf("Items goes on to %d when nobody wants more", i)
			}
			break
		}
		if items == 0 {
			continue
		}
		if line, at := strictyaml.Position(into.Raw, fmt.Sprintf("[%d]", items-1)); line != 1 || at != wantColumn {
			t.Errorf("Position of the last of %d is %d:%d, want 1:%d", items, line, at, wantColumn)
		}
		if strictyaml.Len(into.Raw) != items {
			t.Errorf("after Position, a list of %d has the length %d", items, strictyaml.Len(into.Raw))
		}
	}
	if strictyaml.IsList(&yaml.Node{Kind: yaml.MappingNode}) {
		t.Error("a mapping is a list")
	}
}

// What does not ask for items must not take a long list for an empty one. A list of
// 4,096 nodes is not long.
func TestTheLibraryDoesNotTakeALongListForAnEmptyOne(t *testing.T) {
	t.Parallel()
	for items, isLong := range map[int]bool{4096: false, 4097: true} {
		var into settings
		if err := parse(t, `{"raw":[`+strings.TrimSuffix(strings.Repeat(`"b",`, items), ",")+`]}`).Decode(&into); err != nil {
			t.Fatal(err)
		}
		var list []string
		if err := into.Raw.Load(&list); (err != nil) != isLong || !isLong && len(list) != items {
			t.Errorf("the library loads a list of %d as %d items, %v, want an error: %t", items, len(list), err, isLong)
		}
	}
}
