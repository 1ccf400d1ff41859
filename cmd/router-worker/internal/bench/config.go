package bench

import (
	"errors"
	"fmt"
	"time"

	"github.com/presence-router/presence-router/internal/fault"
	"github.com/presence-router/presence-router/stream/topology"
)

const (
	pool    = 100_000 // recipients that those of an update are drawn from
	pending = 4000    // acknowledgements outstanding while publishing
	warmUp  = 0.1     // share of the backlog that is done before the clock starts
	ownName = "router-worker"
)

// Config says what is measured.
type Config struct {
	URL        string             // of servers that run already; own ones are started where empty
	Storages   []topology.Storage // one table each
	Replicas   []int              // one table each
	Workers    []int              // how many share the work
	Recipients []int              // of each update, drawn from 100,000
	FanIn      int                // recipients who receive everything; 0 leaves that out
	Users      int                // who have routes; fewer where those would hold more than 200,000 recipients
	Partitions int
	Rounds     int           // of which the median counts
	Duration   time.Duration // of each measurement, about
	Raw        bool          // whether what the server does for anybody is measured beside R
	Latency    bool
	Programs   []Program // measured beside router-worker
}

// Program is another program that does the work of a worker. It is run with
// --config FILE, the configuration of a worker as JSON, and ends at SIGTERM.
type Program struct {
	Name string
	Path string
}

// DefaultConfig returns what is measured where nothing else is asked for: it ends
// within three minutes.
func DefaultConfig() Config {
	return Config{
		Storages: []topology.Storage{topology.File, topology.Memory}, Replicas: []int{1}, Workers: []int{1},
		Recipients: []int{1, 10, 100}, FanIn: 10, Users: 10_000, Partitions: topology.DefaultConfig().Partitions,
		Rounds: 5, Duration: 700 * time.Millisecond, Raw: true, Latency: true,
	}
}

// Validate returns nil, or the joined errors that each name a flag.
func (c Config) Validate() error {
	errs := []error{
		fault.Within("--rounds", c.Rounds, 1, 100),
		fault.Within("--fan-in", c.FanIn, 0, pool),
		fault.Within("--users", c.Users, 1, 10_000_000),
		fault.Within("--partitions", c.Partitions, 1, 256),
	}
	if len(c.Storages) == 0 || len(c.Replicas) == 0 || len(c.Workers) == 0 {
		errs = append(errs, errors.New("--storage, --replicas and --workers: want at least one of each"))
	}
	names := map[string]bool{ownName: true}
	for _, p := range c.Programs {
		errs = append(errs, fault.Check(!names[p.Name], "--program", p.Name, "a name of its own"))
		names[p.Name] = true
	}
	if c.Duration < 10*time.Millisecond || c.Duration > time.Hour {
		errs = append(errs, fmt.Errorf("--duration is %v: want 10ms to 1h", c.Duration))
	}
	if len(c.Recipients) == 0 && c.FanIn == 0 {
		errs = append(errs, errors.New("--recipients and --fan-in are empty: want one of them"))
	}
	for _, storage := range c.Storages {
		if storage != topology.File && storage != topology.Memory {
			errs = append(errs, fmt.Errorf("--storage is %q: want file or memory", storage))
		}
	}
	for _, replicas := range c.Replicas {
		if replicas != 1 && replicas != 3 && replicas != 5 {
			errs = append(errs, fmt.Errorf("--replicas is %d: want 1, 3 or 5", replicas))
		}
	}
	for _, workers := range c.Workers {
		errs = append(errs, fault.Within("--workers", workers, 1, 64))
	}
	for _, recipients := range c.Recipients {
		errs = append(errs, fault.Within("--recipients", recipients, 1, pool))
	}
	return errors.Join(errs...)
}

// site is the streams that measurements run on.
type site struct {
	storage  topology.Storage
	replicas int
}

func (c Config) sites() []site {
	var sites []site
	for _, replicas := range c.Replicas {
		for _, storage := range c.Storages {
			sites = append(sites, site{storage: storage, replicas: replicas})
		}
	}
	return sites
}

// cases returns the ways of working that are measured on each site.
func (c Config) cases() []Case {
	var cases []Case
	for _, workers := range c.Workers {
		base := Case{Program: ownName, Workers: workers, Users: c.Users, Partitions: c.Partitions}
		for _, program := range append([]Program{{Name: ownName}}, c.Programs...) {
			base.Program = program.Name
			for _, k := range c.Recipients {
				cases = append(cases, base.drawing(k))
			}
			if c.FanIn > 0 {
				cases = append(cases, base.fanningIn(c.FanIn))
			}
		}
	}
	return cases
}
