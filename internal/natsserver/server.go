package natsserver

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// readyPoll is how long one look at a starting server waits for its listeners.
const readyPoll = 50 * time.Millisecond

// Server is a running nats-server. Whoever started it shuts it down.
type Server struct {
	nats    *server.Server
	log     *logger
	options Options
	started chan struct{} // closed when the server's own start has returned
}

// Start returns a server that accepts connections and has JetStream enabled. It
// handles no signals. The error names the faulty options, or says what kept the
// server from starting within options.ReadyTimeout; nothing runs on then.
func Start(options Options) (*Server, error) {
	if err := options.Validate(); err != nil {
		return nil, fmt.Errorf("start nats-server: %w", err)
	}
	s, err := newServer(options.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("start nats-server: %w", err)
	}
	if err := s.start(); err != nil {
		s.Shutdown()
		return nil, fmt.Errorf("start nats-server with store %s: %w", options.StoreDir, err)
	}
	return s, nil
}

// URL returns the URL that clients connect to, such as nats://127.0.0.1:4222.
func (s *Server) URL() string { return s.nats.ClientURL() }

// Options returns the options that the server runs with, defaults and port filled
// in. Start with them after Shutdown gives the same server again.
func (s *Server) Options() Options { return s.options }

// Shutdown closes all connections, stops the server and returns when it has
// stopped and its streams are on disk. Further calls do nothing.
func (s *Server) Shutdown() {
	s.log.ending.Store(true)
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
	<-s.started
}

// DisableJetStream does what the server does by itself when its disk is full: NATS goes
// on without JetStream until the server is started again.
func (s *Server) DisableJetStream() error {
	if err := s.nats.ShutdownJetStream(); err != nil {
		return fmt.Errorf("disable JetStream: %w", err)
	}
	return nil
}

func newServer(options Options) (*Server, error) {
	serverOptions, err := options.server()
	if err != nil {
		return nil, err
	}
	nats, err := server.NewServer(serverOptions)
	if err != nil {
		return nil, err
	}
	log := newLogger(options.Logger)
	nats.SetLoggerV2(log, false, false, false)
	return &Server{nats: nats, log: log, options: options, started: make(chan struct{})}, nil
}

// start returns when the server is ready or has given up. The server reports what
// it cannot recover from to its logger only.
func (s *Server) start() error {
	go func() {
		defer close(s.started)
		s.nats.Start()
	}()
	bound := time.NewTimer(s.options.ReadyTimeout)
	defer bound.Stop()
	started := s.started
	for {
		select {
		case err := <-s.log.fatal:
			return err
		case <-bound.C:
			return fmt.Errorf("wait for listeners: not ready after %v", s.options.ReadyTimeout)
		case <-started:
			if s.nats.ReadyForConnections(readyPoll) {
				return s.ready()
			}
		}
	}
}

func (s *Server) ready() error {
	addr, ok := s.nats.Addr().(*net.TCPAddr)
	if !ok {
		return errors.New("read port: the server has no listener")
	}
	s.options.Port = addr.Port
	return nil
}

func (o Options) server() (*server.Options, error) {
	routes, err := o.Cluster.routes()
	if err != nil {
		return nil, err
	}
	port := o.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return &server.Options{
		ServerName:         o.Name,
		Host:               o.Host,
		Port:               port,
		NoSigs:             true,
		JetStream:          true,
		StoreDir:           o.StoreDir,
		JetStreamMaxMemory: o.MaxMemory,
		JetStreamMaxStore:  o.MaxStore,
		SyncInterval:       o.SyncInterval,
		MaxPayload:         int32(o.MaxPayload), //nolint:gosec // Validate bounds it to 8 MiB.
		Cluster:            server.ClusterOpts{Name: o.Cluster.Name, Host: o.Host, Port: o.Cluster.Port},
		Routes:             routes,
	}, nil
}

func (c Cluster) routes() ([]*url.URL, error) {
	routes := make([]*url.URL, 0, len(c.Routes))
	for _, route := range c.Routes {
		parsed, err := url.Parse(route)
		if err != nil {
			return nil, fmt.Errorf("parse route: %w", err)
		}
		routes = append(routes, parsed)
	}
	return routes, nil
}
