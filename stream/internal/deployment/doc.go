// Package deployment reads what the streams say of a deployment: how its updates are
// divided, which change of that is under way, and which workers there are.
package deployment
