// Package modules makes routers from configuration: it holds the table of the
// modules there are, and turns a list of entries into registrations.
package modules
