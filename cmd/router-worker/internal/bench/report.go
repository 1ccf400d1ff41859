package bench

import (
	"github.com/presence-router/presence-router/stream/topology"
)

// Report is what a benchmark gave.
type Report struct {
	Machine Machine `json:"machine"`
	Rounds  int     `json:"rounds"`
	Tables  []Table `json:"tables"`
}

// Table is what was measured on one kind of streams.
type Table struct {
	Storage  topology.Storage `json:"storage"`
	Replicas int              `json:"replicas"`
	Rows     []Row            `json:"rows"`
}

// Row is one thing that was measured, several times.
type Row struct {
	Name   string    `json:"name"`
	Case   *Case     `json:"case,omitempty"` // nil of what the server does for anybody
	Median Figures   `json:"median"`
	Rounds []Figures `json:"rounds"`
}

// The names of what the server does for anybody.
const (
	rawName     = "publish (R)"
	fastName    = "fast ingest"
	consumeName = "consume"
)

// throughName is what a publisher, a worker and a reader do at the same time.
const throughName = "publish to read"

// row returns the row of a name and a case, nil where there is none.
func (t *Table) row(name string, c *Case) *Row {
	for i := range t.Rows {
		row := &t.Rows[i]
		if row.Name == name && (row.Case == c || row.Case != nil && c != nil && *row.Case == *c) {
			return row
		}
	}
	return nil
}

// add adds one round of a measurement.
func (t *Table) add(name string, c *Case, f Figures) {
	row := t.row(name, c)
	if row == nil {
		t.Rows = append(t.Rows, Row{Name: name, Case: c})
		row = &t.Rows[len(t.Rows)-1]
	}
	row.Rounds = append(row.Rounds, f)
	row.Median = median(row.Rounds)
}
