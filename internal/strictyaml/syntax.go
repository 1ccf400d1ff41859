package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

func checkText(name, path string, data []byte) error {
	if len(data) > MaxBytes {
		return &Fault{File: name, Path: path, Message: fmt.Sprintf("is %d bytes long: want at most %d", len(data), MaxBytes)}
	}
	if !utf8.Valid(data) {
		line, column := firstInvalid(data)
		return &Fault{File: name, Line: line, Column: column, Path: path, Message: "is not UTF-8 text"}
	}
	return nil
}

func firstInvalid(data []byte) (line, column int) {
	line, column = 1, 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		if r == utf8.RuneError && size == 1 {
			break
		}
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
		data = data[size:]
	}
	return line, column
}

// errNoDocument and secondDocument are how loadOnly tells its own findings from
// syntax errors.
var errNoDocument = errors.New("no document")

type secondDocument struct{ line, column int }

func (s secondDocument) Error() string { return "second document" }

func loadOnly(loader *yaml.Loader) (*yaml.Node, error) {
	var first, second yaml.Node
	err := loader.Load(&first)
	if errors.Is(err, io.EOF) || err == nil && isEmpty(&first) {
		return nil, errNoDocument
	}
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	switch err := loader.Load(&second); {
	case errors.Is(err, io.EOF):
		return first.Content[0], nil
	case err != nil:
		return nil, fmt.Errorf("load: %w", err)
	default:
		return nil, secondDocument{second.Line, second.Column}
	}
}

func isEmpty(document *yaml.Node) bool {
	return len(document.Content) == 0 || document.Content[0].Tag == nullTag && document.Content[0].Value == ""
}

func syntaxFault(name, path string, data []byte, err error) error {
	f := &Fault{File: name, Path: path}
	var syntax *yaml.LoadError
	var second secondDocument
	switch {
	case errors.Is(err, errNoDocument):
		f.Message = "is empty: want settings"
	case errors.As(err, &second):
		f.Line, f.Column, f.Message = second.line, second.column, "has a second document: want one"
	case errors.As(err, &syntax):
		f.Line, f.Column, f.Message = syntax.Mark.Line, syntax.Mark.Column, explain(data, syntax)
		f.apart = true
	default:
		return fmt.Errorf("read YAML of %s: %w", name, err)
	}
	return f
}

// explain puts the commonest slips into an operator's words.
func explain(data []byte, syntax *yaml.LoadError) string {
	rest := data[min(max(0, offset(data, syntax.Mark)), len(data)):]
	switch {
	case bytes.HasPrefix(rest, []byte("@")):
		return `a value cannot begin with @: put it in quotes, such as "@alice:example.com"`
	case bytes.HasPrefix(rest, []byte("\t")):
		return "a tab cannot indent: use spaces"
	case syntax.ContextMsg != "" && syntax.ContextMark.Line > 0 && syntax.ContextMark != syntax.Mark:
		return fmt.Sprintf("is not YAML: %s that begins in line %d: %s", syntax.ContextMsg, syntax.ContextMark.Line, syntax.Message)
	default:
		return "is not YAML: " + syntax.Message
	}
}

// offset returns the byte that a mark, which counts characters, points to.
func offset(data []byte, mark yaml.Mark) int {
	at := 0
	for range mark.Line - 1 {
		at += bytes.IndexByte(data[at:], '\n') + 1
	}
	for range mark.Column - 1 {
		_, size := utf8.DecodeRune(data[at:])
		at += size
	}
	return at
}
