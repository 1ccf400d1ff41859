// Package routingtest tests whether a router keeps the contract of routing.Router.
package routingtest
