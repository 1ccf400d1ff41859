// Mutants changes packages in one place after the other, and reports the changes that
// no test of the package finds.
package main
