package capture

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/wire"
)

// Line is one line of a capture.
type Line struct {
	Number int                // from 1
	End    int64              // bytes of the capture up to the end of the line
	State  presence.UserState // of the update, which is attached; zero where Err says why the line holds none
	Err    error
}

// ErrRead is wrapped by the Err of the last Line where the capture cannot be read
// any further.
var ErrRead = errors.New("read capture")

const byteOrderMark = "\xef\xbb\xbf" // as some editors begin files

// Read yields the lines of r that are not blank, checked as a worker does that
// accepts updates of at most maxBytes. It holds one line in memory at a time, of
// one that is too long only the beginning.
func Read(r io.Reader, maxBytes int) func(yield func(Line) bool) {
	return func(yield func(Line) bool) {
		l := lines{in: bufio.NewReaderSize(r, 64<<10), most: maxBytes + len("\r\n") + len(byteOrderMark)}
		for {
			data, size, err := l.next()
			switch data = trim(data, l.number); {
			case size > l.most:
				if !yield(l.tooLong(size, maxBytes)) {
					return
				}
			case len(data) > 0 && !yield(l.line(data, maxBytes)):
				return
			}
			if err == nil {
				continue
			}
			if !errors.Is(err, io.EOF) {
				yield(Line{Number: l.number + 1, End: l.read, Err: fmt.Errorf("%w: %w", ErrRead, err)})
			}
			return
		}
	}
}

// Follow sends what Read yields, until r or ctx ends, and closes the channel
// then. While r gives nothing, the end of ctx goes unnoticed: whoever must not
// wait for that leaves the channel.
func Follow(ctx context.Context, r io.Reader, maxBytes int) <-chan Line {
	const ahead = 256
	out := make(chan Line, ahead)
	go func() {
		defer close(out)
		for line := range Read(r, maxBytes) {
			select {
			case out <- line:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// lines reads lines of which it keeps the first bytes only.
type lines struct {
	in     *bufio.Reader
	most   int // bytes kept of a line
	number int
	read   int64
}

// next returns the beginning of the next line, new to the caller, its size without
// the line break, and the error that ends the capture with it.
func (l *lines) next() (line []byte, size int, err error) {
	for {
		part, err := l.in.ReadSlice('\n')
		l.read += int64(len(part))
		size += len(part)
		line = append(line, part[:min(len(part), l.most+1-len(line))]...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		l.number++
		if err == nil {
			size -= len("\n")
		}
		return line, size, err
	}
}

func trim(data []byte, number int) []byte {
	if number == 1 {
		data = bytes.TrimPrefix(data, []byte(byteOrderMark))
	}
	return bytes.TrimSpace(data)
}

// tooLong returns what becomes of a line of which only the beginning is known.
func (l *lines) tooLong(size, maxBytes int) Line {
	err := fmt.Errorf("line is %d bytes, at most %d are allowed for an update", size, maxBytes)
	return Line{Number: l.number, End: l.read, Err: &wire.InvalidError{Reason: wire.TooLarge, Err: err}}
}

func (l *lines) line(data []byte, maxBytes int) Line {
	line := Line{Number: l.number, End: l.read}
	line.State, line.Err = wire.DecodeUpdate(data, 0, maxBytes)
	return line
}
