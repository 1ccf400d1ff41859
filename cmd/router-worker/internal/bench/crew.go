package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/presence-router/presence-router/stream"
)

// crew is the worker processes of one measurement.
type crew struct {
	children []*child
}

// hire starts workers of l's case, router-worker or another program.
func (g *ground) hire(program string, l *load) (*crew, error) {
	args := []string{"--config"}
	if program == "" {
		program, args = g.self, []string{"run", "--config"}
	}
	routes := l.routes()
	c := &crew{}
	for n := range l.workload.Workers {
		path := filepath.Join(g.dir, fmt.Sprintf("worker%d.json", n))
		if err := g.writeConfig(path, fmt.Sprintf("bench%d", n), routes); err != nil {
			return c, err
		}
		child, err := startChild(program, append(args, path)...)
		if err != nil {
			return c, err
		}
		c.children = append(c.children, child)
	}
	return c, nil
}

func (g *ground) writeConfig(path, id string, routes []route) error {
	config := map[string]any{
		"server_names": []string{serverName},
		"nats":         map[string]any{"url": g.url},
		"streams": map[string]any{
			"subject_prefix": g.streams.Prefix, "storage": g.streams.Storage, "replicas": g.streams.Replicas,
			"partitions": g.streams.Partitions, "updates": map[string]any{"max_bytes": g.streams.Updates.MaxBytes},
			"state": map[string]any{"enabled": g.streams.State.Enabled},
		},
		"worker":  map[string]any{"id": id, "start": stream.Oldest},
		"http":    map[string]any{"listen": ""},
		"log":     map[string]any{"level": "warn"},
		"modules": []any{map[string]any{"module": "static", "config": map[string]any{"routes": routes}}},
	}
	data, err := json.Marshal(config)
	if err != nil {
		return fmt.Errorf("encode configuration: %w", err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// gone returns what the workers said, all of whom have ended.
func (c *crew) gone() error {
	var said []string
	for _, child := range c.children {
		if text := child.errors.text(); text != "" && !slices.Contains(said, text) {
			said = append(said, text)
		}
	}
	return fmt.Errorf("all workers have ended: %s", cmp.Or(strings.Join(said, "; "), "they said nothing"))
}

// whileAtWork returns a context that ends, with what they said, once no worker is left.
// release is to be called when it is not needed any more.
func (c *crew) whileAtWork(ctx context.Context) (atWork context.Context, release func()) {
	ctx, end := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		for _, child := range c.children {
			select {
			case <-child.exited:
			case <-ctx.Done():
				return
			}
		}
		end(c.gone())
	})
	return ctx, func() {
		end(nil)
		watching.Wait()
	}
}

func (c *crew) dismiss() error { return stopAll(c.children) }
