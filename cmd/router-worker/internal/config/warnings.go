package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/presence-router/presence-router/internal/strictyaml"
	"github.com/presence-router/presence-router/modules"
	"github.com/presence-router/presence-router/routing/presence"
)

// mostWarnings is how many warnings are spelt out.
const mostWarnings = 20

// Warnings says in sentences what a valid configuration has that can never work.
func (c Config) Warnings() []string {
	var warnings []string
	more := 0
	add := func(warning string) {
		if len(warnings) == mostWarnings {
			more++
			return
		}
		warnings = append(warnings, warning)
	}
	local := make(map[presence.ServerName]bool)
	for _, name := range c.ServerNames {
		local[name] = true
	}
	for _, name := range c.otherServers(local) {
		for _, warning := range c.alike(name) {
			add(warning)
		}
	}
	for unused := range modules.Undeliverable(c.Modules, func(user presence.UserID) bool { return local[user.Server()] }) {
		add(unused.Error())
	}
	if more > 0 {
		warnings = append(warnings, fmt.Sprintf("and %d more", more))
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
func (c Config) otherServers(local map[presence.ServerName]bool) []string {
	others := make(map[string]bool)
	for user := range modules.Users(c.Modules) {
		if server := user.Server(); !local[server] {
			others[server.String()] = true
		}
	}
	return slices.Sorted(maps.Keys(others))
}
