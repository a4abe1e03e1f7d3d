package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// TestManySubscribers: a thousand sessions of one topic are given all of it, each
// in order.
func TestManySubscribers(t *testing.T) {
	t.Parallel()
	slow(t)
	const subscribers, messages = 1000, 200
	s := newSite(t)
	n := s.serve()
	d := s.device(0, nil)
	apps := []app{s.app("dashboard", []string{"uplink.read"}), s.app("archive", []string{"uplink.read"})}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { cancel(); running.Wait() })
	var complete, wrong atomic.Int64
	for i := range subscribers {
		a, next := apps[i%len(apps)], 0
		sub, err := fleet.Subscribe(ctx, fleet.SubscriberConfig{
			Addr: n.addr("mqtt"), Filter: "uplinks/IMEI/" + d.Value(), QoS: 1,
			Login: fleet.Login{ClientID: fmt.Sprint("subscriber-", i), Username: a.name, Password: a.key},
			OnMessage: func(_, payload []byte) {
				if !bytes.HasSuffix(payload, append(strconv.AppendInt([]byte(`"v":`), int64(next), 10), "}]"...)) {
					if wrong.Add(1) < 5 {
						t.Errorf("subscriber %d: message %d is %s", i, next, payload)
					}
				}
				if next++; next == messages {
					complete.Add(1)
				}
			},
		})
		if err != nil {
			t.Fatalf("subscriber %d: %v", i, err)
		}
		running.Go(func() {
			if err := sub.Run(ctx); err != nil {
				t.Errorf("subscriber %d: %v", i, err)
			}
		})
	}
	start := time.Now()
	s.flood(n.addr("mqtt"), []fleet.Device{d}, 0, messages)
	eventually(t, 60*time.Second, "all subscribers have all", func() bool { return complete.Load() == subscribers })
	t.Logf("%d deliveries in %s", subscribers*messages, time.Since(start).Round(time.Millisecond))
	if wrong.Load() > 0 {
		t.Errorf("%d deliveries were not the next", wrong.Load())
	}
}
