package uplink

import (
	"log/slog"
	"sync/atomic"
)

// storeState logs that Redis cannot store once per change, not per uplink.
type storeState struct {
	log  *slog.Logger
	down atomic.Bool
}

func (s *storeState) failed(err error) {
	if s.down.CompareAndSwap(false, true) {
		s.log.Error("redis cannot store uplinks: devices are told to try again", "error", err)
	}
}

func (s *storeState) succeeded() {
	if s.down.Load() && s.down.CompareAndSwap(true, false) {
		s.log.Info("redis stores uplinks again")
	}
}
