package texter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/downlink"
	"m2mbridge/sms"
)

const patience = 10 * time.Second

// smsc is the far side of SMS.
type smsc struct {
	mu      sync.Mutex
	sent    []sms.Message
	times   []time.Time
	answer  func(n int, m sms.Message) (sms.Accepted, error) // to the n-th from 0; nil: accepted, its id n in hex
	closed  bool
	changed chan struct{}
	came    chan struct{}
	stopped bool
}

func newSMSC() *smsc { return &smsc{changed: make(chan struct{}), came: make(chan struct{}, 100_000)} }

func (s *smsc) Name() string { return "smsc" }

func (s *smsc) Run(ctx context.Context) error {
	<-ctx.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	return nil
}

func (s *smsc) Submit(_ context.Context, m sms.Message) (sms.Accepted, error) {
	s.mu.Lock()
	n := len(s.sent)
	s.sent, s.times = append(s.sent, m), append(s.times, time.Now())
	answer := s.answer
	s.mu.Unlock()
	s.came <- struct{}{}
	if answer != nil {
		return answer(n, m)
	}
	return sms.Accepted{IDs: []string{strconv.FormatInt(int64(n+10), 16)}, Receipts: true}, nil
}

func (s *smsc) Ready() (bool, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.closed, s.changed
}

func (s *smsc) set(closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = closed
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *smsc) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sent)
}

// bench is a texter over a server, with devices.
type bench struct {
	*Texter
	t         *testing.T
	downlinks *downlink.Service
	smsc      *smsc
}

func newBench(t *testing.T, server *redistest.Server, devices int, options ...func(*Config, *downlink.Config)) *bench {
	t.Helper()
	keys := auth.Keyspace{Partitions: 4}
	d := downlink.Config{
		Client: server.Client(), Keys: keys, Schedule: "0,60000;172800000",
		SMS: func(text string, _ []byte) (int, error) { return 1 + len(text)/160, nil },
	}
	b := &bench{t: t, smsc: newSMSC()}
	c := Config{
		Client: server.Client(), Keys: keys, Gateway: b.smsc, Originator: "5277", WakeText: "wake",
		Validity: func(d time.Duration) time.Duration { return d / 2 }, Log: slog.New(slog.DiscardHandler),
	}
	for _, o := range options {
		o(&c, &d)
	}
	b.downlinks = downlink.New(d)
	c.Downlinks = b.downlinks
	b.Texter = New(c)
	registry, err := auth.NewRegistry(auth.RegistryConfig{Client: server.Client(), Keys: c.Keys})
	if err != nil {
		t.Fatal(err)
	}
	sideBySide(t, devices, func(n int) error {
		_, err := registry.PutDevice(t.Context(), auth.Device{ID: device(n), Unsigned: true, MSISDN: msisdn(n)}, auth.Upsert)
		return err
	})
	return b
}

// sideBySide does it for all below n, in about that order.
func sideBySide(t *testing.T, n int, do func(int) error) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(16)
	for i := range n {
		g.Go(func() error { return do(i) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

func device(n int) auth.DeviceID { return auth.DeviceID(fmt.Sprintf("IMEI:%015d", n)) }
func msisdn(n int) string        { return fmt.Sprintf("316%08d", n) }

func (b *bench) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				b.t.Error(err)
			}
		case <-time.After(patience):
			b.t.Error("it does not stop")
		}
	})
	b.t.Cleanup(stop)
	return stop
}

func text(n int) downlink.Draft {
	return downlink.Draft{Device: device(n), Channel: downlink.SMS, Text: "hello", Priority: 5}
}

func (b *bench) create(n int) string {
	b.t.Helper()
	d, _, err := b.downlinks.Create(b.t.Context(), text(n))
	if err != nil {
		b.t.Fatal(err)
	}
	return d.ID
}

func (b *bench) came(n int) {
	b.t.Helper()
	for range n {
		select {
		case <-b.smsc.came:
		case <-time.After(patience):
			b.t.Fatalf("%d SMS came", b.smsc.count())
		}
	}
}

// is waits for a downlink to come to a state.
func (b *bench) is(id, want string) downlink.Downlink {
	b.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		d, err := b.downlinks.Get(b.t.Context(), id)
		if err != nil {
			b.t.Fatal(err)
		}
		if string(d.State) == want || d.SMS != nil && d.SMS.State == want {
			return d
		}
		if time.Now().After(end) {
			b.t.Fatalf("%s is %s, %+v (%s), not %s", id, d.State, d.SMS, d.Cause, want)
		}
	}
}

func (b *bench) receipt(r sms.Receipt) {
	b.t.Helper()
	if err := b.Receipt(b.t.Context(), "smsc", r); err != nil {
		b.t.Fatal(err)
	}
}

func TestReceiptsInEveryForm(t *testing.T) {
	s := redistest.Start(t)
	b := newBench(t, s, 8)
	answers := []string{"1A2B", "6700", "00abc", "123456789012345678", "f00d-7", "77", "0", "0-Mwy.1"}
	receipts := []string{"0000006699", "1a2c", "ABC", "1b69b4ba630f34e", "F00D-7", "77", "00", "0-Mwy.1"}
	b.smsc.answer = func(n int, _ sms.Message) (sms.Accepted, error) {
		return sms.Accepted{IDs: []string{answers[n]}, Receipts: true}, nil
	}
	b.run()
	for n := range answers {
		id := b.create(n)
		b.came(1)
		d := b.is(id, "accepted")
		b.receipt(sms.Receipt{ID: receipts[n], To: msisdn(n + 1), State: sms.Delivered}) // of another number: none of this one
		b.is(id, "accepted")
		// Forms are the gateway's guess; what they are spelled like is not to matter.
		b.receipt(sms.Receipt{ID: receipts[n], Forms: []string{receipts[n]}, To: "+" + msisdn(n), State: sms.Delivered})
		if d = b.is(id, "SUCCEEDED"); d.Attempts != 1 {
			t.Errorf("%+v", d)
		}
	}
	for n, m := range b.smsc.sent {
		if m.To != msisdn(n) || m.From != "5277" || m.Text != "hello" || m.Validity < 25*time.Second || m.Validity > 30*time.Second {
			t.Errorf("sent %+v", m)
		}
	}
}

// Some SMSCs give all parts of a message one id, and some put our number, a part of the device's, or none in a receipt.
func TestReceiptsOfOddSMSCs(t *testing.T) {
	s := redistest.Start(t)
	b := newBench(t, s, 3)
	b.smsc.answer = func(n int, _ sms.Message) (sms.Accepted, error) {
		return sms.Accepted{IDs: []string{fmt.Sprint("same", n), fmt.Sprint("SAME", n)}, Receipts: true}, nil
	}
	b.run()
	for n, to := range []string{"5277", "31600*****", ""} {
		id := b.create(n)
		b.is(id, "accepted")
		b.receipt(sms.Receipt{ID: fmt.Sprint("same", n), To: to, State: sms.Delivered})
		b.is(id, "SUCCEEDED")
	}
}

// naming is an SMSC that takes our ids.
type naming struct{ *smsc }

func (naming) IDs(m sms.Message) []string { return []string{fmt.Sprintf("%s.%d", m.ID, m.Attempt)} }

// A receipt of a message that was named beforehand counts, although its answer was lost.
func TestReceiptOfANamedMessage(t *testing.T) {
	s := redistest.Start(t)
	b := newBench(t, s, 1, func(c *Config, _ *downlink.Config) { c.Gateway = naming{c.Gateway.(*smsc)} })
	b.smsc.answer = func(int, sms.Message) (sms.Accepted, error) { return sms.Accepted{}, sms.ErrUnknown }
	b.run()
	id := b.create(0)
	b.is(id, "unknown")
	b.receipt(sms.Receipt{ID: id + ".1", To: msisdn(0), State: sms.Delivered})
	b.is(id, "SUCCEEDED")
}

// A receipt may come before the answer to what it is of, and to another node.
func TestReceiptBeforeItsAnswer(t *testing.T) {
	s := redistest.Start(t)
	other := newBench(t, s, 0)
	b := newBench(t, s, 1)
	b.smsc.answer = func(int, sms.Message) (sms.Accepted, error) {
		r := sms.Receipt{ID: "0255", To: msisdn(0), State: sms.Delivered}
		for range 2 { // doubled
			if err := other.Receipt(context.Background(), "smsc", r); err != nil {
				t.Error(err)
			}
		}
		return sms.Accepted{IDs: []string{"FF"}, Receipts: true}, nil
	}
	b.run()
	id := b.create(0)
	b.is(id, "SUCCEEDED")
	steps, err := b.downlinks.Timeline(t.Context(), id)
	if err != nil || len(steps) != 5 { // queued, executing, accepted, executing, delivered … and the end
		var lines []string
		for _, s := range steps {
			lines = append(lines, s.What)
		}
		if strings.Count(strings.Join(lines, " "), "delivered") != 1 {
			t.Errorf("timeline %v, %v", lines, err)
		}
	}
}

func TestOutcomes(t *testing.T) {
	s := redistest.Start(t)
	for name, test := range map[string]struct {
		err   error
		state string
		tries int
	}{
		"permanent": {&sms.Refusal{Class: sms.Permanent, Code: "ESME_RINVDSTADR"}, "FAILED", 1},
		"temporary": {fmt.Errorf("wrapped: %w", &sms.Refusal{Class: sms.Temporary, Code: "ESME_RSYSERR"}), "refused", 1},
		"unknown":   {fmt.Errorf("%w: the connection ended", sms.ErrUnknown), "unknown", 1},
		"other":     {errors.New("what is this"), "unknown", 1},
	} {
		t.Run(name, func(t *testing.T) {
			if err := s.Client().FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			b := newBench(t, s, 1)
			b.smsc.answer = func(int, sms.Message) (sms.Accepted, error) { return sms.Accepted{}, test.err }
			stop := b.run()
			id := b.create(0)
			b.came(1)
			if d := b.is(id, test.state); d.Attempts != test.tries || strings.Contains(d.Cause, msisdn(0)) {
				t.Errorf("%+v", d)
			}
			stop()
			if n := b.smsc.count(); n != 1 || !b.smsc.stopped {
				t.Errorf("%d were submitted", n)
			}
		})
	}
}

// While its gateway is closed, and when not a byte left, no attempt is burnt.
func TestClosedGatewayBurnsNothing(t *testing.T) {
	s := redistest.Start(t)
	b := newBench(t, s, 2)
	b.smsc.set(true)
	b.smsc.answer = func(n int, _ sms.Message) (sms.Accepted, error) {
		if n == 0 {
			return sms.Accepted{}, sms.ErrNotSent
		}
		return sms.Accepted{IDs: []string{fmt.Sprint("id", n)}, Receipts: true}, nil
	}
	b.run()
	first := b.create(0)
	second := b.create(1)
	if d := b.is(first, "due"); d.Attempts != 0 {
		t.Errorf("%+v", d)
	}
	b.smsc.set(false)
	b.came(3)
	for _, id := range []string{first, second} {
		if d := b.is(id, "accepted"); d.Attempts != 1 {
			t.Errorf("%+v", d)
		}
	}
}

// An answer that comes late is one all the same.
func TestLateAnswer(t *testing.T) {
	s := redistest.Start(t)
	b := newBench(t, s, 1)
	b.smsc.answer = func(int, sms.Message) (sms.Accepted, error) { return sms.Accepted{}, sms.ErrUnknown }
	b.run()
	id := b.create(0)
	b.is(id, "unknown")
	b.receipt(sms.Receipt{ID: "7", To: msisdn(0), State: sms.Delivered})
	b.is(id, "unknown") // nobody knows yet whose it is
	b.Late(t.Context(), "smsc", b.smsc.sent[0], sms.Accepted{IDs: []string{"7"}, Receipts: true}, nil)
	b.is(id, "SUCCEEDED")
}

// Ten thousand that fall due in the same second go at the gateway's rate, in order of due time, and hold up no downlink.
func TestManyAreSpread(t *testing.T) {
	n, speed := 10_000, 5_000.0
	if os.Getenv("M2M_LONG") == "" {
		n, speed = 2_000, 1_000
	}
	s := redistest.Start(t)
	b := newBench(t, s, n+1, func(c *Config, d *downlink.Config) {
		c.Rate, c.Window, c.Keys, d.Keys = speed, 50, auth.Keyspace{}, auth.Keyspace{}
	})
	b.smsc.set(true)
	sideBySide(t, n, func(i int) error {
		_, _, err := b.downlinks.Create(t.Context(), text(i))
		return err
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = b.downlinks.Run(ctx) }()
	b.run()
	began := time.Now()
	b.smsc.set(false)
	// Meanwhile downlinks end as they fall due.
	var worst time.Duration
	for range 5 {
		d, _, err := b.downlinks.Create(t.Context(), downlink.Draft{Device: device(n), Channel: downlink.HTTP, Pack: []byte(`[{"n":"a","v":1}]`), TTL: time.Second, Priority: 5})
		if err != nil {
			t.Fatal(err)
		}
		b.is(d.ID, "EXPIRED")
		worst = max(worst, time.Since(d.CreatedAt)-time.Second)
		if b.smsc.count() == n {
			break
		}
	}
	b.came(n)
	b.smsc.mu.Lock()
	defer b.smsc.mu.Unlock()
	if took := b.smsc.times[n-1].Sub(began); took < time.Duration(float64(n)/speed*float64(time.Second))*9/10 {
		t.Errorf("%d took %s at %.0f a second", n, took, speed)
	}
	if worst > time.Second {
		t.Errorf("a downlink ended %s late", worst)
	}
	seen := map[string]bool{}
	for i, m := range b.smsc.sent {
		if seen[m.To] {
			t.Fatalf("%s was sent to twice", m.To)
		}
		seen[m.To] = true
		nth, err := strconv.Atoi(strings.TrimPrefix(m.To, "316"))
		if err != nil || nth > i+200 || nth < i-200 { // a window's worth runs side by side
			t.Fatalf("number %d went as number %d", nth, i)
		}
	}
}
