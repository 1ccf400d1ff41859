// Package route brings updates from bytes to what is to be committed: it decodes them,
// asks the routers who receives them, and encodes the deliveries.
package route
