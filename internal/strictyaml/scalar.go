package strictyaml

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// The tags that the library gives to plain values, and anyTag, which is ours: a
// text from outside YAML that may stand for any of them.
const (
	stringTag = "!!str"
	intTag    = "!!int"
	floatTag  = "!!float"
	boolTag   = "!!bool"
	nullTag   = "!!null"
	mergeTag  = "!!merge"
	listTag   = "!!seq"
	mapTag    = "!!map"
	anyTag    = "!any"
)

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.Tag == nullTag
}

// is reports whether node is a plain value with one of the tags.
func is(node *yaml.Node, tags ...string) bool {
	return node.Kind == yaml.ScalarNode && (node.Tag == anyTag || slices.Contains(tags, node.Tag))
}

func (d *decoder) str(node *yaml.Node, into reflect.Value) {
	if !is(node, stringTag) {
		d.wants(node, textWanted(node))
		return
	}
	into.SetString(node.Value)
}

// textWanted helps where only the quotes are missing.
func textWanted(node *yaml.Node) string {
	if node.Kind == yaml.ScalarNode {
		return "text: put it in quotes"
	}
	return "text"
}

func (d *decoder) text(node *yaml.Node, into encoding.TextUnmarshaler) {
	if !is(node, stringTag) {
		d.wants(node, textWanted(node))
		return
	}
	err := into.UnmarshalText([]byte(node.Value))
	if _, network := into.(*netip.Prefix); network && err != nil {
		d.wants(node, "a network such as 192.0.2.0/24, or 192.0.2.1/32 for one address")
		return
	}
	if err != nil {
		d.report(&Fault{Line: node.Line, Column: node.Column, Message: shorten(HideUser(err.Error())), apart: true})
	}
}

func (d *decoder) boolean(node *yaml.Node, into reflect.Value) {
	switch {
	case is(node, boolTag) && strings.EqualFold(node.Value, "true"):
		into.SetBool(true)
	case is(node, boolTag) && strings.EqualFold(node.Value, "false"):
		into.SetBool(false)
	default:
		d.wants(node, "true or false"+withoutQuotes(node))
	}
}

func (d *decoder) duration(node *yaml.Node, into *time.Duration) {
	const bound = "a duration with its unit, such as 500ms, 5s, 15m or 24h"
	if !is(node, stringTag, intTag) {
		d.wants(node, bound)
		return
	}
	value, err := time.ParseDuration(node.Value)
	if err != nil || strings.Trim(node.Value, "+-0") == "" {
		d.wants(node, bound)
		return
	}
	*into = value
}

func (d *decoder) integer(node *yaml.Node, into reflect.Value) {
	bits := into.Type().Bits()
	lowest, highest := int64(math.MinInt64)>>(64-bits), int64(math.MaxInt64)>>(64-bits)
	value, err := d.number(node, into.Kind() == reflect.Int64)
	switch {
	case errors.Is(err, strconv.ErrRange) || err == nil && (value < lowest || value > highest):
		d.wants(node, fmt.Sprintf("%d to %d", lowest, highest))
	case err != nil:
		d.wants(node, d.numberWanted(node, into.Kind() == reflect.Int64))
	default:
		into.SetInt(value)
	}
}

func (d *decoder) unsigned(node *yaml.Node, into reflect.Value) {
	highest := uint64(math.MaxUint64) >> (64 - into.Type().Bits())
	value, err := strconv.ParseUint(node.Value, 10, 64)
	switch {
	case !is(node, intTag, floatTag) || err != nil && !errors.Is(err, strconv.ErrRange):
		d.wants(node, "a whole number, 0 or more"+withoutQuotes(node))
	case err != nil || value > highest:
		d.wants(node, fmt.Sprintf("0 to %d", highest))
	default:
		into.SetUint(value)
	}
}

var errNoNumber = errors.New("no number")

// number parses decimal digits, and a size such as 64KiB where the value is one.
// The library tags numbers beyond 64 bits as floats.
func (d *decoder) number(node *yaml.Node, isSize bool) (int64, error) {
	switch {
	case (isSize || d.inBytes()) && is(node, stringTag, intTag):
		return parseSize(node.Value)
	case is(node, intTag, floatTag):
		value, err := strconv.ParseInt(node.Value, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("parse number: %w", err)
		}
		return value, nil
	default:
		return 0, errNoNumber
	}
}

// inBytes reports whether the key in hand says that it is a size.
func (d *decoder) inBytes() bool {
	return len(d.path) > 0 && strings.HasSuffix(d.path[len(d.path)-1].key, "bytes")
}

func (d *decoder) numberWanted(node *yaml.Node, isSize bool) string {
	if isSize || d.inBytes() {
		return "a whole number of bytes, or a size such as 64KiB, 512MiB or 8GiB"
	}
	return "a whole number" + withoutQuotes(node)
}

// parseSize parses bytes, alone or with one of the units B, KiB, MiB, GiB, TiB.
func parseSize(text string) (int64, error) {
	digits := strings.TrimRight(text, "BKMGTi")
	value, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse size: %w", err)
	}
	shift := map[string]uint{"": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}
	bits, known := shift[text[len(digits):]]
	if !known {
		return 0, errNoNumber
	}
	if value<<bits>>bits != value {
		return 0, strconv.ErrRange
	}
	return value << bits, nil
}

func (d *decoder) float(node *yaml.Node, into reflect.Value) {
	value, err := strconv.ParseFloat(node.Value, into.Type().Bits())
	if err != nil || !is(node, intTag, floatTag) || math.IsInf(value, 0) || math.IsNaN(value) {
		d.wants(node, "a number"+withoutQuotes(node))
		return
	}
	into.SetFloat(value)
}

// withoutQuotes helps where only the quotes are too much.
func withoutQuotes(node *yaml.Node) string {
	if is(node, stringTag) && node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		return ", without quotes"
	}
	return ""
}

// show names a value in a fault: what was written where that is short and plain,
// else only its form.
func show(node *yaml.Node) string {
	switch {
	case node.Kind == yaml.MappingNode:
		return "a mapping"
	case IsList(node):
		return "a list"
	case is(node, stringTag):
		return strconv.Quote(shorten(HideUser(node.Value)))
	default:
		return shorten(HideUser(node.Value))
	}
}

// HideUser takes user and password out of every URL in text: what stands between
// :// and the last @ before the next URL.
func HideUser(text string) string {
	parts := strings.Split(text, "://")
	for i, part := range parts[1:] {
		if at := strings.LastIndexByte(part, '@'); at >= 0 {
			parts[i+1] = "***" + part[at:]
		}
	}
	return strings.Join(parts, "://")
}

// shorten cuts a text that would fill the terminal.
func shorten(text string) string {
	const most = 200
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
