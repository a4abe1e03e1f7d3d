package bridge_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/downlink"
	"m2mbridge/bridge/texter"
	"m2mbridge/bridge/uplink"
	"m2mbridge/sms"
)

// countingGateway takes every SMS, after a moment, and tells what it took.
type countingGateway struct{ sent atomic.Int64 }

func (*countingGateway) Name() string                   { return "counting" }
func (*countingGateway) Run(ctx context.Context) error  { <-ctx.Done(); return nil }
func (*countingGateway) Ready() (bool, <-chan struct{}) { return true, nil }

func (g *countingGateway) Submit(context.Context, sms.Message) (sms.Accepted, error) {
	n := g.sent.Add(1)
	if n%7 == 0 {
		return sms.Accepted{}, sms.ErrUnknown
	}
	return sms.Accepted{IDs: []string{fmt.Sprint("r", n)}, Receipts: true}, nil
}

// No attempt is begun after an uplink was stored, however closely they race: in each of so many races the attempts of a downlink
// are those that there were when its device came.
func TestNoAttemptAfterAnUplink(t *testing.T) {
	devices, rounds := 100, 100
	if raceEnabled && os.Getenv("M2M_LONG") == "" {
		devices = 20
	}
	server := redistest.Start(t)
	client, keys := server.Client(), auth.Keyspace{Partitions: 2}
	registry, err := auth.NewRegistry(auth.RegistryConfig{Client: client, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	// Attempts at every few milliseconds: one is about to be begun whenever the uplink comes.
	schedule := "0"
	for ms := 4; ms < 4000; ms += 4 {
		schedule += fmt.Sprint(",", ms)
	}
	downlinks := downlink.New(downlink.Config{
		Client: client, Keys: keys, Schedule: schedule + ";60000", SMS: func(string, []byte) (int, error) { return 1, nil },
	})
	uplinks, err := uplink.New(uplink.Config{Client: client, Keys: keys, Registry: registry, Downlinks: downlinks, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	gateway := &countingGateway{}
	texts := texter.New(texter.Config{
		Client: client, Keys: keys, Downlinks: downlinks, Gateway: gateway, Originator: "5277", WakeText: "wake", Window: 32, Blocking: client,
		Validity: func(d time.Duration) time.Duration { return d }, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = uplinks.Run(ctx) })
	wg.Go(func() { _ = texts.Run(ctx) })
	defer func() { cancel(); wg.Wait() }()

	var g errgroup.Group
	g.SetLimit(16)
	var tries, woken atomic.Int64
	for n := range devices {
		id := auth.DeviceID(fmt.Sprintf("IMEI:%015d", n))
		g.Go(func() error {
			if _, err := registry.PutDevice(ctx, auth.Device{ID: id, Secret: modelSecret, MSISDN: fmt.Sprintf("316%08d", n)}, auth.Create); err != nil {
				return err
			}
			for round := range rounds {
				made, _, err := downlinks.Create(ctx, downlink.Draft{Device: id, Channel: downlink.HTTP, Wake: true, Pack: []byte(`[{"n":"a","v":1}]`), Priority: 5})
				if err != nil {
					return err
				}
				time.Sleep(rand.N(6 * time.Millisecond)) // the race is where it is: anywhere
				v := submitWoken(ctx, uplinks, id, round)
				if v.Outcome != uplink.Stored || v.Downlink == nil || v.Downlink.ID != made.ID {
					return fmt.Errorf("%s round %d: %+v", id, round, v)
				}
				then, err := downlinks.Get(ctx, made.ID)
				if err != nil {
					return err
				}
				if then.SMS == nil || then.SMS.State != "over" {
					return fmt.Errorf("%s after its uplink: %+v", made.ID, then.SMS)
				}
				time.Sleep(rand.N(8 * time.Millisecond)) // more than a step: an attempt that is left would come
				v.Downlink.Settle(true, "test")
				now, err := downlinks.Get(ctx, made.ID)
				if err != nil || now.State != downlink.Succeeded {
					return fmt.Errorf("%s: %s, %w", made.ID, now.State, err)
				}
				if now.SMS.Attempts != then.SMS.Attempts {
					return fmt.Errorf("%s: %d attempts when its device came, %d afterwards", made.ID, then.SMS.Attempts, now.SMS.Attempts)
				}
				tries.Add(int64(now.SMS.Attempts))
				woken.Add(1)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	cancel()
	wg.Wait()
	// Nor was one submitted of which nobody knows.
	if woken.Load() != int64(devices*rounds) || tries.Load() != gateway.sent.Load() || tries.Load() == 0 {
		t.Errorf("%d races, %d attempts, %d submitted", woken.Load(), tries.Load(), gateway.sent.Load())
	}
	if n := client.ZCard(t.Context(), "m2m:{0}:due:sms").Val() + client.ZCard(t.Context(), "m2m:{1}:due:sms").Val(); n != 0 {
		t.Errorf("%d attempts are due still", n)
	}
	t.Logf("%d races, %d attempts before the uplinks", woken.Load(), tries.Load())
}

func submitWoken(ctx context.Context, s *uplink.Service, id auth.DeviceID, n int) uplink.Verdict {
	body := fmt.Appendf(nil, `[{"bn":"%s","bt":%d,"n":"t","v":1}]`, id.BaseName(), 1_700_000_000+n)
	sum := sha256.Sum256(append(body, modelSecret...))
	done := make(chan uplink.Verdict, 1)
	s.Submit(ctx, &uplink.Message{Via: uplink.HTTP, Body: body, Token: hex.EncodeToString(sum[:]), HasToken: true}, func(v uplink.Verdict) { done <- v })
	return <-done
}
