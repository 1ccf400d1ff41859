package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/terminal"
)

// table writes rows with aligned columns, of text that others may have typed.
type table struct {
	writer   *tabwriter.Writer
	headings []string // written before the first row
}

func newTable(to io.Writer, headings ...string) *table {
	return &table{writer: tabwriter.NewWriter(to, 0, 0, 2, ' ', 0), headings: headings}
}

func (t *table) row(cells ...string) {
	if len(t.headings) > 0 {
		_, _ = fmt.Fprintln(t.writer, strings.Join(t.headings, "\t"))
		t.headings = nil
	}
	for i, cell := range cells {
		cells[i] = terminal.Escape(cell)
	}
	_, _ = fmt.Fprintln(t.writer, strings.Join(cells, "\t"))
}

// flush reports whether there was a row.
func (t *table) flush() bool {
	_ = t.writer.Flush()
	return len(t.headings) == 0
}
