package bench

import (
	"fmt"
	"runtime"
)

// Machine is what a benchmark ran on.
type Machine struct {
	Processor string `json:"processor,omitempty"`
	Cores     int    `json:"cores"`
	Platform  string `json:"platform"`
	Go        string `json:"go"`
	Server    string `json:"nats_server"`
	Embedded  bool   `json:"embedded"` // whether the servers were the benchmark's own processes
}

func newMachine() Machine {
	return Machine{
		Processor: processor(), Cores: runtime.NumCPU(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
	}
}

// String returns one line for people.
func (m Machine) String() string {
	where := "given"
	if m.Embedded {
		where = "a process of its own"
	}
	name := ""
	if m.Processor != "" {
		name = " of " + m.Processor
	}
	return fmt.Sprintf("%d cores%s, %s, %s, nats-server %s (%s)", m.Cores, name, m.Platform, m.Go, m.Server, where)
}
