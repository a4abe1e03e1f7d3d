package fleet

import (
	"bytes"
	"context"
	"errors"
	"os"
	"time"
)

// Pauses after an error, so that a server that is away is not hammered: doubled from the first to the last.
const (
	backoffFirst = 10 * time.Millisecond
	backoffLast  = time.Second
)

// worker is one connection of a load.
type worker struct {
	load   *Load
	tally  *tally
	number int
	pace   pace
	seq    uint64
	body   []byte
	rest   time.Duration // the next pause after an error
}

func (w *worker) link() link { return link{addr: w.load.cfg.Addr, timeout: w.load.cfg.Timeout} }

// device returns whose turn it is: the devices are dealt out to the connections like cards.
func (w *worker) device() Device {
	cfg := &w.load.cfg
	own := (len(cfg.Devices) - w.number%len(cfg.Devices) + cfg.Connections - 1) / cfg.Connections
	return cfg.Devices[w.number%len(cfg.Devices)+int(w.seq%uint64(own))*cfg.Connections]
}

// compose makes the next message's body.
func (w *worker) compose(d Device, start time.Time) []byte {
	w.body = w.load.cfg.Pack(w.body[:0], d.ID, w.seq, start)
	w.seq++
	w.tally.sent.Add(1)
	// A heartbeat ends behind its base name.
	if bytes.HasSuffix(w.body, []byte(`:"}]`)) {
		w.tally.heartbeats.Add(1)
	}
	return w.body
}

// fail counts n messages that an error took, unless the end of the run was the error, and pauses.
func (w *worker) fail(ctx context.Context, err error, n int) {
	if ctx.Err() != nil {
		return
	}
	w.load.failures.add(reason(err), uint64(n))
	w.load.sleep(ctx, w.rest)
	w.rest = min(2*w.rest, backoffLast)
}

func (w *worker) accept(start, now time.Time) {
	w.tally.accept(now.Sub(start))
	w.rest = backoffFirst
}

// postAll sends over HTTP.
func (w *worker) postAll(ctx context.Context) {
	c := httpConn{link: w.link(), perRequest: w.load.cfg.PerRequest}
	defer c.close()
	for w.pace.wait(ctx) {
		start, ok := w.pace.take(time.Now())
		if !ok {
			continue
		}
		d := w.device()
		status, _, err := c.post(ctx, d, w.compose(d, start))
		switch {
		case err != nil:
			w.fail(ctx, err, 1)
		case status == 200:
			w.accept(start, time.Now())
		default:
			w.fail(ctx, StatusError(status), 1)
		}
	}
}

// publishAll sends over MQTT, and connects again when the connection breaks. What was in flight then is not sent again.
func (w *worker) publishAll(ctx context.Context) {
	d := w.load.cfg.Devices[w.number]
	c := newMQTTConn(w.link(), d, w.load.cfg.Window)
	defer c.leave()
	for w.pace.wait(ctx) {
		if err := c.connect(ctx); err != nil {
			w.fail(ctx, err, 1)
			continue
		}
		if err := w.converse(ctx, c, d); err != nil {
			c.close()
			w.fail(ctx, err, max(c.inFlight(), 1))
		}
	}
}

// converse publishes and reads acknowledgements until the load is over and all are in.
func (w *worker) converse(ctx context.Context, c *mqttConn, d Device) error {
	quiet := time.Now() // since when nothing has come
	for {
		if c.inFlight() == 0 {
			if !w.pace.wait(ctx) {
				return nil
			}
			quiet = time.Now()
		}
		w.fill(c, d)
		if err := c.flush(); err != nil {
			return err
		}
		came, err := w.collect(c, quiet)
		if err != nil {
			return err
		}
		if came {
			quiet = time.Now()
		}
	}
}

// fill publishes what is due, as far as the window allows.
func (w *worker) fill(c *mqttConn, d Device) {
	for now := time.Now(); len(c.free) > 0; {
		start, ok := w.pace.take(now)
		if !ok {
			return
		}
		c.publish(w.compose(d, start), start)
	}
}

// collect waits for acknowledgements, but not beyond the moment the next message is due, and takes all that are there.
func (w *worker) collect(c *mqttConn, quiet time.Time) (came bool, err error) {
	if c.inFlight() == 0 {
		return false, nil
	}
	w.deadline(c, quiet)
	for more := true; more; more = c.reader.buffered() {
		start, err := c.acknowledged()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Since(quiet) < w.load.cfg.Timeout:
			return came, nil
		case err != nil:
			return came, err
		case !start.IsZero():
			w.accept(start, time.Now())
			came = true
		}
	}
	return came, nil
}

// deadline sets how long the next read may last. Timers cost: a load without a rate makes do with a deadline for many.
func (w *worker) deadline(c *mqttConn, quiet time.Time) {
	if w.pace.interval == 0 {
		c.extend(time.Now())
		return
	}
	last := quiet.Add(w.load.cfg.Timeout)
	if len(c.free) > 0 && w.pace.next.Before(last) && !w.load.isOver.Load() {
		last = w.pace.next
	}
	_ = c.conn.SetReadDeadline(last)
}
