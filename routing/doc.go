// Package routing is the contract of routers, and the Dispatcher that runs all
// registered routers over a batch of presence states and merges their answers.
package routing
