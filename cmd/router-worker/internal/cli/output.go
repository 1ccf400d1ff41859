package cli

import (
	"encoding/json"
	"fmt"
)

// writeJSON writes value on one line.
func (p *program) writeJSON(value any) error {
	encoder := json.NewEncoder(p.Stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}
