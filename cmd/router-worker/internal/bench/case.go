package bench

import "fmt"

// Case is one way of working: who works, and on what.
type Case struct {
	Program    string `json:"program"`
	Workers    int    `json:"workers"`
	Recipients int    `json:"recipients"` // of each update
	FanIn      bool   `json:"fan_in"`     // whether they are the same ones always
	Users      int    `json:"users"`      // who have routes
	Partitions int    `json:"partitions"`
	Backlog    int    `json:"backlog,omitzero"` // updates; as many as the duration takes where 0
}

// maxDrawn bounds the recipients in the routes of a case, which each worker reads
// before it begins.
const maxDrawn = 200_000

func (c Case) drawing(k int) Case {
	c.Recipients, c.FanIn = k, false
	c.Users = min(c.Users, max(1, maxDrawn/k))
	return c
}

func (c Case) fanningIn(k int) Case {
	c.Recipients, c.FanIn = k, true
	return c
}

// guess returns how many updates per second the case is likely to do where the
// server takes r messages per second.
func (c Case) guess(r float64) float64 {
	k := float64(c.Recipients)
	if c.FanIn {
		return r / 2
	}
	return r * min(0.6, 0.3+k/30) / k
}

// String returns the name of the case in a table.
func (c Case) String() string {
	text := fmt.Sprintf("k = %d", c.Recipients)
	if c.FanIn {
		text = fmt.Sprintf("fan-in %d", c.Recipients)
	}
	if c.Workers > 1 {
		text += fmt.Sprintf(", %d workers", c.Workers)
	}
	if c.Program != ownName {
		text = c.Program + ", " + text
	}
	return text
}
