package downlink

import (
	"context"
	"sync"
	"time"
)

// untold are outcomes that Redis could not be told. They are told by Run: else a downlink that has arrived would be sent again.
type untold struct {
	mu   sync.Mutex
	list []outcome
}

// outcome is what became of an attempt.
type outcome struct {
	handed    Handed
	delivered bool
	cause     string
	until     time.Time // of no use afterwards
}

const untoldKept = 100_000

// Settle is Done for who will not ask again: if Redis cannot be told now, Run tells it as soon as it can.
func (s *Service) Settle(ctx context.Context, h Handed, delivered bool, cause string) error {
	_, err := s.Done(ctx, h, delivered, cause)
	if err == nil {
		return nil
	}
	until := s.now().Add(s.cfg.TTL) // that it arrived is true for ever
	if !delivered {
		until = s.now().Add(s.cfg.Lease)
	}
	s.untold.keep(outcome{h, delivered, cause, until})
	return err
}

func (u *untold) keep(o ...outcome) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.list = append(u.list, o[:min(len(o), untoldKept-len(u.list))]...)
}

func (u *untold) take() []outcome {
	u.mu.Lock()
	defer u.mu.Unlock()
	list := u.list
	u.list = nil
	return list
}

// tellUntold stops at the first that Redis does not take.
func (s *Service) tellUntold(ctx context.Context) error {
	list := s.untold.take()
	for i, o := range list {
		if s.now().After(o.until) {
			continue
		}
		if _, err := s.Done(ctx, o.handed, o.delivered, o.cause); err != nil {
			s.untold.keep(list[i:]...)
			return err
		}
	}
	return nil
}
