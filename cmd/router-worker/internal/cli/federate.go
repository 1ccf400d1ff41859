package cli

import (
	"github.com/spf13/cobra"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/operate"
)

func (p *program) federate() *cobra.Command {
	command := &cobra.Command{
		Use:   "federate",
		Short: "Send deliveries to other homeservers until SIGTERM or SIGINT",
		Long: `Send deliveries to other homeservers until SIGTERM or SIGINT.

The newest state of each user goes to each server that a recipient is on, in m.presence
EDUs that are signed with the keys of federate.keys. What is not sent when the process
ends comes again when the next one starts. SIGHUP is logged and changes nothing.`,
		Example: `  router-worker federate --config config.yaml
  ROUTER_WORKER_FEDERATE_SHARDS=0,1,2,3 router-worker federate --config config.yaml`,
		Args: takes(0, 0),
	}
	p.configFlag(command)
	p.natsFlag(command)
	return p.does(command, p.process(operate.Process.Federate))
}
