package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/capture"
	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/internal/plural"
)

// maxShown is how many rejected lines are shown one by one.
const maxShown = 20

func (p *program) publish() *cobra.Command {
	command := &cobra.Command{
		Use:   "publish [FILE]",
		Short: "Publish presence updates, one JSON object a line",
		Long: `Publish presence updates, one JSON object a line, from FILE or from stdin.

Every line is checked as a worker checks it. Lines that are no update are reported
and left out; the rest is published, and the exit code is 1 then.`,
		Example: `  router-worker publish capture.ndjson
  echo '{"user_id":"@bob:example.com","state":"online"}' | router-worker publish`,
		Args: takes(0, 1),
	}
	p.clientFlags(command)
	return p.does(command, func(ctx context.Context, args []string) error {
		in, size, err := p.open(args)
		if err != nil {
			return err
		}
		defer in.Close() //nolint:errcheck // It was only read.
		return p.asClient(ctx, func(ctx context.Context, s *session) error {
			return p.publishFrom(ctx, s, in, size)
		})
	})
}

// open returns what is to be published, and how many bytes that is, 0 where that
// is unknown.
func (p *program) open(args []string) (io.ReadCloser, int64, error) {
	if len(args) == 0 || args[0] == "-" {
		return io.NopCloser(p.Stdin), 0, nil
	}
	file, err := os.Open(args[0])
	if err != nil {
		return nil, 0, fmt.Errorf("read updates: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("read updates: %w", err), file.Close())
	}
	return file, info.Size(), nil
}

func (p *program) publishFrom(ctx context.Context, s *session, in io.Reader, size int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	report := publishReport{program: p, progress: terminal.NewProgress(p.Stderr, size), began: time.Now()}
	maxBytes := s.config.Streams.Updates.MaxUpdateBytes
	publisher := capture.NewPublisher(s.client, maxBytes, report.stored, report.rejected)
	err := publisher.Publish(ctx, capture.Follow(ctx, in, maxBytes))
	report.Unacknowledged = publisher.Unacknowledged()
	return errors.Join(err, report.finish())
}

// publishReport counts and tells what becomes of the lines.
type publishReport struct {
	*program

	progress *terminal.Progress
	began    time.Time
	broken   error // why the rest could not be read

	Published      int
	Rejected       int
	Unacknowledged int
}

func (r *publishReport) stored(line capture.Line) {
	r.Published++
	r.progress.Show(line.End, r.Published)
}

func (r *publishReport) rejected(line capture.Line) {
	if errors.Is(line.Err, capture.ErrRead) {
		r.broken = line.Err
		return
	}
	r.Rejected++
	if r.Rejected <= maxShown {
		r.progress.Clear()
		r.note("line %d: %s", line.Number, terminal.Escape(line.Err.Error()))
	}
}

func (r *publishReport) finish() error {
	r.progress.Clear()
	if more := r.Rejected - maxShown; more > 0 {
		r.note("and %s", plural.Of(more, "more line", "more lines"))
	}
	seconds := time.Since(r.began).Seconds()
	if err := r.summary(seconds); err != nil {
		return err
	}
	if r.Rejected > 0 {
		return errors.Join(r.broken, fmt.Errorf("%s", plural.Of(r.Rejected, "line is no update", "lines are no updates")))
	}
	return r.broken
}

func (r *publishReport) summary(seconds float64) error {
	rate := float64(r.Published) / seconds
	if r.flags.json {
		return r.writeJSON(map[string]any{
			"published": r.Published, "rejected": r.Rejected, "unacknowledged": r.Unacknowledged,
			"seconds": seconds, "updates_per_second": rate,
		})
	}
	unknown := ""
	if r.Unacknowledged > 0 {
		unknown = fmt.Sprintf(", %d without an answer", r.Unacknowledged)
	}
	r.say("published %s in %.2f s (%.0f/s), rejected %s%s", plural.Of(r.Published, "update", "updates"), seconds, rate, plural.Of(r.Rejected, "line", "lines"), unknown)
	return nil
}
