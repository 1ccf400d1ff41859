// Package bench measures how fast a server and workers on it are, each in
// processes of its own, and puts that in proportion to what the server can do.
package bench
