package natstest

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

// Verdict is what a Proxy does with a frame.
type Verdict int

// The verdicts.
const (
	Pass    Verdict = iota
	Swallow         // the other side never sees it
	Cut             // it gets through, then the connection is cut
	Sever           // the connection is cut, and it does not get through
)

// Proxy stands between clients and a server and looks at every frame of the NATS
// protocol. Its two functions return what becomes of a frame, and the frame or
// another in its place. They run one at a time; without one, everything passes.
type Proxy struct {
	FromClient func(frame []byte) ([]byte, Verdict)
	FromServer func(frame []byte) ([]byte, Verdict)

	target string
	mu     sync.Mutex // held while a function runs
	conns  []net.Conn
	closed bool
}

// Start listens for the length of the test and returns the URL to connect to
// instead of target.
func (p *Proxy) Start(tb testing.TB, target string) string {
	tb.Helper()
	p.target = strings.TrimPrefix(target, "nats://")
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() { p.accept(tb, listener, &all) })
	tb.Cleanup(func() {
		_ = listener.Close()
		p.close()
		all.Wait()
	})
	return "nats://" + listener.Addr().String()
}

func (p *Proxy) accept(tb testing.TB, listener net.Listener, all *sync.WaitGroup) {
	tb.Helper()
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).DialContext(tb.Context(), "tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.keep(client, server)
		all.Go(func() { p.copy(server, client, p.FromClient) })
		all.Go(func() { p.copy(client, server, p.FromServer) })
	}
}

// keep remembers connections that are to be cut.
func (p *Proxy) keep(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, conns...)
	if p.closed {
		closeAll(p.conns)
	}
}

// CutAll cuts every connection. New ones can be made.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	closeAll(p.conns)
	p.conns = nil
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.CutAll()
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		_ = c.Close()
	}
}

// copy hands frames on until one side is gone.
func (p *Proxy) copy(to, from net.Conn, look func([]byte) ([]byte, Verdict)) {
	defer closeAll([]net.Conn{to, from})
	reader := bufio.NewReaderSize(from, 64<<10)
	for {
		frame, err := readFrame(reader)
		if err != nil {
			return
		}
		frame, what := p.judge(frame, look)
		if what == Pass || what == Cut {
			if _, err := to.Write(frame); err != nil {
				return
			}
		}
		switch what {
		case Cut:
			letRead(to, from)
			return
		case Sever:
			return
		case Pass, Swallow:
		}
	}
}

// letRead ends both connections once the other side has read what was sent to it.
func letRead(to, from net.Conn) {
	if tcp, ok := to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	_ = from.Close()
	_, _ = io.Copy(io.Discard, to)
}

func (p *Proxy) judge(frame []byte, look func([]byte) ([]byte, Verdict)) ([]byte, Verdict) {
	if look == nil {
		return frame, Pass
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return look(frame)
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
	payload := make([]byte, size+len("\r\n"))
	_, err = io.ReadFull(r, payload)
	return append(line, payload...), err
}
