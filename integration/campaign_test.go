package integration_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/presence-router/presence-router/integration"
)

const (
	campaignUsers = 300
	campaignWide  = 1_200 // recipients of one user: more than one commit holds
	campaignRate  = 300   // updates per second
	campaignCalm  = 500 * time.Millisecond
	shortCampaign = 6 * time.Second
	diskRoom      = 64 << 20 // bytes of a disk of a server
	diskGrowth    = 4 << 20  // more of them for each second of a campaign
)

// campaign is a fault run: a fleet under traffic is struck by nemeses, those of
// different lanes at the same time.
type campaign struct {
	name     string
	nemeses  []nemesis
	servers  int           // 0 for 3
	replicas int           // of the streams, 0 for as many as there are servers
	amid     bool          // whether nemeses strike in the middle of batches
	skewed   bool          // whether the clocks of workers may jump
	window   time.Duration // how long they strike
	each     bool          // whether each strikes at least once, however long that takes

	patience time.Duration // with workers that have to catch up afterwards
}

// campaigns returns what to run: all nemeses together, on replicated streams and on
// others, and where there is time each alone before.
func campaigns(e effort) []campaign {
	together := campaign{name: "together", nemeses: nemeses(), window: e.window(shortCampaign, 30), each: e.full(), patience: commitTimeout}
	alone := together
	alone.name, alone.replicas = "together, one replica", 1
	alone.nemeses, alone.amid = append(append(nemeses(), amidNemeses()...), repartitions()), true // Units go by fast ingest.
	if !e.full() {
		return []campaign{together, alone}
	}
	together.skewed, alone.skewed = true, true
	together.nemeses = append(together.nemeses, jumps())
	alone.nemeses = append(alone.nemeses, jumps())
	return append(solitary(e), together, alone)
}

// solitary is a campaign for each nemesis alone. Those that the seed chooses go on
// while the number of partitions changes.
func solitary(e effort) []campaign {
	var all []campaign
	for _, n := range append(nemeses(), jumps()) {
		all = append(all, campaign{name: n.name, nemeses: n.alone(), skewed: n.lane == clocks})
	}
	for _, n := range amidNemeses() {
		all = append(all, campaign{name: n.name, nemeses: []nemesis{n}, replicas: 1, amid: true})
	}
	for i := range all {
		all[i].window, all[i].each, all[i].patience = e.window(0, 4), true, commitTimeout
		if e.chooses(i) {
			all[i].amidChanges()
		}
	}
	return all
}

// chooses reports whether the seed chooses the campaign at i: every other one, which
// are the others with the next seed.
func (e effort) chooses(i int) bool { return (uint64(i)+e.seed)%2 == 0 } //nolint:gosec // It is an index.

// amidChanges has the number of partitions change all the time.
func (c *campaign) amidChanges() {
	c.name, c.replicas, c.nemeses = c.name+" amid changes of partitions", 1, append(c.nemeses, repartitions())
}

// lonelyCampaigns is campaigns on one server that is in no cluster: where there is
// time, all nemeses together and some alone, else those of the disk together.
func lonelyCampaigns(e effort) []campaign {
	purge := nemesis{"purge updates", streams, purgeUpdates}
	var all []campaign
	for _, forgets := range forgetful() {
		together := campaign{name: "together, " + forgets.name, servers: 1, window: e.window(time.Second, 12), each: true, patience: commitTimeout}
		if together.nemeses = lonelyNemeses(forgets); !e.full() {
			together.nemeses = []nemesis{{"kill a worker", processes, killWorker}, {"fill the disk", servers, fillDisk}, forgets}
		}
		if forgets.name == updatesCut { // Deliveries that are cut off after a purge, or a change of partitions, cannot come again.
			together.nemeses = append(together.nemeses, purge, repartitions())
			if together.skewed = e.full(); together.skewed { // A break makes an epoch of the time.
				together.nemeses = append(together.nemeses, jumps())
			}
		}
		all = append(all, together)
	}
	if !e.full() {
		return all
	}
	for i, n := range append(forgetful(), nemesis{"fill the disk", servers, fillDisk}, purge) {
		alone := campaign{name: n.name, servers: 1, nemeses: n.alone(), window: e.window(0, 4), each: true, patience: commitTimeout}
		if n.name != deliveriesCut && e.chooses(i) {
			alone.amidChanges()
		}
		all = append(all, alone)
	}
	return all
}

// run musters a fleet of the program at binary and returns what became of it.
func (c campaign) run(t *testing.T, e effort, binary string) report {
	t.Helper()
	numbers := e.numbers(t)
	schedule := rand.New(rand.NewPCG(numbers.Uint64(), numbers.Uint64())) //nolint:gosec // Failures are to come back with the seed.
	l := newLoad(numbers, campaignUsers, 3)
	l.widen(campaignWide)
	tune := tuned(e, numbers)
	tune.servers, tune.amid, tune.skewed = cmp.Or(c.servers, fleetSize), c.amid, c.skewed
	tune.replicas = cmp.Or(c.replicas, tune.servers)
	if tune.servers == 1 {
		tune.disk = diskRoom + diskGrowth*int64(c.window/time.Second)
	}
	f := muster(t, l, binary, tune)
	checkpoints := f.watch(ignore)
	began := time.Now()
	traffic := f.startTraffic(l, campaignRate)
	strikes := c.strike(f, schedule)
	traffic.stop()
	f.settle(c.patience)
	h := f.collect(0).History
	h.Updates, h.Checkpoints = f.stored(traffic.made), checkpoints()
	if f.cut { // What was seen before may be gone.
		h.Checkpoints = nil
	}
	return report{
		seed: e.seed, tuning: f.tuning, disabled: f.disabled, took: time.Since(began), names: c.nemeses, strikes: strikes,
		history: h, problems: f.problems, verdict: integration.Check(h),
	}
}

// strike returns how often each nemesis struck.
func (c campaign) strike(f *fleet, schedule *rand.Rand) map[string]int {
	f.t.Helper()
	var all sync.WaitGroup
	counts := make([]map[string]int, lanes)
	for lane := range lanes {
		own := rand.New(rand.NewPCG(schedule.Uint64(), schedule.Uint64())) //nolint:gosec // Failures are to come back with the seed.
		counts[lane] = make(map[string]int)
		all.Go(func() { c.inLane(f, lane, own, counts[lane]) })
	}
	all.Wait()
	strikes := make(map[string]int)
	for _, count := range counts {
		for name, n := range count {
			strikes[name] += n
		}
	}
	return strikes
}

// inLane has the nemeses of a lane strike one after the other, in random order.
func (c campaign) inLane(f *fleet, l lane, numbers *rand.Rand, count map[string]int) {
	ctx := f.t.Context()
	var own []nemesis
	for _, n := range c.nemeses {
		if n.lane == l {
			own = append(own, n)
		}
	}
	end := time.Now().Add(c.window)
	for round := 0; len(own) > 0; round++ {
		numbers.Shuffle(len(own), func(i, j int) { own[i], own[j] = own[j], own[i] })
		for _, n := range own {
			if time.Now().After(end) && (round > 0 || !c.each) {
				return
			}
			after(ctx, upTo(numbers, 2*campaignCalm))
			if err := n.strike(ctx, f, numbers); err != nil {
				f.problem("%s: %v", n.name, err)
				return
			}
			count[n.name]++
		}
	}
}

// report is what became of a campaign.
type report struct {
	seed     uint64
	tuning   tuning
	took     time.Duration
	names    []nemesis
	strikes  map[string]int
	disabled int // times that a server gave JetStream up
	history  integration.History
	problems []string // what went wrong beside the promises
	verdict  integration.Verdict
}

// String returns the seed, the history and the verdict, for people.
func (r report) String() string {
	var b strings.Builder
	h := r.history
	gone, again := lostUpdates(h.Updates)
	fmt.Fprintf(&b, "FAULT_SEED=%d, %v: %d updates (%d of them gone, %d that may be there again), %d deliveries, %d dead letters, %d checkpoints seen, %d takeovers\n  workers with %v\n",
		r.seed, r.took.Round(100*time.Millisecond), len(h.Updates), gone, again, len(h.Deliveries), len(h.DeadLetters), len(h.Checkpoints), takeovers(h.Checkpoints), r.tuning)
	for _, n := range r.names {
		fmt.Fprintf(&b, "  %3d x %s\n", r.strikes[n.name], n.name)
	}
	if r.disabled > 0 {
		fmt.Fprintf(&b, "  JetStream was given up on a full disk %d times\n", r.disabled)
	}
	for _, p := range r.problems {
		fmt.Fprintf(&b, "  problem: %s\n", p)
	}
	fmt.Fprintf(&b, "  %s", r.verdict)
	return b.String()
}

func lostUpdates(updates []integration.Update) (gone, again int) {
	for _, u := range updates {
		if u.Gone {
			gone++
		}
		if u.Again {
			again++
		}
	}
	return gone, again
}

func (r report) ok() bool { return r.verdict.OK() && len(r.problems) == 0 }

// takeovers counts how often a partition went from one worker to another.
func takeovers(seen []integration.Checkpoint) int {
	owner := make(map[int]string)
	n := 0
	for _, c := range seen {
		if before, known := owner[c.Partition]; known && before != c.Worker {
			n++
		}
		owner[c.Partition] = c.Worker
	}
	return n
}

// TestFaultNemeses strikes fleets with every nemesis, alone and all together.
func TestFaultNemeses(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	runCampaigns(t, e, campaigns(e))
}

// TestFaultLonelyServer strikes fleets of which the server is alone, and can lose what
// it stored.
func TestFaultLonelyServer(t *testing.T) {
	t.Parallel()
	e := newEffort(t)
	runCampaigns(t, e, lonelyCampaigns(e))
}

func runCampaigns(t *testing.T, e effort, campaigns []campaign) {
	t.Helper()
	for _, c := range campaigns {
		t.Run(c.name, func(t *testing.T) {
			r := c.run(t, e, binaryFor(t, c))
			t.Log(r)
			if !r.ok() {
				t.Error("the router broke its promises")
			}
		})
	}
}

// binaryFor returns the program of the workers of a campaign.
func binaryFor(t *testing.T, c campaign) string {
	t.Helper()
	if !c.skewed {
		return binaries.worker
	}
	binary, err := buildSkewed()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}
