package cli

import (
	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/internal/plural"
)

// unlimited is the most arguments of a command that takes any number.
const unlimited = -1

// takes checks the number of arguments.
func takes(least, most int) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if len(args) >= least && (most == unlimited || len(args) <= most) {
			return nil
		}
		path := command.CommandPath()
		if most == 0 && len(args) == 1 && command.Flags().Lookup("config") != nil {
			return usagef("%s takes no arguments, got %q: to name the configuration, write --config %[2]s", path, args[0])
		}
		return usagef("%s takes %s, got %d: %s", path, bounds(least, most), len(args), command.UseLine())
	}
}

// bounds says how many arguments a command takes.
func bounds(least, most int) string {
	switch {
	case most == 0:
		return "no arguments"
	case most == unlimited:
		return "at least " + plural.Of(least, "argument", "arguments")
	case least < most:
		return "at most " + plural.Of(most, "argument", "arguments")
	default:
		return plural.Of(most, "argument", "arguments")
	}
}

// help is the command that shows the help of another one.
func (p *program) help() *cobra.Command {
	command := &cobra.Command{
		Use:     "help [COMMAND]...",
		Short:   "Show the help of a command",
		Example: "  router-worker help dead list",
		Args:    cobra.ArbitraryArgs,
		ValidArgsFunction: func(command *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			about, rest, err := command.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []cobra.Completion
			for _, each := range about.Commands() {
				if each.IsAvailableCommand() {
					names = append(names, cobra.CompletionWithDesc(each.Name(), each.Short))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	command.RunE = func(command *cobra.Command, args []string) error {
		p.began = true
		about, rest, err := command.Root().Find(args)
		if err != nil || len(rest) > 0 {
			return unknown(about, rest)
		}
		about.InitDefaultHelpFlag()
		about.InitDefaultVersionFlag()
		return about.Help()
	}
	return command
}

// unknown returns the error about a command of group that does not exist.
func unknown(group *cobra.Command, args []string) error {
	if suggested := group.SuggestionsFor(args[0]); len(suggested) > 0 {
		return usagef("unknown command %q of %s: did you mean %s?", args[0], group.CommandPath(), suggested[0])
	}
	return usagef("unknown command %q of %s: see %[2]s --help", args[0], group.CommandPath())
}
