// Package strictyaml decodes YAML into Go structs and says everything that is
// wrong at once, each fault with its place in the file.
//
// It reads the node trees of go.yaml.in/yaml/v4, the version of the YAML
// organisation's library that is developed further (v3 is frozen) and the one
// that gives line and column of a syntax error. Of JSON it makes the same trees
// by itself, but leaves long lists as text.
package strictyaml
