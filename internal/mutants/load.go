package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
)

// pack is a package whose code is changed.
type pack struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Export     string // file with what it exports
	DepOnly    bool   // nobody asked for it
	Module     *struct{ Dir string }

	files   []*file // that are changed
	mutants []*mutant
	name    string
}

// file is one of its files.
type file struct {
	path   string // absolute
	name   string // in the module
	source []byte
	syntax *ast.File

	changed []byte // source with all mutants in it
}

// load returns the packages that patterns name, with mutants of the files that only
// matches.
func load(ctx context.Context, only *regexp.Regexp, patterns []string) ([]*pack, error) {
	args := append([]string{"list", "-export", "-deps", "-json=ImportPath,Dir,GoFiles,Export,DepOnly,Module"}, patterns...)
	output, err := exec.CommandContext(ctx, "go", args...).Output() //nolint:gosec // The patterns come from who runs this.
	if err != nil {
		return nil, fmt.Errorf("go list: %w%s", err, stderrOf(err))
	}
	var packages []*pack
	exports := make(map[string]string)
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		p := new(pack)
		err := decoder.Decode(p)
		if errors.Is(err, io.EOF) {
			return packages, nil
		}
		if err != nil {
			return nil, fmt.Errorf("decode what go list says: %w", err)
		}
		exports[p.ImportPath] = p.Export
		if p.DepOnly {
			continue
		}
		if err := p.parse(exports, only); err != nil {
			return nil, fmt.Errorf("%s: %w", p.ImportPath, err)
		}
		packages = append(packages, p)
	}
}

func stderrOf(err error) string {
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return "\n" + string(failed.Stderr)
	}
	return ""
}

// parse reads the files of p. Those it imports came before it.
func (p *pack) parse(exports map[string]string, only *regexp.Regexp) error {
	set := token.NewFileSet()
	var syntax []*ast.File
	for _, name := range p.GoFiles {
		f := &file{path: filepath.Join(p.Dir, name)}
		var err error
		if f.source, err = os.ReadFile(f.path); err != nil {
			return err
		}
		if f.name, err = filepath.Rel(p.Module.Dir, f.path); err != nil {
			return err
		}
		if f.syntax, err = parser.ParseFile(set, f.path, f.source, parser.SkipObjectResolution); err != nil {
			return err
		}
		p.files, syntax = append(p.files, f), append(syntax, f.syntax)
	}
	info := &types.Info{Types: make(map[ast.Expr]types.TypeAndValue), Uses: make(map[*ast.Ident]types.Object)}
	config := types.Config{Importer: importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })}
	checked, err := config.Check(p.ImportPath, set, syntax, info)
	if err != nil {
		return err
	}
	c := &changer{set: set, info: info, pkg: checked}
	p.files = slices.DeleteFunc(p.files, func(f *file) bool { return !only.MatchString(f.name) })
	for _, f := range p.files {
		c.change(f)
	}
	p.mutants, p.name = c.mutants, checked.Name()
	return nil
}
