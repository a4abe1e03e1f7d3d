package bridge_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/fanout"
	"m2mbridge/bridge/store"
	"m2mbridge/bridge/stream"
	"m2mbridge/broker"
)

// lines is what was logged.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// With as many partitions as there may be, each waits for its streams on a
// connection of its own, and none for a connection.
func TestTailOfManyPartitions(t *testing.T) {
	if testing.Short() {
		t.Skip("makes thousands of connections")
	}
	s := redistest.Start(t)
	st, err := store.Open(t.Context(), store.Config{URL: "redis://" + s.Addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	logged := &lines{}
	keys := auth.Keyspace{Partitions: 4096}
	f := fanout.New(fanout.Config{Client: st.Client, Blocking: st.Blocking, Keys: keys, Log: slog.New(slog.NewTextHandler(logged, nil))})
	defer f.Follow(stream.Events)()
	ready, begin := make(chan struct{}), time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = f.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() { cancel(); <-ended })
	<-ready
	t.Logf("ready after %v", time.Since(begin))
	writer := redis.NewClient(&redis.Options{Addr: s.Addr, DialTimeout: time.Minute, ReadTimeout: time.Minute, ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = writer.Close() })
	pipe := writer.Pipeline()
	for p := range keys.Count() {
		pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: stream.Key(keys, stream.Events, p), Values: []any{"kind", "presence"}})
		if pipe.Len() < 128 && p < keys.Count()-1 { // each wakes a connection: all at once take longer than a reply may
			continue
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	written := time.Now()
	for p, s := range f.Of("events") {
		for f.End(s).ID == (broker.ID{}) {
			select {
			case <-f.Changed():
			case <-time.After(50 * time.Millisecond):
			}
			if time.Since(written) > 3*time.Minute {
				t.Fatalf("partition %d is not followed: %s", p, logged)
			}
		}
	}
	t.Logf("all followed after %v, %d connections", time.Since(begin), st.Blocking.PoolStats().TotalConns)
	if text := logged.String(); strings.Contains(text, "pool timeout") {
		t.Errorf("%s", text)
	}
}
