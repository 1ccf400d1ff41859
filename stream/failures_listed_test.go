package stream_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var warningCall = regexp.MustCompile(`\.(?:Warn|Error)\(\s*"([^"]+)"`)

// Whatever a process warns of stands in a table of failures, and so that a test that is
// named there exists.
func TestWarningsAreDocumented(t *testing.T) {
	t.Parallel()
	var documented []string
	for _, file := range []string{"../docs/operating.md", "../docs/federation.md", "../docs/dendrite.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, table, found := strings.Cut(string(text), "\n## What failures look like\n")
		if !found {
			t.Fatalf("%s has no failures", file)
		}
		table, _, _ = strings.Cut(table, "\n## ")
		for _, words := range inBackticks.FindAllStringSubmatch(table, -1) {
			documented = append(documented, words[1])
		}
	}
	wantTests(t, documented)
	for _, dir := range []string{".", "sender", "source/dendrite", "../cmd/router-worker/internal/operate"} {
		for _, warning := range warnings(t, dir) {
			if !isDocumented(documented, warning) {
				t.Errorf("no table of failures says what %q means, which %s logs", warning, dir)
			}
		}
	}
}

// isDocumented reports whether a message begins with words that are.
func isDocumented(documented []string, message string) bool {
	for _, words := range documented {
		if strings.HasPrefix(message, words) && (words == message || len(words) >= 15) {
			return true
		}
	}
	return false
}

// warnings returns the constant messages that the package in dir logs as warnings or
// errors.
func warnings(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s holds no source: %v", dir, err)
	}
	var found []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range warningCall.FindAllStringSubmatch(string(text), -1) {
			found = append(found, call[1])
		}
	}
	if len(found) == 0 {
		t.Errorf("%s logs no warning, want some", dir)
	}
	return found
}

// wantTests checks that the tests among names exist.
func wantTests(t *testing.T, names []string) {
	t.Helper()
	var source strings.Builder
	for _, dir := range []string{".", "sender", "source/dendrite", "../cmd/router-worker", "../cmd/router-worker/internal/operate", "../integration"} {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(text)
		}
	}
	isTest := regexp.MustCompile(`^Test[A-Z]\w+$`)
	for _, name := range names {
		if isTest.MatchString(name) && !strings.Contains(source.String(), "\nfunc "+name+"(") {
			t.Errorf("the tables of failures name %s, want a test that exists", name)
		}
	}
}
