package stream

// changes is what has become of a worker's partitions since it had its share last,
// for one line of log about many partitions.
type changes struct {
	begun int            // claimed
	fresh int            // of them, those without a checkpoint
	from  map[string]int // of them, how many each worker had before
	ended int
}

func newChanges() changes { return changes{from: make(map[string]int)} }

func (c *changes) claimed(claimed claim) {
	c.begun++
	if claimed.before == "" {
		c.fresh++
	} else {
		c.from[claimed.before]++
	}
}

// tellChanges logs how this worker got to its share.
func (o *ownership) tellChanges() {
	log := o.worker.options.log
	if c := o.changes; !o.begun || c.begun+c.ended > 0 {
		message := "partitions were shared anew"
		if !o.begun {
			message = "claimed the partitions"
		}
		log.Info(message, "worker", o.members.self, "partitions", len(o.tenures), "workers", len(o.members.others)+1,
			"taken_over_from", c.from, "given_up", c.ended)
		if c.fresh > 0 {
			log.Info("partitions have no checkpoint", "partitions", c.fresh, "start", string(o.worker.config.Worker.Start))
		}
	}
	o.begun, o.changes = true, newChanges()
}
