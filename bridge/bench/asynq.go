//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"m2mbridge/bridge/fleet"
)

// asynqStage is github.com/hibiken/asynq, a queue of tasks in Redis that is in wide use, with its Redis. It is as it comes, but for
// the number of its workers.
type asynqStage struct {
	redis  *redisServer
	option asynq.RedisClientOpt
	client *asynq.Client
}

// asynqWorkers at a time: it waits for Redis with each task.
const asynqWorkers = 64

func (b *bench) openAsynq(ctx context.Context) (*asynqStage, error) {
	r, err := b.startRedis(ctx, aofOff)
	if err != nil {
		return nil, err
	}
	o := asynq.RedisClientOpt{PoolSize: asynqWorkers + 8}
	var unix bool
	if o.Addr, unix = strings.CutPrefix(r.url, "unix://"); unix {
		o.Network = "unix"
	} else {
		o.Addr = strings.TrimPrefix(r.url, "redis://")
	}
	return &asynqStage{redis: r, option: o, client: asynq.NewClient(o)}, nil
}

func (a *asynqStage) close() {
	_ = a.client.Close()
	a.redis.stop()
}

// schedule adds n tasks, whose times at gives.
func (a *asynqStage) schedule(ctx context.Context, n int, at func(i int) time.Time) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(asynqWorkers)
	for i := range n {
		group.Go(func() error {
			t := at(i)
			task := asynq.NewTask("due", binary.BigEndian.AppendUint64(nil, uint64(t.UnixNano())))
			_, err := a.client.EnqueueContext(ctx, task, asynq.ProcessAt(t))
			return err
		})
	}
	return group.Wait()
}

// waiting adds members to its set of scheduled tasks that are not due in our time; it never looks at what they are.
func (a *asynqStage) waiting(ctx context.Context, n int) error {
	client := redis.NewClient(&redis.Options{Network: a.option.Network, Addr: a.option.Addr})
	defer func() { _ = client.Close() }()
	later := float64(time.Now().Add(24 * time.Hour).Unix())
	for first := 0; first < n; first += dueChunk {
		var members []redis.Z
		for i := first; i < min(first+dueChunk, n); i++ {
			members = append(members, redis.Z{Score: later + float64(i), Member: fmt.Sprintf("%032x", uint64(i)*0x9e3779b97f4a7c15)})
		}
		if err := client.ZAdd(ctx, "asynq:{default}:scheduled", members...).Err(); err != nil {
			return err
		}
	}
	return nil
}

// work runs its server until n tasks are done.
func (a *asynqStage) work(ctx context.Context, n int, each func(*asynq.Task)) error {
	server := asynq.NewServer(a.option, asynq.Config{Concurrency: asynqWorkers, Logger: silent{}})
	var done atomic.Int64
	all := make(chan struct{})
	err := server.Start(asynq.HandlerFunc(func(_ context.Context, t *asynq.Task) error {
		each(t)
		if done.Add(1) == int64(n) {
			close(all)
		}
		return nil
	}))
	if err != nil {
		return err
	}
	defer server.Shutdown()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	select {
	case <-all:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("asynq has done %d of %d: %w", done.Load(), n, ctx.Err())
	}
}

// drain measures n tasks that are all due, from the first one on.
func (a *asynqStage) drain(ctx context.Context, n int) (sample, error) {
	// It puts no task into the set that is due already: all are, when the last one is there.
	if err := a.schedule(ctx, n, func(int) time.Time { return time.Now().Add(time.Second) }); err != nil {
		return sample{}, err
	}
	if err := sleep(ctx, time.Second+100*time.Millisecond); err != nil {
		return sample{}, err
	}
	var first atomic.Int64
	s, err := measured(a.redis.pid, func() (int, error) {
		return n, a.work(ctx, n, func(*asynq.Task) { first.CompareAndSwap(0, time.Now().UnixNano()) })
	})
	s.elapsed = time.Since(time.Unix(0, first.Load()))
	return s, err
}

// late measures n tasks, each against its time.
func (a *asynqStage) late(ctx context.Context, n int, at func(i int) time.Time) (s sample, err error) {
	s.latency = new(fleet.Histogram)
	if err := a.schedule(ctx, n, at); err != nil {
		return s, err
	}
	return s, a.work(ctx, n, func(t *asynq.Task) {
		s.latency.Add(time.Since(time.Unix(0, int64(binary.BigEndian.Uint64(t.Payload())))))
	})
}

// silent takes what asynq logs.
type silent struct{}

func (silent) Debug(...any) {}
func (silent) Info(...any)  {}
func (silent) Warn(...any)  {}
func (silent) Error(...any) {}
func (silent) Fatal(...any) {}
