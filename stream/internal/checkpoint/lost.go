package checkpoint

import (
	"fmt"
)

// LostError is the error of a partition that another worker took over.
type LostError struct {
	Partition int
	Owner     string // ID of the worker that wrote the newest checkpoint
}

// Error names the partition and its new owner.
func (e *LostError) Error() string {
	return fmt.Sprintf("partition %d was taken over by worker %q", e.Partition, e.Owner)
}

// Repartitioner is the worker that the first checkpoints of a layout name. No
// worker has that ID.
const Repartitioner = "topology repartition"
