package static_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/modules/static"
	"github.com/presence-router/presence-router/routing/presence"
)

func TestRoutesOfAFile(t *testing.T) {
	t.Parallel()
	file := routesFile(t, `{"recipients":["@a:e.org","@b:e.org"],"users":["@x:e.org"]}`+"\n"+
		" { \"users\" : [ \"@y:e.org\" ] ,\t\"recipients\": [\"@\\u0061:e.org\", \"@jö\\/\\\"n:e.org\"] } \r\n"+
		`{"recipients":["@x:e.org"],"users":["@x:e.org"]}`) // no line break at the end
	alone, err := static.New(static.Config{RoutesFile: file})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	beside, err := static.New(static.Config{RoutesFile: file, Routes: []static.Route{route("@c:e.org", "@x:e.org")}})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	tests := []struct {
		name   string
		router *static.Router
		want   string
	}{
		{"alone", alone, `map[@a:e.org:@x:e.org @y:e.org @b:e.org:@x:e.org @jö/"n:e.org:@y:e.org @x:e.org:@x:e.org]`},
		{"beside routes", beside, `map[@a:e.org:@x:e.org @y:e.org @b:e.org:@x:e.org @c:e.org:@x:e.org @jö/"n:e.org:@y:e.org @x:e.org:@x:e.org]`},
	}
	for _, tt := range tests {
		given, err := tt.router.UsersForStates(t.Context(), statesOf("@x:e.org @y:e.org"))
		if got := fmt.Sprint(names(given)); err != nil || got != tt.want {
			t.Errorf("%s: UsersForStates = %s, %v, want %s", tt.name, got, err, tt.want)
		}
	}
}

func TestFaultsOfAFile(t *testing.T) {
	t.Parallel()
	const good = `{"recipients":["@a:e.org"],"users":["@b:e.org"]}`
	const sample = `want {"recipients": ["@alice:example.com"], "users": ["@bob:example.com"]} or the like`
	tests := []struct{ name, text, want string }{
		{"no lines", "", ""},
		{"empty line", good + "\n\n" + good, "F:2:1: is no route: " + sample},
		{"YAML", "- recipients: []", "F:1:1: is no route: " + sample},
		{"a list", "  [" + good + "]", "F:1:3: is no route: " + sample},
		{"all faults of all lines", `{"recipients":["a:e.org","@b:e.org","@c"],"users":[]}` + "\n" + good + "\n" + `{"users":["é","b"]}`, "" +
			`F:1:16: recipients[0]: invalid user ID "a:e.org": does not start with @` + "\n" +
			`F:1:37: recipients[2]: invalid user ID "@c": has no colon before the server name` + "\n" +
			`F:1:51: users is []: want at least one user ID` + "\n" +
			`F:3:1: recipients is missing: want at least one user ID` + "\n" +
			`F:3:11: users[0]: invalid user ID "é": does not start with @` + "\n" +
			`F:3:15: users[1]: invalid user ID "b": does not start with @`},
		{"empty", "{}", "F:1:1: recipients is missing: want at least one user ID\nF:1:1: users is missing: want at least one user ID"},
		{"near a key", `{"recipient":["@a:e.org"]}`, `F:1:2: "recipient" is not a known key: did you mean recipients?`},
		{"letter case", `{"recipients":["@a:e.org"],"Users":["@b:e.org"]}`, `F:1:28: "Users" is not a known key: did you mean users?`},
		{"far from a key", `{"é":1}`, `F:1:2: "é" is not a known key: want recipients and users`},
		{"twice", `{"recipients":["@é:e.org"],"recipients":["@b:e.org"]}`, "F:1:28: recipients appears twice"},
		{"no list", `{"recipients": "@a:e.org"}`, "F:1:16: recipients is no list: want user IDs in [ and ]"},
		{"null", `{"recipients":null}`, "F:1:15: recipients is no list: want user IDs in [ and ]"},
		{"number for a user ID", `{"recipients":["@a:e.org", 7]}`, `F:1:28: recipients[1] is no text: want a user ID in quotes`},
		{"key without quotes", `{recipients:["@a:e.org"]}`, "F:1:2: is no text: want a key in quotes"},
		{"no colon", `{"users"["@a:e.org"]}`, "F:1:9: is not JSON: want :"},
		{"no comma", `{"users":["@a:e.org" "@b:e.org"]}`, "F:1:22: is not JSON: want , or ]"},
		{"no comma between the sides", `{"users":["@a:e.org"] "recipients":[]}`, "F:1:23: is not JSON: want , or }"},
		{"comma at the end", `{"users":["@a:e.org",]}`, "F:1:22: users[1] is no text: want a user ID in quotes"},
		{"cut off in a text", `{"users":["@a:e.or`, `F:1:11: users[0] is not JSON: the text has no closing quote`},
		{"cut off in an escape", `{"users":["@a\`, `F:1:11: users[0] is not JSON: the text has no closing quote`},
		{"cut off in a list", `{"users":["@a:e.org"`, "F:1:21: is not JSON: want , or ]"},
		{"cut off at the end", good[:len(good)-1], "F:1:48: is not JSON: want , or }"},
		{"two routes", good + " " + good, "F:1:50: follows the route: want one route in a line"},
		{"half a character", `{"users":["@\ud83d:e.org"]}`, `F:1:11: users[0] is not JSON: an escape is half a character`},
		{"unknown escape", `{"users":["@\x:e.org"]}`, `F:1:11: users[0] is not JSON: invalid character 'x' in string escape code`},
		{"tab in a text", "{\"users\":[\"@a\t:e.org\"]}", `F:1:11: users[0] is not JSON: invalid character '\t' in string literal`},
		{"not UTF-8", "{\"recipients\":[\"@a:e.org\"],\"users\":[\"@\xff:e.org\"]}", `F:1:37: users[0]: invalid user ID "@\xff:e.org": is not UTF-8, which JSON cannot carry`},
		{"not UTF-8 beside an escape", "{\"users\":[\"@\xff\\n:e.org\"]}", `F:1:11: users[0] is not JSON: a text is not UTF-8`},
		{"mark of UTF-8", "\ufeff" + good, "F:1:1: is no route: " + sample},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := routesFile(t, tt.text)
			got := ""
			if err := (&static.Config{RoutesFile: file}).ReadFile(); err != nil {
				got = strings.ReplaceAll(err.Error(), file, "F")
			}
			if got != tt.want {
				t.Errorf("ReadFile of %s:\n%s\nwant\n%s", tt.text, got, tt.want)
			}
			if _, err := static.New(static.Config{RoutesFile: file}); (err == nil) != (tt.want == "") {
				t.Errorf("New: %v, want an error as ReadFile has it", err)
			}
		})
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "nothing.ndjson")
	err := (&static.Config{RoutesFile: missing}).ReadFile()
	field, ok := errors.AsType[*fault.Field](err)
	if !ok || field.Path != "routes_file" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadFile of a missing file: %v, want a fault of routes_file that is fs.ErrNotExist", err)
	}
	if err := (&static.Config{RoutesFile: t.TempDir()}).ReadFile(); err == nil || !strings.HasPrefix(err.Error(), "routes_file: read ") {
		t.Errorf("ReadFile of a directory: %v, want a fault of routes_file", err)
	}
	if err := (&static.Config{}).ReadFile(); err != nil {
		t.Errorf("ReadFile without a file: %v", err)
	}
}

// A file of anything takes a bounded amount of memory.
func TestAFileIsBounded(t *testing.T) {
	t.Parallel()
	const longest = 16 << 20
	good := `{"recipients":["@a:e.org"],"users":["@b:e.org"]}`
	tests := []struct {
		name, text string
		faults     int
		last       string
	}{
		{"longest line", good + strings.Repeat(" ", longest-1-len(good)) + "\n", 0, ""},
		{"longer line", good + "\n" + strings.Repeat(" ", longest), 1, "F:2:1: is too long a line: want at most 16777216 bytes"},
		{"as many faults as there may be", strings.Repeat("{\n", 10_000), 10_000, "F:10000:2: is no text: want a key in quotes"},
		{"more faults", strings.Repeat("{\n", 10_001), 10_001, "F:10001:1: is not looked at: 0 routes and 10000 faults stand before it, want at most 1073741824 and 10000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := routesFile(t, tt.text)
			faults := fault.Errors((&static.Config{RoutesFile: file}).ReadFile())
			last := ""
			if len(faults) > 0 {
				last = strings.ReplaceAll(faults[len(faults)-1].Error(), file, "F")
			}
			if len(faults) != tt.faults || last != tt.last {
				t.Errorf("ReadFile has %d faults, the last %q, want %d and %q", len(faults), last, tt.faults, tt.last)
			}
		})
	}
}

func TestFileIsReadOnce(t *testing.T) {
	t.Parallel()
	file := routesFile(t, `{"recipients":["@a:e.org"],"users":["@b:e.org"]}`)
	config := static.Config{RoutesFile: file}
	if err := config.ReadFile(); err != nil {
		t.Fatal(err)
	}
	before := config.Files()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := config.ReadFile(); err != nil || !reflect.DeepEqual(config.Files(), before) || len(before) != 1 {
		t.Errorf("ReadFile again: %v, Files() = %x, want none and %x", err, config.Files(), before)
	}
}

func TestUsersAndUndeliverableRoutesOfAFile(t *testing.T) {
	t.Parallel()
	config := static.Config{
		Routes: []static.Route{route("@far:away.org", "@b:e.org"), route("@far:away.org", "@far:away.org")},
		RoutesFile: routesFile(t, `{"recipients":["@a:e.org"],"users":["@b:e.org"]}`+"\n"+
			`{"recipients":["@c:away.org"],"users":["@d:away.org"]}`),
	}
	if err := config.ReadFile(); err != nil {
		t.Fatal(err)
	}
	users := slices.Collect(config.NamedUsers())
	want := "[@far:away.org @b:e.org @far:away.org @far:away.org @a:e.org @b:e.org @c:away.org @d:away.org]"
	if fmt.Sprint(users) != want {
		t.Errorf("NamedUsers = %v, want %s", users, want)
	}
	config.NamedUsers()(func(presence.UserID) bool { return false }) // Whoever has seen enough may stop.
	isLocal := func(user presence.UserID) bool { return user.Server().String() == "e.org" }
	var got []string
	for field := range config.Undeliverable(isLocal) {
		got = append(got, field.Error())
	}
	if want := []string{
		"routes[1]: nobody in it is of server_names, so nothing of it is ever delivered",
		"routes_file: nobody in line 2 is of server_names, so nothing of it is ever delivered",
	}; !slices.Equal(got, want) {
		t.Errorf("Undeliverable = %q, want %q", got, want)
	}
}

// FuzzRoutesFile compares with encoding/json, which accepts more.
func FuzzRoutesFile(f *testing.F) {
	for _, seed := range []string{
		`{"recipients":["@a:e.org"],"users":["@b:e.org"]}`, "{}\n{}", `{"users":["\u0040\ud83d\ude00:e.org"],"recipients":["@a:b"]}`,
		`{"users":[],"users":null}`, "{\"users\":[\"@\xff:a\"", `{"recipients" : [ "@a:b" , "@\\\"\/:[::1]:8448" ] , "users":["@:b"]}` + "\r\n",
	} {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(dir, fmt.Sprintf("%p.ndjson", t))
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.Remove(file) }()
		config := static.Config{RoutesFile: file}
		if err := config.ReadFile(); err != nil {
			for _, found := range fault.Errors(err) {
				if text := found.Error(); !strings.HasPrefix(text, file+":") || strings.ContainsAny(text, "\n\r\x00") {
					t.Errorf("ReadFile of %q: the fault is %q, want one line that begins with the place", data, text)
				}
			}
			return
		}
		var want []presence.UserID
		for line := range bytes.Lines(data) {
			var route struct{ Recipients, Users []presence.UserID }
			decoder := json.NewDecoder(bytes.NewReader(line))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&route); err != nil {
				t.Fatalf("ReadFile takes %q, encoding/json does not: %v", line, err)
			}
			want = append(append(want, route.Recipients...), route.Users...)
		}
		if got := slices.Collect(config.NamedUsers()); !slices.Equal(got, want) {
			t.Errorf("ReadFile of %q = %v, want %v", data, got, want)
		}
	})
}

func routesFile(tb testing.TB, text string) string {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "routes.ndjson")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return file
}
