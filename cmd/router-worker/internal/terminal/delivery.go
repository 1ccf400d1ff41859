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

// StateLine returns one line about the state of a user: whose it is, the state, the
// sequence of the update, "" where sequence is 0, and the status message.
func StateLine(sequence uint64, state presence.UserState) string {
	number := ""
	if sequence > 0 {
		number = fmt.Sprintf("#%d", sequence)
	}
	line := fmt.Sprintf(stateColumns, Escape(state.UserID.String()), Escape(string(state.State)), number)
	if state.StatusMsg.IsSet {
		line += " " + Escape(state.StatusMsg.Text)
	}
	return strings.TrimRight(line, " ")
}

const stateColumns = "%-30s %-12s %-8s"

const columns = "%-12s  %-30s %-24s %-12s %-8s"
