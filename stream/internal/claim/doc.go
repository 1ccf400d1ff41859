// Package claim takes a partition over from whoever had it: it decides where to go on,
// writes the checkpoint that fences the one before, and ends what that one was storing.
package claim
