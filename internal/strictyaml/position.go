package strictyaml

import "go.yaml.in/yaml/v4"

// Position returns line and column of the value at path below node, or of the
// deepest value around it that exists; zeros where node is nil or was not read
// from a file.
func Position(node *yaml.Node, path string) (line, column int) {
	if node == nil {
		return 0, 0
	}
	for _, s := range splitPath(path) {
		next := child(node, s)
		if next == nil {
			break
		}
		node = next
	}
	return node.Line, node.Column
}

func child(node *yaml.Node, s step) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	expand(node)
	switch {
	case node.Kind == yaml.SequenceNode && s.isIndex && s.index < len(node.Content):
		return node.Content[s.index]
	case node.Kind == yaml.MappingNode && !s.isIndex:
		return valueOf(node, s.key)
	default:
		return nil
	}
}

func valueOf(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}
