package federation_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The other side is slow to receive, so that some of a transaction waits in this machine when
// it is given up. That is never sent: it could arrive after newer transactions.
func TestTransactionThatIsGivenUpDoesNotArriveLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	listener := w.slowReceiver(t, "hs.org:99", "hs.org")
	ctx, giveUp := context.WithCancel(t.Context())
	wrote := make(chan struct{})
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { close(wrote) }})
	c := w.client(t)
	sent := make(chan error, 1)
	go func() {
		long := transaction("1", "hs.org:99")
		long.EDUs[0].Content = json.RawMessage(`"` + strings.Repeat("x", longBytes) + `"`)
		sent <- c.Send(ctx, long)
	}()
	conn := listener.accept(t).NetConn()
	await(t, wrote, "writing of the request")
	giveUp()
	if err := await(t, sent, "end of the send"); !errors.Is(err, context.Canceled) {
		t.Fatalf("Send() = %v, want that it was given up", err)
	}
	n, err := io.Copy(io.Discard, conn)
	if n > longBytes/2 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%d bytes arrived, and then %v; want the begin of the %d of the transaction, and that the connection is reset", n, err, longBytes)
	}
}

// longBytes is more than a slowReceiver receives before it reads, and less than waits in
// this machine.
const longBytes = 300 << 10

// slowReceiver is a homeserver that proves itself and then receives next to nothing.
type slowReceiver struct {
	net.Listener

	tls *tls.Config
}

func (w *world) slowReceiver(t *testing.T, address string, names ...string) *slowReceiver {
	t.Helper()
	small := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
	}}
	listener, err := small.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	w.place(address, listener.Addr().String())
	return &slowReceiver{Listener: listener, tls: tlsConfig(w.authority.Certificate(t, names...))}
}

// accept waits for a connection.
func (r *slowReceiver) accept(t *testing.T) *tls.Conn {
	t.Helper()
	plain, err := r.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.Close() })
	if err := plain.SetReadDeadline(time.Now().Add(eventTimeout)); err != nil {
		t.Fatal(err)
	}
	conn := tls.Server(plain, r.tls)
	if err := conn.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return conn
}

// A connection whose transaction was answered ends in order, not by a reset, which servers
// log as a failure.
func TestConnectionThatIsIdleEndsInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	listener := w.slowReceiver(t, "hs.org:99", "hs.org")
	c := w.client(t)
	sent := make(chan error, 1)
	go func() { sent <- c.Send(t.Context(), transaction("1", "hs.org:99")) }()
	conn := listener.accept(t)
	request, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, request.Body); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
		t.Fatal(err)
	}
	if err := await(t, sent, "end of the send"); err != nil {
		t.Fatalf("Send() = %v, want nil", err)
	}
	c.Close()
	if _, err := io.Copy(io.Discard, conn.NetConn()); err != nil {
		t.Errorf("the connection ends with %v, want an end in order", err)
	}
}
