package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v4"

	"github.com/presence-router/presence-router/internal/strictyaml"
	"github.com/presence-router/presence-router/routing"
	"github.com/presence-router/presence-router/routing/presence"
)

// Hash returns 12 hex digits that are the same for workers which route alike:
// they cover server_names, the settings that shape subjects and deliveries, and
// the modules with their order, config and the content of files that it names, but
// not how a config is written down or where such a file is.
// Replicas whose hashes differ must not run side by side for long.
func Hash(c Config) string {
	d := digest{sum: sha256.New()}
	d.write("server_names")
	for _, name := range slices.SortedFunc(slices.Values(c.ServerNames), byText) {
		d.write(name.String())
	}
	d.write("streams", c.Streams.Prefix, strconv.Itoa(c.Streams.Deliveries.Shards),
		strconv.Itoa(c.Streams.Updates.MaxUpdateBytes), strconv.Itoa(c.Streams.Deliveries.MaxDeliveryBytes))
	d.write("worker", strconv.FormatBool(c.Worker.Coalesce), c.Worker.RetryLimit.String())
	for _, e := range c.Modules {
		d.write("module", e.Module, e.RouterName(), string(cmp.Or(e.OnError, routing.Skip)), cmp.Or(e.Timeout, c.Worker.RouterTimeout).String())
		d.node(withContent(e.Config, e.Files()))
	}
	return hex.EncodeToString(d.sum.Sum(nil))[:12]
}

// withContent returns config with the SHA-256 of files in place of their names.
func withContent(config *yaml.Node, files map[string][sha256.Size]byte) *yaml.Node {
	if len(files) == 0 {
		return config
	}
	if config.Kind == yaml.AliasNode {
		config = config.Alias
	}
	with := *config
	with.Content = slices.Clone(config.Content)
	for i := 0; i+1 < len(with.Content); i += 2 {
		if content, found := files[with.Content[i].Value]; found {
			with.Content[i+1] = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!sha256", Value: hex.EncodeToString(content[:])}
		}
	}
	return &with
}

func byText(a, b presence.ServerName) int { return cmp.Compare(a.String(), b.String()) }

// digest writes values so that no two different ones are written alike.
type digest struct {
	sum hash.Hash
	buf []byte
}

// write puts the length before each text, so that texts cannot run together.
func (d *digest) write(texts ...string) {
	d.buf = d.buf[:0]
	for _, text := range texts {
		d.buf = strconv.AppendInt(d.buf, int64(len(text)), 10)
		d.buf = append(d.buf, ':')
		d.buf = append(d.buf, text...)
	}
	_, _ = d.sum.Write(d.buf) // a hash takes everything
}

// node writes kind and size, then what is inside, the keys of a mapping in order.
func (d *digest) node(node *yaml.Node) {
	switch {
	case node == nil:
		d.write("!!null", "")
	case node.Kind == yaml.AliasNode:
		d.node(node.Alias)
	case node.Kind == yaml.ScalarNode:
		d.scalar(node)
	case node.Kind == yaml.MappingNode:
		d.mapping(node)
	default:
		d.write("list", strconv.Itoa(strictyaml.Len(node)))
		for _, item := range strictyaml.Items(node) {
			d.node(item)
		}
	}
}

// scalar treats the spellings of null alike.
func (d *digest) scalar(node *yaml.Node) {
	if node.ShortTag() == "!!null" {
		d.node(nil)
		return
	}
	d.write(node.ShortTag(), node.Value)
}

func (d *digest) mapping(node *yaml.Node) {
	keys := make([]int, 0, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		keys = append(keys, i)
	}
	slices.SortStableFunc(keys, func(a, b int) int { return cmp.Compare(node.Content[a].Value, node.Content[b].Value) })
	d.write("mapping", strconv.Itoa(len(keys)))
	for _, i := range keys {
		d.node(node.Content[i])
		d.node(node.Content[i+1])
	}
}
