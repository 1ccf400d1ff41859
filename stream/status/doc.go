// Package status reads how a deployment is doing from what its streams hold, with or
// without workers.
package status
