package uplink

import (
	"log/slog"
	"sync/atomic"
)

// state logs once per change, not per uplink, that something is down.
type state struct {
	log        *slog.Logger
	lost, back string // what is logged
	down       atomic.Bool
}

func (s *state) failed(err error) {
	if s.down.CompareAndSwap(false, true) {
		s.log.Error(s.lost, "error", err)
	}
}

func (s *state) succeeded() {
	if s.down.Load() && s.down.CompareAndSwap(true, false) {
		s.log.Info(s.back)
	}
}
