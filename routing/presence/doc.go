// Package presence is the Matrix vocabulary of the presence router: user IDs,
// server names and presence states. It imports nothing of the project.
package presence
