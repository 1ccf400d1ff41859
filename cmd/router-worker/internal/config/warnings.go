package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/internal/strictyaml"
	"github.com/presence-router/presence-router/modules"
	"github.com/presence-router/presence-router/routing/presence"
)

// mostWarnings is how many warnings are spelt out.
const mostWarnings = 20

// Warnings says in sentences what a valid configuration has that can never work.
func (c Config) Warnings() []string {
	var warnings []string
	for _, name := range c.otherServers() {
		warnings = append(warnings, c.alike(name)...)
	}
	isLocal := func(user presence.UserID) bool { return slices.Contains(c.ServerNames, user.Server()) }
	for _, unused := range fault.Errors(modules.Undeliverable(c.Modules, isLocal)) {
		warnings = append(warnings, unused.Error())
	}
	if more := len(warnings) - mostWarnings; more > 0 {
		warnings = append(warnings[:mostWarnings], fmt.Sprintf("and %d more", more))
	}
	return warnings
}

// alike tells of a server that modules name, if it looks like one of server_names.
func (c Config) alike(name string) []string {
	var known []string
	for _, server := range c.ServerNames {
		known = append(known, server.String())
	}
	closest := strictyaml.Closest(name, known)
	switch {
	case closest == "":
		return nil
	case strings.EqualFold(name, closest):
		return []string{fmt.Sprintf("modules name users of %s, server_names has %s: names that differ by letter case are two servers", name, closest)}
	default:
		return []string{fmt.Sprintf("modules name users of %s, who are not local: did you mean %s, of server_names?", name, closest)}
	}
}

// otherServers returns the servers that are not local and whose users the configs of
// modules name, in order.
func (c Config) otherServers() []string {
	others := make(map[string]bool)
	for _, entry := range c.Modules {
		visit(entry.Config, func(text string) {
			user, err := presence.ParseUserID(text)
			if err == nil && !slices.Contains(c.ServerNames, user.Server()) {
				others[user.Server().String()] = true
			}
		})
	}
	return slices.Sorted(maps.Keys(others))
}

// visit hands each every text of a node.
func visit(node *yaml.Node, each func(text string)) {
	switch {
	case node == nil:
	case node.Kind == yaml.ScalarNode:
		each(node.Value)
	default: // What an alias names stands elsewhere in the node.
		for _, child := range node.Content {
			visit(child, each)
		}
	}
}
