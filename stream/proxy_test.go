package stream_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// verdict is what a proxy does with a frame.
type verdict int

const (
	pass    verdict = iota
	swallow         // the other side never sees it
	cut             // it gets through, then the connection is cut
	sever           // the connection is cut, it does not get through
)

// proxy stands between clients and a server and looks at every frame of the NATS
// protocol. Its two functions may change a frame; they run one at a time.
type proxy struct {
	target     string
	fromClient func(frame []byte) ([]byte, verdict)
	fromServer func(frame []byte) ([]byte, verdict)

	mu       sync.Mutex // guards the functions and conns
	conns    []net.Conn
	refusing bool
}

func through(frame []byte) ([]byte, verdict) { return frame, pass }

// startProxy listens for the length of the test and returns the URL to connect to.
func startProxy(t *testing.T, target string, p *proxy) string {
	t.Helper()
	p.target = strings.TrimPrefix(target, "nats://")
	if p.fromClient == nil {
		p.fromClient = through
	}
	if p.fromServer == nil {
		p.fromServer = through
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() { p.accept(t, listener, &all) })
	t.Cleanup(func() {
		_ = listener.Close()
		p.cutAll(true)
		all.Wait()
	})
	return "nats://" + listener.Addr().String()
}

func (p *proxy) accept(t *testing.T, listener net.Listener, all *sync.WaitGroup) {
	t.Helper()
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.target)
		if err != nil || !p.keep(client, server) {
			_ = client.Close()
			if err == nil {
				_ = server.Close()
			}
			continue
		}
		all.Go(func() { p.copy(server, client, p.fromClient) })
		all.Go(func() { p.copy(client, server, p.fromServer) })
	}
}

func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.refusing {
		p.conns = append(p.conns, conns...)
	}
	return !p.refusing
}

// cutAll cuts every connection; with refusing set it lets none be made any more.
func (p *proxy) cutAll(refusing bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = refusing
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// copy hands frames on until one side is gone.
func (p *proxy) copy(to, from net.Conn, look func([]byte) ([]byte, verdict)) {
	defer func() {
		_ = to.Close()
		_ = from.Close()
	}()
	reader := bufio.NewReaderSize(from, 64<<10)
	for {
		frame, err := readFrame(reader)
		if err != nil {
			return
		}
		p.mu.Lock()
		changed, what := look(frame)
		p.mu.Unlock()
		if what == pass || what == cut {
			if _, err := to.Write(changed); err != nil {
				return
			}
		}
		switch what {
		case cut:
			// The other side reads what was sent before it sees the end.
			if tcp, ok := to.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
			_ = from.Close()
			_, _ = io.Copy(io.Discard, to)
			return
		case sever:
			return
		case pass, swallow:
		}
	}
}

// readFrame returns one operation with its payload, where it has one.
func readFrame(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	fields := bytes.Fields(line)
	if len(fields) == 0 {
		return line, nil
	}
	switch string(fields[0]) {
	case "PUB", "HPUB", "MSG", "HMSG":
	default:
		return line, nil
	}
	size, err := strconv.Atoi(string(fields[len(fields)-1]))
	if err != nil {
		return nil, err
	}
	payload := make([]byte, size+2)
	_, err = io.ReadFull(r, payload)
	return append(line, payload...), err
}

// isCommit reports whether a frame of a client ends an atomic batch.
func isCommit(frame []byte) bool {
	return bytes.HasPrefix(frame, []byte("HPUB ")) && bytes.Contains(frame, []byte("Nats-Batch-Commit: 1"))
}

// isCommitAnswer reports whether a frame of the server acknowledges an atomic batch.
func isCommitAnswer(frame []byte) bool {
	return bytes.HasPrefix(frame, []byte("MSG ")) && bytes.Contains(frame, []byte(`"batch":`)) && bytes.Contains(frame, []byte(`"count":`))
}

// isAnswer reports whether a frame of the server acknowledges a single message.
func isAnswer(frame []byte) bool {
	return bytes.HasPrefix(frame, []byte("MSG ")) && bytes.Contains(frame, []byte(`{"stream":"PRESENCE_DELIVERIES","seq":`)) &&
		!isCommitAnswer(frame)
}

// isUpdate reports whether a frame of the server hands an update out.
func isUpdate(frame []byte) bool {
	return (bytes.HasPrefix(frame, []byte("MSG presence.update.")) || bytes.HasPrefix(frame, []byte("HMSG presence.update."))) &&
		bytes.Contains(frame, []byte("$JS.ACK."))
}
