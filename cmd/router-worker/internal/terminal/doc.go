// Package terminal writes for people: text that others typed, tables and
// progress.
package terminal
