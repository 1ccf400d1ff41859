// Package federation sends transactions to other homeservers, as the server-server
// API of the Matrix specification has it.
package federation
