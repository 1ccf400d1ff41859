package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/presence-router/presence-router/cmd/router-worker/internal/config"
)

// The bounds of the HTTP server.
const (
	readTimeout    = 10 * time.Second
	writeTimeout   = 2 * time.Minute // a profile takes its time
	idleTimeout    = time.Minute
	maxHeaderBytes = 16 << 10
)

// Readiness answers /readyz: it asks what was set last, and is not ready once the
// process stops.
type Readiness struct {
	ask      atomic.Pointer[func() error]
	stopping atomic.Bool
}

// Set has ready asked from now on; it returns nil or says what is waited for.
func (r *Readiness) Set(ready func() error) { r.ask.Store(&ready) }

// Waiting has /readyz say that what is waited for.
func (r *Readiness) Waiting(what string) { r.Set(func() error { return errors.New(what) }) }

// Stop has /readyz say that the process stops, whatever is set later.
func (r *Readiness) Stop() { r.stopping.Store(true) }

func (r *Readiness) ready() error {
	stopping := r.stopping.Load()
	ask := r.ask.Load()
	if ask == nil {
		return errors.New("starting")
	}
	if err := (*ask)(); err != nil || !stopping {
		return err
	}
	return errors.New("the process is stopping")
}

// Handler serves /healthz, /readyz, /metrics and, where c says so, /debug/pprof/.
func Handler(c config.HTTP, ready *Readiness, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "alive")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready.ready(); err != nil {
			answer(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
			return
		}
		answer(w, http.StatusOK, "ready")
	})
	mux.Handle("GET /metrics", metrics)
	if c.PProf {
		mux.Handle("/debug/pprof/", profiles(c.Listen))
	}
	return mux
}

// profiles serves /debug/pprof/ to those who ask for an address of this server. A web
// page can have a name of its own resolve to this machine, and would then read the
// profiles in the browser of whoever looks at it; the Host header gives that away.
func profiles(listen string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isOwn(r, listen) {
			answer(w, http.StatusForbidden, "the Host header names neither a loopback address nor that of http.listen")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// isOwn reports whether the Host header is localhost, a loopback address, the host of
// listen or the address that the connection leads to.
func isOwn(r *http.Request, listen string) bool {
	host, configured := hostOf(r.Host), hostOf(listen)
	if host == "" {
		return false
	}
	if strings.EqualFold(host, "localhost") || strings.EqualFold(host, configured) {
		return true
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	reached, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return address.Unmap().IsLoopback() || ok && reached.AddrPort().Addr().Unmap().WithZone("") == address.Unmap().WithZone("")
}

// hostOf returns the host of host:port, or of a host alone.
func hostOf(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(authority, "["), "]")
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // who asked may be gone
}

// HTTPServer is a listening HTTP server. Whoever starts it shuts it down.
type HTTPServer struct {
	server *http.Server
	served chan struct{}
}

// StartHTTP serves handler on the address, host:port, where port 0 is a free one,
// and logs where that is.
func StartHTTP(ctx context.Context, address string, handler http.Handler, log *slog.Logger) (*HTTPServer, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP (http.listen): %w", err)
	}
	s := &HTTPServer{
		server: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: readTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
		served: make(chan struct{}),
	}
	log.Info("serving HTTP", "address", listener.Addr().String())
	go func() {
		defer close(s.served)
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("stopped serving HTTP", "error", err)
		}
	}()
	return s, nil
}

// Shutdown stops listening and waits for the answers under way, while ctx lasts.
func (s *HTTPServer) Shutdown(ctx context.Context) error {
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.server.Close())
	}
	<-s.served
	return err
}
