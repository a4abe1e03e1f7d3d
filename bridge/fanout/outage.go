package fanout

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// outage logs once per change that Redis cannot be read.
type outage struct {
	log        *slog.Logger
	lost, back string
	now        atomic.Bool
}

// report takes the outcome of a read.
func (o *outage) report(err error) {
	switch {
	case errors.Is(err, context.Canceled): // which says nothing of Redis
	case err != nil && !errors.Is(err, redis.Nil):
		if !o.now.Swap(true) {
			o.log.Warn(o.lost, "error", err)
		}
	case o.now.Load() && o.now.Swap(false):
		o.log.Info(o.back)
	}
}

// ignorable tells errors that say nothing about Redis.
func ignorable(err error) bool {
	return err == nil || errors.Is(err, redis.Nil) || errors.Is(err, context.Canceled)
}
