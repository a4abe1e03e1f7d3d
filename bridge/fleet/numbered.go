package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// NumberedConfig says who sends numbered messages, where to, and how many.
type NumberedConfig struct {
	Via     Via
	Addr    string
	Devices []Device
	First   int           // number of each device's first message: how many it sent before
	Count   int           // messages of each device; 0: until ctx ends
	Window  int           // MQTT: messages in flight of each device; 0 is 1
	Epoch   time.Time     // the time of each device's message 0, the next is a millisecond later; zero is the start of the run
	Timeout time.Duration // for one answer; 0 is 3 s
	Pause   time.Duration // between attempts; 0 is 10 ms, and longer the more of them fail
}

// Numbered sends every message until it is acknowledged, whatever happens to connections and servers meanwhile: over HTTP the
// same bytes again, over MQTT with DUP and the same packet id after connecting to the kept session [MQTT-4.4.0-1].
type Numbered struct {
	Ledger
	cfg NumberedConfig
}

// NewNumbered fills in what the configuration leaves open.
func NewNumbered(cfg NumberedConfig) *Numbered {
	cfg.Window = max(cfg.Window, 1)
	if cfg.Timeout <= 0 {
		cfg.Timeout = 3 * time.Second
	}
	if cfg.Epoch.IsZero() {
		cfg.Epoch = time.Now()
	}
	return &Numbered{cfg: cfg}
}

// Run sends until all are acknowledged or ctx ends. An error is an answer that is neither an acknowledgement nor a reason to
// try again; it ends that device's messages, not the others'.
func (n *Numbered) Run(ctx context.Context) error {
	failed := make([]error, len(n.cfg.Devices))
	var devices sync.WaitGroup
	for i, d := range n.cfg.Devices {
		devices.Go(func() {
			if n.cfg.Via == MQTT {
				failed[i] = n.publishAll(ctx, d)
				return
			}
			failed[i] = n.postAll(ctx, d)
		})
	}
	devices.Wait()
	return errors.Join(failed...)
}

func (n *Numbered) link() link { return link{addr: n.cfg.Addr, timeout: n.cfg.Timeout} }

// wanted says whether a device has a message of this number to send.
func (n *Numbered) wanted(number int) bool {
	return n.cfg.Count == 0 || number < n.cfg.First+n.cfg.Count
}

func (n *Numbered) postAll(ctx context.Context, d Device) error {
	c := httpConn{link: n.link()}
	defer c.close()
	for number := n.cfg.First; n.wanted(number) && ctx.Err() == nil; number++ {
		if err := n.post(ctx, &c, d, Number{d.ID, number}); err != nil {
			return err
		}
	}
	return nil
}

// post sends one message until it is answered 200. 503 and 429 say to try again.
func (n *Numbered) post(ctx context.Context, c *httpConn, d Device, number Number) error {
	body := appendNumbered(nil, number, n.cfg.Epoch)
	for pause := n.pause(0); ctx.Err() == nil; pause = n.pause(pause) {
		status, answer, err := c.post(ctx, d, body)
		switch {
		case err != nil:
			n.breakage()
		case status == 200:
			n.ack(number)
			return nil
		case status != 503 && status != 429:
			return fmt.Errorf("message %d of %s: status %d: %.200s", number.N, d.ID, status, answer)
		}
		n.repeat(1)
		rest(ctx, pause)
	}
	return nil
}

// backoffNumbered bounds the pauses of numbered messages: they are to meet the faults, not to avoid them.
const backoffNumbered = 200 * time.Millisecond

// pause is the pause after one of that length.
func (n *Numbered) pause(last time.Duration) time.Duration {
	if n.cfg.Pause > 0 {
		return n.cfg.Pause
	}
	return min(max(2*last, backoffFirst), backoffNumbered)
}

func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
