package federation

import (
	"sync"
	"time"
)

// cache keeps values until they expire, a bounded number of them. Its methods may be
// called by several goroutines at once.
type cache[K comparable, V any] struct {
	limit int

	mu     sync.Mutex
	values map[K]expiring[V]
}

type expiring[V any] struct {
	value   V
	expires time.Time
}

func newCache[K comparable, V any](limit int) *cache[K, V] {
	return &cache[K, V]{limit: limit, values: make(map[K]expiring[V])}
}

// get returns a value that has not expired.
func (c *cache[K, V]) get(key K, now time.Time) (V, bool) {
	value, expires, found := c.last(key)
	return value, found && now.Before(expires)
}

// last returns a value, expired or not.
func (c *cache[K, V]) last(key K) (value V, expires time.Time, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, found := c.values[key]
	return e.value, e.expires, found
}

func (c *cache[K, V]) put(key K, value V, now, expires time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, replaces := c.values[key]; !replaces && len(c.values) >= c.limit {
		c.makeRoom(now)
	}
	c.values[key] = expiring[V]{value: value, expires: expires}
}

// makeRoom drops what has expired, or else any one value.
func (c *cache[K, V]) makeRoom(now time.Time) {
	for key, e := range c.values {
		if !now.Before(e.expires) {
			delete(c.values, key)
		}
	}
	for key := range c.values {
		if len(c.values) < c.limit {
			return
		}
		delete(c.values, key)
	}
}

func (c *cache[K, V]) remove(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.values, key)
}
