// Package natstest gives tests real NATS servers: inside the test binary, alone or
// as a cluster, and as processes that can be killed.
package natstest
