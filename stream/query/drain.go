package query

import "context"

// drain returns when the server sends no more requests and every one it has sent
// is handed on, or ctx ends.
func (s *queryService) drain(ctx context.Context) {
	if len(s.subscriptions) == 0 {
		return
	}
	for _, subscription := range s.subscriptions {
		_ = subscription.Drain() // It fails without a connection, and then it is gone as well.
	}
	if err := s.connections.answers.FlushWithContext(ctx); err != nil {
		return // No connection, no requests.
	}
	handed := make(chan struct{})
	if err := s.connections.answers.Barrier(func() { close(handed) }); err != nil {
		return
	}
	select {
	case <-handed:
	case <-ctx.Done():
	}
}
