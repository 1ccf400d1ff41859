// Package jsapi makes the requests to JetStream that nats.go has no call for, and says
// what the server's answers mean.
package jsapi
