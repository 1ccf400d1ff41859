package strictyaml

import (
	"strings"
	"unicode/utf8"
)

// Closest returns the one of known that is most likely meant by word, "" where
// none is near: at most a third of its letters differ, swapped neighbours and
// letter case counting little.
func Closest(word string, known []string) string {
	best, fewest := "", 0
	for _, k := range known {
		edits := distance(strings.ToLower(word), strings.ToLower(k))
		if edits <= allowedEdits(word, k) && (best == "" || edits < fewest) {
			best, fewest = k, edits
		}
	}
	return best
}

func allowedEdits(word, known string) int {
	return max(1, min(utf8.RuneCountInString(word), utf8.RuneCountInString(known))/3)
}

// distance counts insertions, deletions, substitutions and swaps of neighbours
// (optimal string alignment). Long words are never near.
func distance(a, b string) int {
	if len(a) > 128 || len(b) > 128 {
		return 128
	}
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			row[j+1] = min(above[j+1]+1, row[j]+1, above[j]+differ(a[i], b[j]))
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}

func differ(a, b byte) int {
	if a == b {
		return 0
	}
	return 1
}

// suggestion ends a sentence about an unknown word.
func suggestion(word string, known []string) string {
	if closest := Closest(word, known); closest != "" {
		return "did you mean " + closest + "?"
	}
	return "want one of " + strings.Join(known, ", ")
}
