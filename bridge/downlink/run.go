package downlink

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"m2mbridge/bridge/due"
)

const (
	lookBatch = 100 // downlinks claimed at once
	lookPause = 200 * time.Millisecond
	tidyEach  = time.Second // between looks for what could not be done at once
)

// Run does what the time demands of downlinks, of all partitions, until ctx ends; it returns nil then. Any number of nodes
// may run it.
func (s *Service) Run(ctx context.Context) error {
	worker := due.NewWorker(due.WorkerConfig{
		Set: s.due, Handler: due.HandlerFunc(s.act), Blocking: s.cfg.Blocking, Metrics: s.cfg.Metrics, Log: s.log,
	})
	var g errgroup.Group
	g.Go(func() error { return worker.Run(ctx) })
	g.Go(func() error { s.tidyUp(ctx); return nil })
	err := g.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Deadline)
	defer cancel()
	if err := s.tellUntold(last); err != nil {
		s.log.Warn("outcomes of downlinks are not noted: their attempts' leases end", "error", err)
	}
	return err
}

// act looks at one that is due.
func (s *Service) act(ctx context.Context, c due.Claim) due.Outcome {
	if _, err := s.do(ctx, c.Partition, "look", c.ID, c.Lease, s.cfg.Schedule); err != nil {
		return due.Again(due.In(lookPause))
	}
	return due.Left() // the script has set its next time
}

// tidyUp tells outcomes that Redis could not be told before, and ends the downlinks of removed devices.
func (s *Service) tidyUp(ctx context.Context) {
	failing := false
	for ctx.Err() == nil {
		err := s.tidy(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			s.log.Warn("downlinks are not kept up", "error", err)
		}
		if err == nil && failing {
			s.log.Info("downlinks are kept up again")
		}
		failing = err != nil
		timer := time.NewTimer(tidyEach)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.nudges:
		}
		timer.Stop()
	}
}

func (s *Service) tidy(ctx context.Context) error {
	if err := s.tellUntold(ctx); err != nil {
		return err
	}
	return s.dropRemoved(ctx)
}

// nudge has what is to be tidied up looked at now.
func (s *Service) nudge() {
	select {
	case s.nudges <- struct{}{}:
	default:
	}
}

// Look does at once what Run would do by now. It is for who has a clock of its own.
func (s *Service) Look(ctx context.Context) error {
	if err := s.tidy(ctx); err != nil {
		return err
	}
	asks := make([]due.Ask, s.cfg.Keys.Count())
	for p := range asks {
		asks[p] = due.Ask{Partition: p, N: lookBatch}
	}
	for claimed := 1; claimed > 0; {
		claimed = 0
		for _, b := range s.due.Claim(ctx, asks...) {
			if b.Err != nil {
				return b.Err
			}
			for _, c := range b.Claims {
				if _, err := s.do(ctx, c.Partition, "look", c.ID, c.Lease, s.cfg.Schedule); err != nil {
					return err
				}
				claimed++
			}
		}
	}
	return nil
}
