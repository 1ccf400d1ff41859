package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/presence-router/presence-router/internal/natsserver"
)

// Serve runs the NATS server that options describe, as JSON, writes its URL to out
// and returns when in ends or ctx does. It is the server's process of a benchmark.
func Serve(ctx context.Context, options string, in io.Reader, out io.Writer) error {
	var o natsserver.Options
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		return fmt.Errorf("decode options of the server: %w", err)
	}
	server, err := natsserver.Start(o)
	if err != nil {
		return err
	}
	defer server.Shutdown()
	if _, err := fmt.Fprintln(out, server.URL()); err != nil {
		return fmt.Errorf("write URL: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, in) // Until whoever started us is gone.
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	return nil
}

// startServers starts n servers, in a cluster where that is more than one, and
// returns the URL of the first.
func startServers(ctx context.Context, self, dir string, n int) (servers []*child, url string, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, stopAll(servers))
			servers = nil
		}
	}()
	options, err := serverOptions(dir, n)
	if err != nil {
		return nil, "", err
	}
	for _, o := range options {
		text, err := json.Marshal(o)
		if err != nil {
			return servers, "", fmt.Errorf("encode options of the server: %w", err)
		}
		server, err := startChild(self, "bench", "server", string(text))
		if err != nil {
			return servers, "", err
		}
		servers = append(servers, server)
	}
	for i, server := range servers {
		line, err := server.firstLine(ctx)
		if err != nil {
			return servers, "", err
		}
		if i == 0 {
			url = line
		}
	}
	return servers, url, nil
}

func serverOptions(dir string, n int) ([]natsserver.Options, error) {
	if n == 1 {
		return []natsserver.Options{{StoreDir: filepath.Join(dir, "n1")}}, nil
	}
	ports, err := freePorts(n)
	if err != nil {
		return nil, err
	}
	var routes []string
	for _, port := range ports {
		routes = append(routes, "nats://"+net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	}
	options := make([]natsserver.Options, n)
	for i := range options {
		name := fmt.Sprintf("n%d", i+1)
		options[i] = natsserver.Options{
			Name: name, StoreDir: filepath.Join(dir, name),
			Cluster: natsserver.Cluster{Name: "bench", Port: ports[i], Routes: routes},
		}
	}
	return options, nil
}

// freePorts returns ports that were free a moment ago.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer listener.Close() //nolint:errcheck // It is held until all are found.
		addr, ok := listener.Addr().(*net.TCPAddr)
		if !ok {
			return nil, fmt.Errorf("find a free port: %v is no TCP address", listener.Addr())
		}
		ports = append(ports, addr.Port)
	}
	return ports, nil
}

// self returns the path of this program.
func self() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return path, nil
}
