package integration_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/presence-router/presence-router/internal/matrixtest"
)

// judge knows what one process of a sender owes a homeserver: a transaction that may have
// arrived comes again, as it was, before any other, and nothing older comes after something
// newer. What is excepted is the one transaction that was on its way when the process forgot
// what it held, which it does at most once each time that NATS was away. That one need not
// come again, and may come late. The judge knows it by the next one, which is the first that
// was made after that.
type judge struct {
	outages []time.Time // when NATS was away, from then on
	made    map[int]time.Time
	numbers []int // of all transactions, sorted

	bodies     map[int]string
	highest    map[string]int // of each user
	last, owed int            // the newest transaction, and the one that has to come again
	excused    map[int]int    // by outage the first transaction after it

	again      int // transactions that came once more
	complaints []string
}

// newJudge returns a judge of all that came of a process.
func newJudge(all []matrixtest.Transaction, outages []time.Time) *judge {
	j := &judge{
		outages: outages, made: make(map[int]time.Time), bodies: make(map[int]string),
		highest: make(map[string]int), excused: make(map[int]int),
	}
	for _, each := range all {
		_, number := nameOf(each)
		j.made[number] = each.Time
		j.numbers = append(j.numbers, number)
	}
	slices.Sort(j.numbers)
	j.numbers = slices.Compact(j.numbers)
	return j
}

// nameOf returns the two parts of a transaction's ID: what all of a process begin with, and
// a number that rises.
func nameOf(t matrixtest.Transaction) (process string, number int) {
	process, text, _ := strings.Cut(t.ID, "-")
	number, err := strconv.Atoi(text)
	if err != nil {
		panic(fmt.Sprintf("transaction ID %q: %v", t.ID, err))
	}
	return process, number
}

// hear takes the next transaction.
func (j *judge) hear(got matrixtest.Transaction) {
	_, number := nameOf(got)
	before, known := j.bodies[number]
	j.bodies[number] = got.Body
	if known {
		j.again++
		if before != got.Body {
			j.complain("transaction %s again, not as it was:\n%s\n%s", got.ID, before, got.Body)
		}
	}
	if number < j.last {
		if !known && !j.mayBeForgotten(number) {
			j.complain("transaction %s after number %d", got.ID, j.last)
		}
		return // What is known may come late: a try of it that was given up.
	}
	if j.owed != 0 && number != j.owed && !j.mayBeForgotten(j.owed) {
		j.complain("transaction %s while it had not taken number %d", got.ID, j.owed)
	}
	if j.last, j.owed = number, 0; got.Refused {
		j.owed = number
	}
	for user, n := range numbersOf(got) {
		if n < j.highest[user] {
			j.complain("%d of %s in %s after %d", n, user, got.ID, j.highest[user])
		}
		j.highest[user] = max(j.highest[user], n)
	}
}

func (j *judge) complain(format string, args ...any) {
	j.complaints = append(j.complaints, fmt.Sprintf(format, args...))
}

// mayBeForgotten reports whether a transaction is the last one that was made before the
// process forgot what it held.
func (j *judge) mayBeForgotten(number int) bool {
	at, _ := slices.BinarySearch(j.numbers, number+1)
	if at == len(j.numbers) {
		return false
	}
	next := j.numbers[at]
	outage := -1
	for i, began := range j.outages {
		if !j.made[next].Before(began.Truncate(time.Millisecond)) {
			outage = i
		}
	}
	if first, found := j.excused[outage]; found && first != next || outage < 0 {
		return false
	}
	j.excused[outage] = next
	return true
}

func TestJudge(t *testing.T) {
	t.Parallel()
	const outage = 10 // second
	type arrival struct {
		number, made int // second
		says         int
		refused      bool
	}
	tests := []struct {
		name     string
		arrivals []arrival
		want     int // complaints
	}{
		{"in order", []arrival{{number: 1, made: 1, says: 1}, {number: 2, made: 2, says: 2}}, 0},
		{"older state", []arrival{{number: 1, made: 1, says: 2}, {number: 2, made: 2, says: 1}}, 1},
		{"older state after an outage", []arrival{{number: 1, made: 11, says: 2}, {number: 2, made: 12, says: 1}}, 1},
		{"again", []arrival{{number: 1, made: 1, says: 1, refused: true}, {number: 1, made: 1, says: 1}, {number: 2, made: 2, says: 2}}, 0},
		{"again, changed", []arrival{{number: 1, made: 1, says: 1, refused: true}, {number: 1, made: 1, says: 2}}, 1},
		{"not again", []arrival{{number: 1, made: 1, says: 1, refused: true}, {number: 2, made: 2, says: 2}}, 1},
		{"forgotten", []arrival{{number: 1, made: 1, says: 1, refused: true}, {number: 2, made: 12, says: 2}}, 0},
		{"not again after an outage", []arrival{{number: 1, made: 1, says: 1}, {number: 2, made: 11, says: 2, refused: true}, {number: 3, made: 12, says: 3, refused: true}, {number: 4, made: 13, says: 4}}, 1},
		{"late without an outage", []arrival{{number: 2, made: 2, says: 2}, {number: 1, made: 1, says: 1}}, 1},
		{"late after an outage", []arrival{{number: 2, made: 12, says: 2}, {number: 1, made: 1, says: 1}, {number: 3, made: 13, says: 3}}, 0},
		{"late after two more", []arrival{{number: 2, made: 12, says: 2}, {number: 3, made: 13, says: 3}, {number: 1, made: 1, says: 1}}, 0},
		{"late, though made before the last one before an outage", []arrival{{number: 2, made: 2, says: 2}, {number: 3, made: 12, says: 3}, {number: 1, made: 1, says: 1}}, 1},
		{"two late", []arrival{{number: 3, made: 13, says: 3}, {number: 2, made: 12, says: 2}, {number: 1, made: 11, says: 1}}, 1},
		{"a try that was given up", []arrival{{number: 1, made: 1, says: 1}, {number: 2, made: 2, says: 2}, {number: 1, made: 1, says: 1}, {number: 3, made: 3, says: 3}}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var all []matrixtest.Transaction
			for _, a := range tt.arrivals {
				said := strconv.Itoa(a.says)
				edu := matrixtest.EDU{}
				edu.Content.Push = []matrixtest.Push{{UserID: "@bob:example.com", StatusMsg: &said}}
				all = append(all, matrixtest.Transaction{
					ID: "A-" + strconv.Itoa(a.number), Time: time.Unix(int64(a.made), 0), Body: said, EDUs: []matrixtest.EDU{edu}, Refused: a.refused,
				})
			}
			j := newJudge(all, []time.Time{time.Unix(outage, 0)})
			for _, each := range all {
				j.hear(each)
			}
			if len(j.complaints) != tt.want {
				t.Errorf("the judge complains of %q, want %d complaints", j.complaints, tt.want)
			}
		})
	}
}
