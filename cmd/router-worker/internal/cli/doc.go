// Package cli is the command line of router-worker: flags, output and exit codes.
package cli
