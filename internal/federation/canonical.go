package federation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
)

// ErrNotCanonical is wrapped by errors about JSON that has no canonical form.
var ErrNotCanonical = errors.New("no canonical JSON")

// maxInteger is the largest integer that canonical JSON has.
const maxInteger = 1<<53 - 1

// AppendCanonical appends the canonical form of data, which is JSON, to dst: keys in
// order, no space, integers only, nothing escaped that need not be (Matrix
// specification, appendices, "Canonical JSON").
func AppendCanonical(dst, data []byte) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotCanonical, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows the value", ErrNotCanonical)
	}
	return appendValue(dst, value)
}

func appendValue(dst []byte, value any) ([]byte, error) {
	switch value := value.(type) {
	case map[string]any:
		return appendObject(dst, value)
	case []any:
		return appendArray(dst, value)
	case string:
		return appendString(dst, value), nil
	case json.Number:
		return appendInteger(dst, value)
	case bool:
		return strconv.AppendBool(dst, value), nil
	default:
		return append(dst, "null"...), nil
	}
}

func appendObject(dst []byte, object map[string]any) ([]byte, error) {
	dst = append(dst, '{')
	for i, key := range slices.Sorted(maps.Keys(object)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendValue(append(appendString(dst, key), ':'), object[key]); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func appendArray(dst []byte, array []any) ([]byte, error) {
	dst = append(dst, '[')
	for i, value := range array {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendValue(dst, value); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func appendInteger(dst []byte, number json.Number) ([]byte, error) {
	n, err := number.Int64()
	if err != nil || n > maxInteger || n < -maxInteger {
		return nil, fmt.Errorf("%w: %s is no integer of at most 53 bits", ErrNotCanonical, number)
	}
	return strconv.AppendInt(dst, n, 10), nil
}

func appendString(dst []byte, text string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(text) {
		switch c := text[i]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, `\b`...)
		case '\t':
			dst = append(dst, `\t`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\f':
			dst = append(dst, `\f`...)
		case '\r':
			dst = append(dst, `\r`...)
		default:
			if c < ' ' {
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
				continue
			}
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
