package e2e_test

import (
	"context"
	"fmt"

	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/fleet"
)

// TestRedisKilledAtRandom is the promise under fire: devices on both edges send
// numbered uplinks, each until it is acknowledged, while Redis (synced before
// each reply) is killed at random and restarted, four times, or ten if M2M_LONG
// is set. What was acknowledged is stored, nothing twice. An app is subscribed
// through it all.
//
// M2M_E2E_SEED repeats a run's moments.
func TestRedisKilledAtRandom(t *testing.T) {
	slow(t)
	random := seeded(t)
	s := newSite(t, redistest.AppendOnly())
	n := s.serve()
	s.devices(0, fleetSize, nil)
	witness := s.witness(n, "witness")
	fleets := s.startFleets(n, n)
	kills := 4
	if os.Getenv("M2M_LONG") != "" {
		kills = 10
	}
	for i := range kills {
		fleets.acknowledged(50)
		rest(within(random, 0, 1500*time.Millisecond)) // the moment is the matter
		s.redis.Kill()
		rest(within(random, 0, 1500*time.Millisecond))
		s.redis.Restart()
		t.Logf("kill %d: %s", i+1, fleets)
	}
	fleets.acknowledged(200)
	fleets.stop()
	stored := s.numbered()
	fleets.hold(stored)
	if fleets.repeats() == 0 {
		t.Error("no message was sent twice: the kills met nothing")
	}
	witness.hold(stored)
}

// seeded gives a source of randomness that a failed run can be repeated with.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("M2M_E2E_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("M2M_E2E_SEED: %v", err)
		}
	}
	t.Logf("M2M_E2E_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func within(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// rest lets time pass in which the rest of the world acts.
func rest(d time.Duration) { <-time.After(d) }

// fleets are devices on both edges that send numbered messages.
type fleets struct {
	s       *site
	numbers []*fleet.Numbered // one for each edge
	stop    func()            // returns when they have stopped
}

const fleetSize = 8 // half of them on each edge

// startFleets starts devices, registered already, on HTTP and on MQTT, with several messages in
// flight, until stop.
func (s *site) startFleets(overHTTP, overMQTT *node) *fleets {
	s.Helper()
	return s.startFleetsAt(overHTTP.addr("http"), overMQTT.addr("mqtt"))
}

// startFleetsAt is startFleets by addresses.
func (s *site) startFleetsAt(overHTTP, overMQTT string) *fleets {
	s.Helper()
	list := fleet.Devices(s.Name(), 0, fleetSize)
	f := &fleets{s: s}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i, via := range []fleet.Via{fleet.HTTP, fleet.MQTT} {
		number := fleet.NewNumbered(fleet.NumberedConfig{
			Via: via, Addr: []string{overHTTP, overMQTT}[i], Devices: list[i*fleetSize/2 : (i+1)*fleetSize/2], Window: 8, Epoch: time.Unix(1700000000, 0),
		})
		f.numbers = append(f.numbers, number)
		running.Go(func() {
			if err := number.Run(ctx); err != nil {
				s.Errorf("%s: %v", via, err)
			}
		})
	}
	f.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	s.Cleanup(f.stop)
	return f
}

// acknowledged waits until each edge has so many more acknowledgements.
func (f *fleets) acknowledged(more int) {
	f.s.Helper()
	for i, number := range f.numbers {
		start := number.Acked()
		eventually(f.s.T, 20*time.Second, fmt.Sprintf("fleet %d has %d more acknowledgements", i, more), func() bool { return number.Acked() >= start+more })
	}
}

func (f *fleets) repeats() (n int) {
	for _, number := range f.numbers {
		n += number.Repeats()
	}
	return n
}

func (f *fleets) String() string {
	text := ""
	for i, via := range []string{"HTTP", "MQTT"} {
		text += fmt.Sprintf("%s %d acknowledged, %d repeats, %d breaks; ", via, f.numbers[i].Acked(), f.numbers[i].Repeats(), f.numbers[i].Broken())
	}
	return text
}

// hold compares what was acknowledged with what is stored.
func (f *fleets) hold(stored []fleet.Number) {
	f.s.Helper()
	f.s.Logf("%s%d stored", f, len(stored))
	repeated := map[fleet.Number]bool{}
	for _, number := range f.numbers {
		d := number.Compare(func(yield func(fleet.Number) bool) {
			for _, n := range stored {
				if !yield(n) {
					return
				}
			}
		})
		if len(d.Missing) > 0 {
			f.s.Errorf("%d messages were acknowledged and are not stored: %v", len(d.Missing), d.Missing[:min(10, len(d.Missing))])
		}
		for _, n := range d.Repeated {
			repeated[n] = true
		}
	}
	if len(repeated) > 0 {
		f.s.Errorf("%d messages are stored more than once: %v", len(repeated), repeated)
	}
}

// numbered reads all numbered messages from the stream, in its order.
func (s *site) numbered() (stored []fleet.Number) {
	s.Helper()
	for _, e := range s.storedPaged("uplinks") {
		stored = append(stored, number(s, e))
	}
	return stored
}

func number(s *site, e redis.XMessage) fleet.Number {
	s.Helper()
	n, ok := fleet.NumberOf([]byte(e.Values["pack"].(string)))
	if !ok {
		s.Errorf("stored something else: %v", e.Values)
	}
	return n
}

// witness is an app at QoS 1 that notes what it is given.
type witness struct {
	s    *site
	sub  *fleet.Subscriber
	stop func() error

	mu   sync.Mutex
	got  []fleet.Number
	gaps int
}

func (s *site) witness(n *node, name string) *witness {
	s.Helper()
	a := s.app(name, []string{"uplink.read", "downlink.read"})
	w := &witness{s: s}
	sub, err := fleet.Subscribe(context.Background(), fleet.SubscriberConfig{
		Addr: n.addr("mqtt"), Login: fleet.Login{ClientID: "witness", Username: a.name, Password: a.key}, Filter: "#", QoS: 1,
		OnMessage: w.note,
	})
	if err != nil {
		s.Fatal(err)
	}
	w.sub = sub
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- sub.Run(ctx) }()
	w.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	s.Cleanup(func() { _ = w.stop() })
	return w
}

func (w *witness) note(topic, payload []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n, ok := fleet.NumberOf(payload); ok {
		w.got = append(w.got, n)
	} else if string(topic) == "events/gap" {
		w.gaps++
	}
}

func (w *witness) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.got)
}

// hold compares what the app was given with what is stored: nothing else,
// nothing twice, in the stream's order for each device, and all of it unless
// the app was told of a gap.
func (w *witness) hold(stored []fleet.Number) {
	w.s.Helper()
	for deadline := time.Now().Add(10 * time.Second); w.count() < len(stored) && time.Now().Before(deadline); {
		rest(10 * time.Millisecond)
	}
	if err := w.stop(); err != nil {
		w.s.Errorf("the app's connection: %v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	place := map[fleet.Number]int{}
	for i, n := range stored {
		place[n] = i + 1
	}
	last, seen := map[string]int{}, map[fleet.Number]bool{}
	for _, n := range w.got {
		at := place[n]
		switch {
		case at == 0:
			w.s.Errorf("the app was given message %v, which is not stored", n)
		case seen[n]:
			w.s.Errorf("the app was given message %v twice", n)
		case at < last[n.Device]:
			w.s.Errorf("the app was given message %v after a later one", n)
		}
		seen[n], last[n.Device] = true, at
	}
	w.s.Logf("the app was given %d of %d, and told of %d gaps", len(seen), len(stored), w.gaps)
	if w.gaps == 0 && len(seen) != len(stored) {
		w.s.Errorf("the app was given %d of %d, and told of no gap", len(seen), len(stored))
	}
}
