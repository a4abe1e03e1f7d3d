package bridge

import (
	"context"
	"fmt"
	"sync"
)

// stage is parts that start and stop together.
type stage struct {
	ctx    context.Context
	cancel context.CancelFunc
	failed chan<- error
	mu     sync.Mutex // orders run before or after stop
	wg     sync.WaitGroup
}

func newStage(failed chan<- error) *stage {
	s := &stage{failed: failed}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// run starts a part; f must return soon after its context ends. A part that
// ends before, with an error, ends the program. After stop nothing starts.
func (s *stage) run(name string, f func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return
	}
	s.wg.Go(func() {
		err := f(s.ctx)
		if err == nil || s.ctx.Err() != nil {
			return
		}
		select {
		case s.failed <- fmt.Errorf("%s: %w", name, err):
		default: // one failure ends the program; this is not the first
		}
	})
}

// stop tells the parts to stop and returns when they have.
func (s *stage) stop() {
	s.mu.Lock()
	s.cancel()
	s.mu.Unlock()
	s.wg.Wait()
}
