package strictyaml_test

import (
	"encoding/json"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/presence-router/presence-router/internal/strictyaml"
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
