package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
	"github.com/presence-router/presence-router/internal/plural"
	"github.com/presence-router/presence-router/internal/strictyaml"
	"github.com/presence-router/presence-router/modules"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
	"github.com/presence-router/presence-router/stream/topology"
)

func (p *program) check() *cobra.Command {
	command := &cobra.Command{
		Use:   "check [CONFIG]",
		Short: "Check a configuration and show what it says",
		Long: `Check a configuration, all of it, and show what it says. No server is needed.
Files of routes that it names are checked as well. Other files, such as keys, are not
read: the command that uses them says what is wrong with those when it starts. Lines
with ! say what is valid and can never work.

Without CONFIG the file is the one of ROUTER_WORKER_CONFIG; the environment counts
as it does for run. These variables set a value:

  ` + strings.Join(config.Variables(), "\n  "),
		Example: `  router-worker check config.yaml
  router-worker check config.yaml --json`,
		Args: takes(0, 1),
	}
	p.jsonFlag(command)
	return p.does(command, func(_ context.Context, args []string) error {
		if len(args) == 1 {
			p.flags.config = args[0]
		}
		return p.checkConfig()
	})
}

func (p *program) checkConfig() error {
	c, err := p.load()
	if err != nil {
		return p.reportFaults(err)
	}
	s := summarize(c)
	if p.flags.json {
		return p.writeJSON(s)
	}
	p.showSummary(s)
	return nil
}

// reportFaults returns err; with --json it writes the faults to stdout too.
func (p *program) reportFaults(err error) error {
	var faults *configError
	if !p.flags.json || !errors.As(err, &faults) {
		return err
	}
	report := checked{Faults: []faultReport{}}
	for _, f := range strictyaml.Faults(faults.error) {
		report.Faults = append(report.Faults, faultReport{File: f.File, Line: f.Line, Column: f.Column, Path: f.Path, Message: f.Message})
	}
	return errors.Join(err, p.writeJSON(report))
}

// checked is what check reports with --json.
type checked struct {
	Valid       bool                  `json:"valid"`
	Faults      []faultReport         `json:"faults,omitempty"`
	Warnings    []string              `json:"warnings,omitempty"`
	Hash        string                `json:"config_hash,omitempty"`
	ServerNames []presence.ServerName `json:"server_names,omitempty"`
	NATS        string                `json:"nats,omitempty"`
	Streams     *streamsReport        `json:"streams,omitempty"`
	HTTP        string                `json:"http,omitempty"`
	Modules     []moduleReport        `json:"modules,omitempty"`
}

type faultReport struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
}

type streamsReport struct {
	SubjectPrefix string           `json:"subject_prefix"`
	Partitions    int              `json:"partitions"`
	Replicas      int              `json:"replicas"`
	Storage       topology.Storage `json:"storage"`
}

// String says the same for people.
func (s *streamsReport) String() string {
	return fmt.Sprintf("%s, %s, %s, %s", s.SubjectPrefix, plural.Of(s.Partitions, "partition", "partitions"),
		plural.Of(s.Replicas, "replica", "replicas"), s.Storage)
}

type moduleReport struct {
	Name    string         `json:"name"`
	Module  string         `json:"module"`
	OnError routing.Policy `json:"on_error"`
	Timeout string         `json:"timeout"`
	Config  []part         `json:"config"`
}

// part is one key of a module's config.
type part struct {
	Key     string `json:"key"`
	Entries int    `json:"entries,omitempty"` // of a list or mapping
	Value   string `json:"value,omitempty"`
}

func summarize(c config.Config) checked {
	s := checked{
		Valid: true, Hash: config.Hash(c), ServerNames: c.ServerNames, NATS: c.NATS.URL.String(),
		Streams: &streamsReport{
			SubjectPrefix: c.Streams.Prefix, Partitions: c.Streams.Partitions, Replicas: c.Streams.Replicas, Storage: c.Streams.Storage,
		},
		HTTP: cmp.Or(c.HTTP.Listen, "off"), Warnings: c.Warnings(),
	}
	for _, entry := range c.Modules {
		s.Modules = append(s.Modules, reportModule(entry, c.Worker.RouterTimeout))
	}
	return s
}

func reportModule(entry modules.Entry, timeout time.Duration) moduleReport {
	r := moduleReport{
		Name: entry.RouterName(), Module: entry.Module, Config: []part{},
		OnError: cmp.Or(entry.OnError, routing.Skip), Timeout: cmp.Or(entry.Timeout, timeout).String(),
	}
	if entry.Config == nil || entry.Config.Kind != yaml.MappingNode {
		return r
	}
	for i := 0; i+1 < len(entry.Config.Content); i += 2 {
		key, value := entry.Config.Content[i], entry.Config.Content[i+1]
		switch {
		case strictyaml.IsList(value):
			r.Config = append(r.Config, part{Key: key.Value, Entries: strictyaml.Len(value)})
		case value.Kind == yaml.MappingNode:
			r.Config = append(r.Config, part{Key: key.Value, Entries: len(value.Content) / 2})
		default:
			r.Config = append(r.Config, part{Key: key.Value, Value: value.Value})
		}
	}
	return r
}

func (m part) String() string {
	if m.Value != "" {
		return m.Key + ": " + m.Value
	}
	return fmt.Sprintf("%s: %d", m.Key, m.Entries)
}

func (p *program) showSummary(s checked) {
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	row := func(cells ...string) {
		for i, cell := range cells {
			cells[i] = terminal.Escape(cell)
		}
		_, _ = fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	var servers []string
	for _, server := range s.ServerNames {
		servers = append(servers, server.String())
	}
	row("valid", "config hash "+s.Hash)
	row("servers", strings.Join(servers, ", "))
	row("nats", s.NATS)
	row("streams", s.Streams.String())
	row("http", s.HTTP)
	for _, m := range s.Modules {
		var parts []string
		for _, part := range m.Config {
			parts = append(parts, part.String())
		}
		row("module", fmt.Sprintf("%s (%s), timeout %s, on error %s; %s", m.Name, m.Module, m.Timeout, m.OnError, strings.Join(parts, ", ")))
	}
	if len(s.Modules) == 0 {
		row("modules", "none: nobody receives anything")
	}
	_ = w.Flush()
	for _, warning := range s.Warnings {
		p.say("! %s", terminal.Escape(warning))
	}
}
