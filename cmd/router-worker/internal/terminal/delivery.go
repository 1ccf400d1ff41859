package terminal

import (
	"fmt"
	"strings"
	"time"

	"github.com/presence-router/presence-router/routing/presence"
)

// DeliveryLine returns one line about a state that was delivered: when it was
// committed, to whom, whose it is, the state, the sequence of the update and the
// status message. Columns are aligned for IDs of usual length.
func DeliveryLine(committed time.Time, recipient presence.UserID, state presence.UserState) string {
	sequence := "made up"
	if published := state.Published(); published != nil && published.Position > 0 {
		sequence = fmt.Sprintf("#%d", published.Position)
	}
	line := fmt.Sprintf(columns, committed.Local().Format("15:04:05.000"),
		Escape(recipient.String()), Escape(state.UserID.String()), Escape(string(state.State)), sequence)
	if state.StatusMsg.IsSet {
		line += " " + Escape(state.StatusMsg.Text)
	}
	return strings.TrimRight(line, " ")
}

// DeliveryHeading names the columns of DeliveryLine.
func DeliveryHeading() string {
	return fmt.Sprintf(columns, "TIME", "RECIPIENT", "USER", "STATE", "UPDATE") + " STATUS"
}

const columns = "%-12s  %-30s %-24s %-12s %-8s"
