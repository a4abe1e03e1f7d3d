package uplink

import (
	"context"
	"strconv"
	"time"
)

// trimEvery is how often what is too old is trimmed. Length is kept by the
// commit script; age goes by the clock, also while nothing comes in.
const trimEvery = time.Minute

// trim drops uplinks older than MaxAge until ctx ends.
func (s *Service) trim(ctx context.Context) {
	if s.cfg.MaxAge <= 0 {
		return
	}
	ticker := time.NewTicker(trimEvery)
	defer ticker.Stop()
	for {
		if err := s.trimOnce(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Debug("streams not trimmed", "error", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// trimOnce drops what is too old by the clock of Redis, which made the ids.
func (s *Service) trimOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, trimEvery)
	defer cancel()
	now, err := s.cfg.Client.Time(ctx).Result()
	if err != nil {
		return err
	}
	oldest := strconv.FormatInt(now.Add(-s.cfg.MaxAge).UnixMilli(), 10)
	for p := range s.cfg.Keys.Count() {
		if err := s.cfg.Client.XTrimMinIDApprox(ctx, UplinksKey(s.cfg.Keys, p), oldest, 0).Err(); err != nil {
			return err
		}
	}
	return nil
}
