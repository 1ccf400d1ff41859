package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/client"
)

const (
	viewBytes    = 256 << 20 // of one recipient: this process holds no other
	saveInterval = time.Second
)

// latest shows the newest state of each user, then newer ones.
func (p *program) latest(ctx context.Context, flags deliveriesFlags) error {
	user, err := presence.ParseUserID(flags.user)
	if err != nil {
		return usagef("--user: %w", err)
	}
	view, err := openView(flags.resume, user)
	if err != nil {
		return err
	}
	file, err := saverOf(flags.resume, view)
	if err != nil {
		return err
	}
	return p.asReader(ctx, flags, func(ctx context.Context, s *session) error {
		ctx, stop := context.WithCancelCause(ctx)
		defer stop(nil)
		saved := make(chan error, 1)
		go func() {
			err := file.keep(ctx)
			stop(err)
			saved <- err
		}()
		err := endOfFollowing(p.followView(ctx, s, view, flags.count))
		stop(nil)
		if lost := <-saved; !errors.Is(err, lost) {
			err = errors.Join(err, lost)
		}
		return err
	})
}

func (p *program) followView(ctx context.Context, s *session, view *client.View, count int) error {
	if err := s.client.CatchUp(ctx, view); err != nil && !p.noted(err) {
		return err
	}
	seen := 0
	for latest := range view.All() {
		p.showState(latest.Epoch, latest.Sequence, latest.State)
		if seen++; seen == count {
			return nil
		}
	}
	p.note("following the newest states for %s, Ctrl-C ends", terminal.Escape(view.Recipient().String()))
	for latest, err := range s.client.Follow(ctx, view) {
		if err != nil {
			if p.noted(err) {
				continue
			}
			return err
		}
		p.showState(latest.Epoch, latest.Sequence, latest.State)
		if seen++; seen == count {
			return nil
		}
	}
	return nil
}

// showState shows one state with its place in the history of its user.
func (p *program) showState(epoch int64, sequence uint64, state presence.UserState) {
	if p.flags.json {
		p.say(`{"epoch":%d,"sequence":%d,"state":%s}`, epoch, sequence, oneLine(state.Published().JSON))
		return
	}
	p.say("%s", terminal.StateLine(sequence, state))
}

// openView returns the view of user in the file at path, an empty one where there
// is no such file.
func openView(path string, user presence.UserID) (*client.View, error) {
	if path == "" {
		return client.NewView(user, viewBytes), nil
	}
	data, err := os.ReadFile(path) //nolint:gosec // The operator names the file.
	if errors.Is(err, fs.ErrNotExist) {
		return client.NewView(user, viewBytes), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read view: %w", err)
	}
	view, err := client.RestoreView(data, viewBytes)
	if err != nil {
		return nil, usagef("--resume: file %s: %w", path, err)
	}
	if view.Recipient() != user {
		return nil, usagef("--resume: file %s is of %s, want %s of --user", path, view.Recipient(), user)
	}
	return view, nil
}

// saver keeps a file up to date with a view.
type saver struct {
	path string // "" for none
	view *client.View
	mode fs.FileMode

	saved client.Position // of the view in the file
}

// saverOf returns a saver of view that has saved once, so that a file which cannot
// be written is known at once. A symbolic link stays one.
func saverOf(path string, view *client.View) (*saver, error) {
	s := &saver{path: path, view: view, mode: 0o600}
	if path == "" {
		return s, nil
	}
	if file, err := filepath.EvalSymlinks(path); err == nil {
		s.path = file
	}
	if info, err := os.Stat(path); err == nil {
		s.mode = info.Mode().Perm()
	}
	return s, s.save()
}

// keep saves what is new until ctx ends, and then a last time.
func (s *saver) keep(ctx context.Context) error {
	tick := time.NewTicker(saveInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		if s.path != "" && s.view.Position() != s.saved {
			if err := s.save(); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// save replaces the file as a whole.
func (s *saver) save() error {
	s.saved = s.view.Position()
	data, err := json.Marshal(s.view)
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(s.path), "."+filepath.Base(s.path)+".*")
	if err != nil {
		return fmt.Errorf("save view: %w", err)
	}
	_, err = temporary.Write(append(data, '\n'))
	err = errors.Join(err, temporary.Chmod(s.mode), temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), s.path)
	}
	if err != nil {
		return fmt.Errorf("save view: %w", errors.Join(err, os.Remove(temporary.Name())))
	}
	return nil
}
