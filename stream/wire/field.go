package wire

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// maxDepth is how deep the JSON of an update may nest.
const maxDepth = 64

// once adds field, a bit, to the fields that were seen, or returns an error where
// it is among them already.
func once[Fields ~uint8](seen *Fields, field Fields, key []byte) error {
	if *seen&field != 0 {
		return fmt.Errorf("%s is given twice, want it once", key)
	}
	*seen |= field
	return nil
}

func isNull(value []byte) bool { return value[0] == 'n' }

func isText(value []byte) bool { return value[0] == '"' }

// inText returns the text of a JSON string that was scanned.
func inText(value []byte) []byte { return unescape(value[1 : len(value)-1]) }

// parseWhole returns the value of a JSON number that is an integer from 0 to
// most. Nothing that has a fraction or an exponent is one.
func parseWhole(value []byte, most uint64) (uint64, bool) {
	if string(value) == "-0" {
		return 0, true
	}
	var number uint64
	for _, c := range value {
		digit := uint64(c - '0')
		if !isDigit(c) || number > (most-digit)/10 {
			return 0, false
		}
		number = number*10 + digit
	}
	return number, true
}

// parseTime returns the milliseconds since the epoch that the value of the field
// named key holds, 0 for null. Some languages have floats only, so 1000.0 and 1e3 are
// times too: exactly what the digits say, not what a float would make of them.
func parseTime(key, value []byte) (int64, error) {
	if isNull(value) {
		return 0, nil
	}
	ms, ok := parseWhole(value, math.MaxInt64)
	if !ok {
		ms, ok = parseWholeFloat(value, math.MaxInt64)
	}
	if !ok {
		return 0, fmt.Errorf("%s is %s, want an integer from 0 to %d", key, showJSON(value), int64(math.MaxInt64))
	}
	return int64(ms), nil //nolint:gosec // parseWhole holds it to MaxInt64.
}

// parseWholeFloat returns the value of a JSON number that is an integer from 0 to
// most, whether or not it is written with a fraction or an exponent.
func parseWholeFloat(value []byte, most uint64) (uint64, bool) {
	mantissa, exponent := value, 0
	if i := bytes.IndexAny(value, "eE"); i >= 0 {
		mantissa, exponent = value[:i], parseExponent(value[i+1:])
	}
	unsigned, negative := bytes.CutPrefix(mantissa, []byte("-"))
	whole, fraction, _ := bytes.Cut(unsigned, []byte("."))
	digits := bytes.TrimLeft(slices.Concat(whole, fraction), "0")
	digits, zeros := bytes.TrimRight(digits, "0"), len(digits)
	zeros += exponent - len(fraction) - len(digits) // that follow the last digit which is none
	switch {
	case len(digits) == 0:
		return 0, true
	case negative || zeros < 0 || len(digits)+zeros > maxDigits:
		return 0, false
	default:
		return parseWhole(append(digits, "0000000000000000000"[:zeros]...), most)
	}
}

// maxDigits is how many digits the largest time has.
const maxDigits = len("9223372036854775807")

// parseExponent returns the exponent of a JSON number, or if that is farther from 0, one
// that makes a time of no number but 0: no update has as many digits.
func parseExponent(value []byte) int {
	const most = 1 << 30
	exponent, _ := strconv.Atoi(string(value)) // The largest int stands for one that is larger still.
	return max(-most, min(exponent, most))
}
