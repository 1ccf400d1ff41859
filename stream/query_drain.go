package stream

import "context"

// drain returns when the server sends no more requests and every one it has sent
// is handed on, or ctx ends.
func (s *queryService) drain(ctx context.Context) {
	if s.service == nil {
		return
	}
	if err := s.service.Stop(); err != nil {
		s.log.Warn("stopping the query service", "error", err)
	}
	if err := s.nc.FlushWithContext(ctx); err != nil {
		return // No connection, no requests.
	}
	handed := make(chan struct{})
	if err := s.nc.Barrier(func() { close(handed) }); err != nil {
		return
	}
	select {
	case <-handed:
	case <-ctx.Done():
	}
}
