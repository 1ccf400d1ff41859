package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/presence-router/presence-router/routing/presence"
)

// How long answers are kept: what their headers say, within bounds, and failures
// longer each time.
const (
	defaultLifetime = 24 * time.Hour
	minLifetime     = 5 * time.Minute
	maxLifetime     = 48 * time.Hour
	firstFailure    = time.Minute
	longestFailure  = time.Hour
	failureGrace    = 24 * time.Hour // for which a delegation that has expired outlives failures
)

const (
	maxWellKnown = 50 << 10
	maxRedirects = 5
)

// wellKnown asks domains which server they delegate to.
type wellKnown struct {
	client *http.Client
	now    func() time.Time
	kept   *cache[presence.ServerName, delegation]
}

// delegation is the answer of a domain.
type delegation struct {
	to       presence.ServerName // zero where it delegates to none, or did not answer as it should
	failures int                 // in a row
	good     time.Time           // until when it outlives failures
}

// failed returns what holds after err: the delegation as it was, where the domain does
// not say that there is none any more.
func (d delegation) failed(err error, now time.Time) delegation {
	if errors.Is(err, errNoDelegation) || !now.Before(d.good) {
		return delegation{failures: d.failures + 1}
	}
	d.failures++
	return d
}

// ask returns the server that a domain delegates to; false where it does not. The
// error says that ctx has ended.
func (w *wellKnown) ask(ctx context.Context, domain presence.ServerName) (presence.ServerName, bool, error) {
	now := w.now()
	last, expires, found := w.kept.last(domain)
	if found && now.Before(expires) {
		return last.to, !last.to.IsZero(), nil
	}
	to, lifetime, err := w.fetch(ctx, domain, now)
	if ctx.Err() != nil {
		return presence.ServerName{}, false, fmt.Errorf("ask for delegation: %w", context.Cause(ctx))
	}
	answer := delegation{to: to, good: now.Add(lifetime + failureGrace)}
	if err != nil {
		answer = last.failed(err, now)
		lifetime = min(firstFailure<<min(last.failures, 10), longestFailure)
	}
	w.kept.put(domain, answer, now, now.Add(lifetime))
	return answer.to, !answer.to.IsZero(), nil
}

var (
	errTooManyRedirects = errors.New("too many redirects")
	errInsecureRedirect = errors.New("redirect to something else than https")
	errWellKnown        = errors.New("no answer as it should be")
	errNoDelegation     = errors.New("the domain delegates to no server")
)

// checkRedirect is for the client of a wellKnown.
func checkRedirect(request *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return errTooManyRedirects
	}
	if request.URL.Scheme != "https" {
		return errInsecureRedirect
	}
	return nil
}

// fetch returns the delegation and how long it is valid.
func (w *wellKnown) fetch(ctx context.Context, domain presence.ServerName, now time.Time) (presence.ServerName, time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+domain.String()+"/.well-known/matrix/server", nil)
	if err != nil {
		return presence.ServerName{}, 0, fmt.Errorf("ask for delegation: %w", err)
	}
	response, err := w.client.Do(request)
	if err != nil {
		return presence.ServerName{}, 0, fmt.Errorf("ask for delegation: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // It was only read.
	if response.StatusCode == http.StatusNotFound || response.StatusCode == http.StatusGone {
		return presence.ServerName{}, 0, errNoDelegation
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxWellKnown+1))
	if err != nil || response.StatusCode != http.StatusOK || len(body) > maxWellKnown {
		return presence.ServerName{}, 0, errWellKnown
	}
	to, err := parseDelegation(body)
	return to, lifetime(response.Header, now), err
}

func parseDelegation(body []byte) (presence.ServerName, error) {
	var answer struct {
		Server string `json:"m.server"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return presence.ServerName{}, fmt.Errorf("decode delegation: %w", err)
	}
	return presence.ParseServerName(answer.Server)
}

// lifetime returns how long an answer with the headers is valid.
func lifetime(header http.Header, now time.Time) time.Duration {
	return min(max(minLifetime, statedLifetime(header, now)), maxLifetime)
}

func statedLifetime(header http.Header, now time.Time) time.Duration {
	for directive := range strings.SplitSeq(header.Get("Cache-Control"), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 32); err == nil {
				return time.Duration(seconds) * time.Second
			}
		}
	}
	if expires := header.Get("Expires"); expires != "" {
		at, err := http.ParseTime(expires)
		if err != nil { // Such as 0, which means that it has expired.
			return 0
		}
		return at.Sub(now)
	}
	return defaultLifetime
}
