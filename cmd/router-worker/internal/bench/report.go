package bench

import "github.com/presence-router/presence-router/stream"

// Report is what a benchmark gave.
type Report struct {
	Machine Machine `json:"machine"`
	Rounds  int     `json:"rounds"`
	Tables  []Table `json:"tables"`
}

// Table is what was measured on one kind of streams.
type Table struct {
	Storage  stream.Storage `json:"storage"`
	Replicas int            `json:"replicas"`
	Rows     []Row          `json:"rows"`
}

// Row is one thing that was measured, several times.
type Row struct {
	Name   string    `json:"name"`
	Case   *Case     `json:"case,omitempty"` // nil of what the server does for anybody
	Rate   float64   `json:"rate,omitzero"`  // updates per second at which latency was measured
	Median Figures   `json:"median"`
	Rounds []Figures `json:"rounds"`
}

// The names of what the server does for anybody.
const (
	rawName     = "publish (R)"
	fastName    = "fast ingest"
	consumeName = "consume"
)

func (t *Table) row(name string) *Row {
	for i := range t.Rows {
		if t.Rows[i].Name == name {
			return &t.Rows[i]
		}
	}
	t.Rows = append(t.Rows, Row{Name: name})
	return &t.Rows[len(t.Rows)-1]
}

// add adds one round of a measurement.
func (r *Row) add(f Figures) {
	r.Rounds = append(r.Rounds, f)
	r.Median = median(r.Rounds)
}
