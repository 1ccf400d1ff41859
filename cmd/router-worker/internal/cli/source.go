package cli

import (
	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/operate"
)

func (p *program) source() *cobra.Command {
	dendrite := &cobra.Command{
		Use:   "dendrite",
		Short: "Publish the presence of Dendrites until SIGTERM or SIGINT",
		Long: `Publish the presence of Dendrites until SIGTERM or SIGINT.

Follows what the Dendrites of sources.dendrite publish on their NATS, and publishes it as
updates, each once and in order. Of several processes with the same configuration one is
active, and the others stand by. Dendrite's streams stay as they are. SIGHUP is logged and
changes nothing.`,
		Example: `  router-worker source dendrite --config config.yaml
  ROUTER_WORKER_SOURCES_DENDRITE='[{server_names: [example.com]}]' router-worker source dendrite --config config.yaml`,
		Args: takes(0, 0),
	}
	p.configFlag(dendrite)
	p.natsFlag(dendrite)
	return p.group(
		&cobra.Command{
			Use:     "source",
			Short:   "Publish the presence of homeservers that publish no updates themselves",
			Example: "  router-worker source dendrite --config config.yaml",
		},
		p.does(dendrite, p.process(operate.Process.FollowDendrites)),
	)
}
