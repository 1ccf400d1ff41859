// Package matrixtest plays other homeservers for tests: HTTPS servers that verify who
// sends to them, with certificates of an authority of their own.
package matrixtest
