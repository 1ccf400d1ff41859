package strictyaml_test

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/internal/strictyaml"
	"github.com/presence-router/presence-router/routing/presence"
)

type mode string

type Shared struct {
	Note string `yaml:"note"`
}

type settings struct {
	Shared

	Name    string                `yaml:"name"`
	Mode    mode                  `yaml:"mode"`
	Small   int8                  `yaml:"small"`
	Count   int                   `yaml:"count"`
	Size    int64                 `yaml:"size"`
	Bytes   int                   `yaml:"max_bytes"`
	Port    uint16                `yaml:"port"`
	Ratio   float64               `yaml:"ratio"`
	On      bool                  `yaml:"on"`
	Wait    time.Duration         `yaml:"wait"`
	User    presence.UserID       `yaml:"user"`
	Servers []presence.ServerName `yaml:"servers"`
	Nested  struct {
		Deep []struct {
			Value int `yaml:"value"`
		} `yaml:"deep"`
	} `yaml:"nested"`
	Limits map[presence.UserID]int `yaml:"limits"`
	Maybe  *int                    `yaml:"maybe"`
	Nets   []netip.Prefix          `yaml:"networks"`
	Chan   chan int                `yaml:"channel"`
	Raw    *yaml.Node              `yaml:"raw"`
	Hidden string                  `yaml:"-"`

	invalid error
}

const allKeys = "note, name, mode, small, count, size, max_bytes, port, ratio, on, wait, user, servers, nested, limits, maybe, networks, channel, raw"

func (s *settings) Validate() error { return s.invalid }

func TestDecodeSetsEveryKind(t *testing.T) {
	got := decode(t, `
note: from the embedded struct
name: "12"
mode: fast
small: -128
count: 7
size: 8GiB
max_bytes: 64KiB
port: 65535
ratio: 0.5
on: true
wait: 1m30s
user: "@bob:example.com"
servers: [example.com, "[::1]:8448"]
nested: {deep: [{value: 1}, {value: 2}]}
limits: {"@a:e.org": 1}
maybe: 3
raw: {any: thing}
`)
	three := 3
	want := settings{
		Shared: Shared{Note: "from the embedded struct"},
		Name:   "12", Mode: "fast", Small: -128, Count: 7, Size: 8 << 30, Bytes: 64 << 10, Port: 65535, Ratio: 0.5, On: true,
		Wait:    90 * time.Second,
		User:    presence.MustUserID("@bob:example.com"),
		Servers: []presence.ServerName{presence.MustServerName("example.com"), presence.MustServerName("[::1]:8448")},
		Limits:  map[presence.UserID]int{presence.MustUserID("@a:e.org"): 1},
		Maybe:   &three,
	}
	want.Nested.Deep = append(want.Nested.Deep, struct {
		Value int `yaml:"value"`
	}{1}, struct {
		Value int `yaml:"value"`
	}{2})
	if got.Raw == nil || got.Raw.Kind != yaml.MappingNode {
		t.Errorf("raw is %+v, want a mapping node", got.Raw)
	}
	got.Raw = nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Decode = %+v, want %+v", got, want)
	}
}

func TestDecodeKeepsWhatIsNotNamed(t *testing.T) {
	into := settings{Name: "before", Count: 1}
	if err := parse(t, "count: 2").Decode(&into); err != nil {
		t.Fatalf("Decode: %v", err)
	}
	if into.Name != "before" || into.Count != 2 {
		t.Errorf("Decode gives name %q and count %d, want before and 2", into.Name, into.Count)
	}
}

func TestDecodeFollowsAliases(t *testing.T) {
	got := decode(t, "servers: &s [a.org, b.org]\nraw: *s\nlimits: {\"@a:e.org\": &n 4}\ncount: *n\n")
	if got.Count != 4 || got.Raw.Kind != yaml.AliasNode {
		t.Errorf("count is %d and raw of kind %v, want 4 and an alias", got.Count, got.Raw.Kind)
	}
}

func TestDecodeFaults(t *testing.T) {
	tests := []struct {
		name string
		yaml string
		want string
	}{
		{"unknown key, near", "nam: x", "f:1:1: nam is not a known key: did you mean name?"},
		{"unknown key, far", "nested: {elsewhere: 1}", "f:1:10: nested.elsewhere is not a known key: want one of deep"},
		{"skipped field", "Hidden: x\n", "f:1:1: Hidden is not a known key: want one of " + allKeys},
		{"duplicate key", "name: a\nmode: b\nname: c", "f:3:1: name appears twice: the first is in line 1"},
		{"root is a list", "- a", "f:1:1: is a list: want a mapping with the keys " + allKeys},
		{"root is a word", "abc", "f:1:1: is a single value: want a mapping with the keys " + allKeys},
		{"root is null", "~", "f:1:1: is empty: give it a value or leave the key out"},
		{"number for text", "name: 12", "f:1:7: name is 12: want text: put it in quotes"},
		{"list for text", "name: [a]", "f:1:7: name is a list: want text"},
		{"null", "name:\ncount: ~", "f:1:6: name is empty: give it a value or leave the key out\n" +
			"f:2:8: count is empty: give it a value or leave the key out"},
		{"quoted number", "count: '3'", `f:1:8: count is "3": want a whole number, without quotes`},
		{"word for a number", "count: three", `f:1:8: count is "three": want a whole number`},
		{"fraction", "count: 1.5", "f:1:8: count is 1.5: want a whole number"},
		{"hexadecimal", "count: 0x10", "f:1:8: count is 0x10: want a whole number"},
		{"number with unit where none is", "count: 3KiB", `f:1:8: count is "3KiB": want a whole number`},
		{"too small a number", "small: -129", "f:1:8: small is -129: want -128 to 127"},
		{"beyond 64 bits", "count: 99999999999999999999", "f:1:8: count is 99999999999999999999: want -9223372036854775808 to 9223372036854775807"},
		{"negative unsigned", "port: -1", "f:1:7: port is -1: want a whole number, 0 or more"},
		{"too large unsigned", "port: 65536", "f:1:7: port is 65536: want 0 to 65535"},
		{"largest of its type", "small: 127", ""},
		{"more than that", "small: 128", "f:1:8: small is 128: want -128 to 127"},
		{"infinite", "ratio: .inf", "f:1:8: ratio is .inf: want a number"},
		{"quoted false", `on: "false"`, `f:1:5: on is "false": want true or false, without quotes`},
		{"word for a mapping", "limits: 5", "f:1:9: limits is a single value: want a mapping"},
		{"no network", "networks: [192.0.2.1]", `f:1:12: networks[0] is "192.0.2.1": want a network such as 192.0.2.0/24, or 192.0.2.1/32 for one address`},
		{"what nobody can configure", "channel: 1", "f:1:10: channel cannot be configured: it is of Go type chan int"},
		{"duplicate of many", manyKeys(40) + "k3: x", "f:41:1: k3 appears twice: the first is in line 4"},
		{"duplicate of many, late", manyKeys(40) + "k30: x", "f:41:1: k30 appears twice: the first is in line 31"},
		{"long", "count: " + strings.Repeat("x", 200), `f:1:8: count is "` + strings.Repeat("x", 200) + `": want a whole number`},
		{"longer", "count: " + strings.Repeat("x", 201), `f:1:8: count is "` + strings.Repeat("x", 200) + `…": want a whole number`},
		{"decimal size", "size: 64KB", `f:1:7: size is "64KB": want a whole number of bytes, or a size such as 64KiB, 512MiB or 8GiB`},
		{"size without number", "max_bytes: KiB", `f:1:12: max_bytes is "KiB": want a whole number of bytes, or a size such as 64KiB, 512MiB or 8GiB`},
		{"size overflows", "size: 9999999999GiB", `f:1:7: size is "9999999999GiB": want -9223372036854775808 to 9223372036854775807`},
		{"not a number", "ratio: .nan", "f:1:8: ratio is .nan: want a number"},
		{"yes is not true", "on: yes", `f:1:5: on is "yes": want true or false`},
		{"quoted bool", `on: "true"`, `f:1:5: on is "true": want true or false, without quotes`},
		{"duration without unit", "wait: 30", "f:1:7: wait is 30: want a duration with its unit, such as 500ms, 5s, 15m or 24h"},
		{"quoted duration without unit", "wait: '0'", `f:1:7: wait is "0": want a duration with its unit, such as 500ms, 5s, 15m or 24h`},
		{"zero without unit", "wait: -0", "f:1:7: wait is -0: want a duration with its unit, such as 500ms, 5s, 15m or 24h"},
		{"unit that Go does not have", "wait: 7d", `f:1:7: wait is "7d": want a duration with its unit, such as 500ms, 5s, 15m or 24h`},
		{"user ID", "user: bob", `f:1:7: user: invalid user ID "bob": does not start with @`},
		{"mapping for a user ID", "user: {a: b}", "f:1:7: user is a mapping: want text"},
		{"one of a list", "servers:\n  - a.org\n  - b c\n  - '[x'", `f:3:5: servers[1]: invalid server name "b c": byte ' ' is not allowed in a host` +
			"\n" + `f:4:5: servers[2]: invalid server name "[x": the IPv6 address has no closing bracket`},
		{"word for a list", "servers: a.org", "f:1:10: servers is a single value: want a list"},
		{"deep", "nested: {deep: [{value: 1}, {value: x, valeu: 1}]}", `f:1:37: nested.deep[1].value is "x": want a whole number` +
			"\nf:1:40: nested.deep[1].valeu is not a known key: did you mean value?"},
		{"key of a map", "limits: {bob: 1}", `f:1:10: limits.bob: invalid user ID "bob": does not start with @`},
		{"merge key", "<<: {name: a}", "f:1:1: << is a merge key, which is not supported: write the keys out"},
		{"list as a key", "? [a]\n: b", `f:1:3: "" is a list as a key: want a plain word`},
		{"alias of itself", "servers: &a [*a]", "f:1:10: servers[0] is a list: want text"},
		{"password in a wrong place", "count: nats://joe:secret@host", `f:1:8: count is "nats://***@host": want a whole number`},
		{"key that would garble the terminal", `"a\nb": 1`, `f:1:1: "a\nb" is not a known key: want one of ` + allKeys},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var into settings
			err := parse(t, tt.yaml).Decode(&into)
			if strings.HasPrefix(tt.name, "duplicate of many") {
				err = parse(t, tt.yaml).Decode(&map[string]string{})
			}
			compare(t, err, tt.want)
		})
	}
}

// manyKeys returns lines of n keys.
func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: x\n", i)
	}
	return b.String()
}

func TestFalseReplacesTrue(t *testing.T) {
	into := settings{On: true}
	if err := parse(t, "on: FALSE").Decode(&into); err != nil || into.On {
		t.Errorf("Decode of false gives %t, %v, want false", into.On, err)
	}
}

func TestHideUser(t *testing.T) {
	for text, want := range map[string]string{ //nolint:gosec // Nobody has that password.
		"nats://joe:secret@host":            "nats://***@host",
		"nats://@host":                      "nats://***@host",
		"nats://a@b,nats://c:d@e":           "nats://***@b,nats://***@e",
		"joe@host, without a scheme before": "joe@host, without a scheme before",
	} {
		if got := strictyaml.HideUser(text); got != want {
			t.Errorf("HideUser(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestDecodeBoundsAliases(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [[],[],[],[],[],[],[],[],[],[]]\n")
	for level := 1; level < 10; level++ {
		below := fmt.Sprintf("*a%d", level-1)
		fmt.Fprintf(&b, "a%d: &a%d [%s%s]\n", level, level, strings.Repeat(below+",", 9), below)
	}
	var into map[string]tree
	compare(t, parse(t, b.String()).Decode(&into), "f:1:13: aliases stand for more than 262144 values: write them out")
}

// tree is a list of lists, as deep as the YAML goes.
type tree []tree

func TestDecodeBoundsDepth(t *testing.T) {
	tests := []struct{ name, yaml, want string }{
		{"alias of itself", "a: &a [*a, *a, []]", "f:1:8: a[0][0] is an alias of a value around it\n" +
			"f:1:8: a[1][0] is an alias of a value around it\n" +
			"f:1:12: a[0][1] is an alias of a value around it\n" +
			"f:1:12: a[1][1] is an alias of a value around it"},
		{"brackets", "a: " + strings.Repeat("[", 1000) + strings.Repeat("]", 1000), "f:1:68: a" + strings.Repeat("[0]", 64) + " is nested deeper than 64 levels"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var into map[string]tree
			compare(t, strictyaml.Join(parse(t, tt.yaml).Decode(&into)), tt.want)
		})
	}
}

func TestDecodeStopsAtManyFaults(t *testing.T) {
	var into settings
	err := parse(t, "servers:\n"+strings.Repeat("- 1\n", 20_000)).Decode(&into)
	faults := strictyaml.Faults(err)
	last := faults[len(faults)-1].Error()
	if want := "f:10002:3: has more than 10000 faults: the rest is not looked at"; len(faults) != 10_001 || last != want {
		t.Errorf("Decode gives %d faults, the last %q, want 10001 and %q", len(faults), last, want)
	}
}

func TestLoadReportsDecodingAndValidationTogether(t *testing.T) {
	into := settings{invalid: errors.Join(
		&fault.Field{Path: "count", Value: 0, Bound: "1 or more"},        // could not be decoded: shadowed
		&fault.Field{Path: "servers", Bound: "at least one"},             // holds one that could not be decoded
		&fault.Field{Path: "nested.deep[1].value", Value: 9, Bound: "8"}, // below one that was decoded
		&fault.Field{Path: "mode", Bound: "a mode"},                      // not in the file
	)}
	node := new(yaml.Node)
	if err := yaml.Load([]byte("count: x\nservers: [a b]\nnested:\n  deep: [{value: 8}, {value: 9}]\n"), node); err != nil {
		t.Fatal(err)
	}
	compare(t, strictyaml.Load(node.Content[0], &into), "1:1: mode is missing: want a mode\n"+
		`1:8: count is "x": want a whole number`+"\n"+
		`2:11: servers[0]: invalid server name "a b": byte ' ' is not allowed in a host`+"\n"+
		"4:30: nested.deep[1].value is 9: want 8")
}

func TestLoadOfNothingOnlyValidates(t *testing.T) {
	into := settings{invalid: &fault.Field{Path: "mode", Bound: "a mode"}}
	compare(t, strictyaml.Load(nil, &into), "mode is missing: want a mode")
	compare(t, strictyaml.Load(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: 4, Column: 9}, &into), "4:9: mode is missing: want a mode")
}

func decode(t *testing.T, text string) settings {
	t.Helper()
	var into settings
	if err := parse(t, text).Decode(&into); err != nil {
		t.Fatalf("Decode: %v", err)
	}
	return into
}

func parse(t *testing.T, text string) *strictyaml.Document {
	t.Helper()
	document, err := strictyaml.Parse("f", "", []byte(text))
	if err != nil {
		t.Fatalf("Parse(%q): %v", text, err)
	}
	return document
}

func compare(t *testing.T, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("error is\n%s\nwant\n%s", got, want)
	}
}
