package cli

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// buildInfo is what the build knows about itself.
type buildInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Time     string `json:"time,omitempty"` // of the commit
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (p *program) version() *cobra.Command {
	command := &cobra.Command{
		Use:     "version",
		Short:   "Show the version",
		Example: "  router-worker version --json",
		Args:    takes(0, 0),
	}
	p.jsonFlag(command)
	return p.does(command, func(context.Context, []string) error {
		if p.flags.json {
			return p.writeJSON(p.buildInfo())
		}
		p.say("%s", p.buildInfo())
		return nil
	})
}

func (p *program) buildInfo() buildInfo {
	b := buildInfo{Version: p.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		b.Version = cmp.Or(b.Version, "unknown")
		return b
	}
	b.Version = cmp.Or(b.Version, info.Main.Version, "unknown")
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Commit = setting.Value
		case "vcs.time":
			b.Time = setting.Value
		case "vcs.modified":
			b.Modified = setting.Value == "true"
		}
	}
	return b
}

// String returns one line for people.
func (b buildInfo) String() string {
	parts := []string{b.Go, b.Platform}
	if b.Commit != "" {
		commit := "commit " + b.Commit[:min(len(b.Commit), 12)]
		if b.Modified {
			commit += " with changes"
		}
		parts = append([]string{commit}, parts...)
	}
	return fmt.Sprintf("router-worker %s (%s)", b.Version, strings.Join(parts, ", "))
}
