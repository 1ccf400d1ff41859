package matrixtest

import (
	"crypto/ed25519"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Server is a homeserver that takes transactions over HTTPS.
type Server struct {
	tb          testing.TB
	https       *httptest.Server
	certificate atomic.Pointer[tls.Certificate]
	keys        map[string]ed25519.PublicKey
	got         chan Transaction

	mu     sync.Mutex
	faults []http.HandlerFunc
	inside int
}

// Transaction is what a server got.
type Transaction struct {
	Origin, Destination, ID string
	Time                    time.Time // that the sender says, in ms
	Host                    string    // header of the request
	Name                    string    // that the client asked the certificate for
	Body                    string
	EDUs                    []EDU
	Refused                 bool // a fault was played
}

// EDU is an ephemeral data unit of a transaction.
type EDU struct {
	Type    string `json:"edu_type"`
	Content struct {
		Push []Push `json:"push"`
	} `json:"content"`
}

// Push is an entry of an m.presence EDU.
type Push struct {
	UserID          string  `json:"user_id"`
	Presence        string  `json:"presence"`
	LastActiveAgo   *int64  `json:"last_active_ago"`
	StatusMsg       *string `json:"status_msg"`
	CurrentlyActive *bool   `json:"currently_active"`
}

// Start returns a server that runs until the test ends. It knows the public keys of
// other servers by origin and key ID, with a space between. A request that is not
// signed with one of them, or that comes while another is under way, fails the test.
func Start(tb testing.TB, certificate tls.Certificate, keys map[string]ed25519.PublicKey) *Server {
	tb.Helper()
	s := &Server{tb: tb, keys: keys, got: make(chan Transaction, 1000)}
	s.Present(certificate)
	s.https = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.https.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*s.certificate.Load()}}, nil
	}}
	s.https.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.https.StartTLS()
	tb.Cleanup(s.Close)
	return s
}

// Address returns host:port.
func (s *Server) Address() string { return s.https.Listener.Addr().String() }

// Close ends the server at once.
func (s *Server) Close() {
	s.https.CloseClientConnections()
	s.https.Close()
}

// Present has the server prove itself with another certificate on new connections.
func (s *Server) Present(certificate tls.Certificate) { s.certificate.Store(&certificate) }

// Got returns the transactions as they come.
func (s *Server) Got() <-chan Transaction { return s.got }

// Fail has the next requests answered by the faults, one each.
func (s *Server) Fail(faults ...http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Status is a fault: an answer with a status, headers in pairs and a body.
func Status(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// Closed is a fault: the connection is closed without an answer.
func Closed(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// Slow is a fault: there is no answer. A client that gives up says so before it has closed
// its connection, so an answer could still reach it then.
func Slow(w http.ResponseWriter, r *http.Request) {
	<-r.Context().Done()
	Closed(w, r)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		s.tb.Errorf("matrixtest: a request came while another was under way")
	}
	left := sync.OnceFunc(s.leave)
	defer left()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // The client is gone.
	}
	t, err := verify(r, body, s.keys)
	if err != nil {
		s.tb.Errorf("matrixtest: %s %s: %v", r.Method, r.URL.Path, err)
		Status(http.StatusUnauthorized, `{"errcode":"M_FORBIDDEN"}`)(w, r)
		return
	}
	fault := s.fault()
	t.Refused = fault != nil
	s.got <- t
	if fault != nil {
		left() // The client may be back before a fault is over.
		fault(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"pdus":{}}`)
}

func (s *Server) fault() http.HandlerFunc {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) == 0 {
		return nil
	}
	first := s.faults[0]
	s.faults = s.faults[1:]
	return first
}

func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inside++
	return s.inside == 1
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inside--
}

// decode returns what the body of a request holds.
func decode(r *http.Request, body []byte) (Transaction, error) {
	t := Transaction{Host: r.Host, Name: r.TLS.ServerName, Body: string(body)}
	t.ID = r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	var sent struct {
		Origin string `json:"origin"`
		Time   int64  `json:"origin_server_ts"`
		EDUs   []EDU  `json:"edus"`
	}
	err := json.Unmarshal(body, &sent)
	t.Origin, t.Time, t.EDUs = sent.Origin, time.UnixMilli(sent.Time), sent.EDUs
	return t, err
}
