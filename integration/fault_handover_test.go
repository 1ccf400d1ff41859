package integration_test

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TestFaultOrderlyHandOver has workers join, be restarted one after the other, and
// leave, all in good order under load: nobody is fenced, and every update is routed
// once, not only delivered once.
func TestFaultOrderlyHandOver(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	l := newLoad(e.numbers(t), 300, 2)
	testified := filepath.Join(t.TempDir(), "routed")
	d := deploy(t, l, settings{"TESTIMONY": testified})
	d.binary = os.Args[0]
	d.startReady().terminate(syscall.SIGTERM) // makes the streams
	published := l.updates(e.count(4_000, 40_000))
	publishing := d.publishing(published, e.window(3*time.Second, 10))
	crew := &crewInOrder{deployment: d}
	crew.scale(1)
	for range e.count(1, 5) {
		crew.scale(4)
		crew.roll()
		crew.scale(2)
		crew.scale(1)
	}
	<-publishing
	d.awaitCommitted()
	crew.scale(0)
	for _, w := range crew.all {
		w.wantLines(0, "partition is lost")
		claims, _ := w.log.matching(`level=WARN msg="waiting, nothing is lost" what="claiming partitions"`) // Two claims may meet.
		w.wantLines(len(claims), "level=WARN")
		w.wantLines(0, "level=ERROR")
	}
	wantEachRoutedOnce(t, testified, len(published))
}

// crewInOrder is workers of which each is asked to leave, and has left before the
// next thing happens.
type crewInOrder struct {
	*deployment

	running []*workerProcess
	all     []*workerProcess
}

// scale starts or ends workers until there are n, and waits until each has its share.
func (c *crewInOrder) scale(n int) {
	c.t.Helper()
	for len(c.running) > n {
		c.running[0].terminate(syscall.SIGTERM)
		c.running = c.running[1:]
	}
	for len(c.running) < n {
		w := c.start()
		c.running, c.all = append(c.running, w), append(c.all, w)
	}
	if n > 0 {
		c.awaitShares(c.running)
	}
}

// roll restarts one worker after the other.
func (c *crewInOrder) roll() {
	c.t.Helper()
	for range len(c.running) {
		n := len(c.running)
		c.running[0].terminate(syscall.SIGTERM)
		c.running = c.running[1:]
		c.scale(n)
	}
}

// wantEachRoutedOnce wants each of the n updates of a stream once in what routers
// noted.
func wantEachRoutedOnce(t *testing.T, path string, n int) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // It was only read.
	times := make(map[int]int)
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		sequence, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		times[sequence]++
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	again, never := 0, 0
	for sequence := 1; sequence <= n; sequence++ {
		switch times[sequence] {
		case 0:
			never++
		case 1:
		default:
			again++
		}
	}
	if again > 0 || never > 0 {
		t.Errorf("of %d updates, %d were routed more than once and %d never", n, again, never)
	}
}
