package broker

import (
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// outbox is what goes to one subscriber: what waits, what is unacknowledged,
// and what it missed. It never holds a publisher up: when too much waits, the
// subscriber misses messages, and is told which. Guarded by session.mu.
type outbox struct {
	window  window
	queue   []*frame // waits for the window or the connection
	head    int      // of queue
	bytes   int      // of the packets in queue
	reliant int      // of those in queue, how many are of QoS 1
	gap     gap
	maxSize uint32 // of a packet that the client takes; 0: any
	limit   int    // of queue
	most    int    // of bytes
	held    bool   // nothing is sent
	asking  bool   // the registry will be asked again what may be sent
}

// gap is a run of messages that a session missed.
type gap struct {
	from, to string
	count    int
	qos      byte // of the best of them
}

func (g *gap) add(m *frame) {
	if g.count == 0 {
		g.from = m.msg.ID
	}
	g.to = m.msg.ID
	g.count++
	if m.idAt > 0 {
		g.qos = 1
	}
}

func (o *outbox) init(c *Config, p *packets.Properties) {
	o.limit, o.most, o.maxSize = c.MaxQueue, c.MaxQueueBytes, p.MaximumPacketSize
	o.window.limit = c.Window
	if p.ReceiveMaximum > 0 { // [MQTT-3.3.4-9]
		o.window.limit = min(o.window.limit, int(p.ReceiveMaximum))
	}
}

func (o *outbox) waiting() int { return len(o.queue) - o.head }

// full reports whether f may not wait: a single message always may.
func (o *outbox) full(f *frame) bool {
	return o.waiting() >= o.limit || o.waiting() > 0 && o.bytes+f.size() > o.most
}

// offer gives the session a message, or has it miss it, as it does one that it
// perhaps may not read. It is false if nothing was written. Called with session.mu held.
func (s *session) offer(f *frame, may bool) bool {
	o := &s.outbox
	switch {
	case s.ended:
		return false
	case !may, o.maxSize > 0 && f.size() > int(o.maxSize): // [MQTT-3.1.2-24]
		s.miss(f)
		return o.waiting() == 0 && s.pump()
	case o.waiting() == 0 && o.gap.count == 0 && s.send(f):
		return true
	case o.gap.count > 0 || o.full(f):
		s.miss(f) // what it waits for, an acknowledgement or room, has it told
		return false
	}
	s.enqueue(f)
	return false
}

// miss notes that the session will not get f. A backlog of QoS 0 alone is
// missed with it: such a subscriber goes on in the present.
func (s *session) miss(f *frame) {
	o := &s.outbox
	if o.waiting() > 0 && o.reliant == 0 && f.idAt == 0 {
		for _, old := range o.queue[o.head:] {
			o.gap.add(old)
		}
		s.b.count.missed.Add(int64(o.waiting()))
		o.queue, o.head, o.bytes = nil, 0, 0
	}
	o.gap.add(f)
	s.b.count.missed.Add(1)
}

func (s *session) enqueue(f *frame) {
	o := &s.outbox
	if o.head > 0 && len(o.queue) == cap(o.queue) {
		n := copy(o.queue, o.queue[o.head:])
		clear(o.queue[n:])
		o.queue, o.head = o.queue[:n], 0
	}
	o.queue = append(o.queue, f)
	o.bytes += f.size()
	if f.idAt > 0 {
		o.reliant++
	}
}

// send writes f if window and connection have room.
func (s *session) send(f *frame) bool {
	w := &s.outbox.window
	if s.outbox.held {
		return false
	}
	if f.idAt == 0 {
		return s.sent(s.conn.put(f, 0))
	}
	if w.full() {
		return false
	}
	id := w.take(f)
	if !s.conn.put(f, id) {
		w.give(id)
		return false
	}
	return s.sent(true)
}

func (s *session) sent(ok bool) bool {
	if ok {
		s.b.count.delivered.Add(1)
	}
	return ok
}

// pump sends what waits, as far as there is room, and then tells of what was
// missed. It is true if it wrote something. Called with session.mu held.
func (s *session) pump() (wrote bool) {
	o := &s.outbox
	for o.waiting() > 0 {
		f := o.queue[o.head]
		if o.held || f.idAt > 0 && o.window.full() || !s.conn.hasRoom() {
			return wrote
		}
		may, sure := s.mayStill(f)
		if !sure {
			s.askAgain()
			return wrote
		}
		if may && !s.send(f) {
			return wrote
		}
		o.drop(f)
		wrote = wrote || may
	}
	o.queue, o.head = nil, 0
	if o.gap.count > 0 && !o.held && s.conn.hasRoom() && s.send(o.gap.frame(s.version)) {
		g := o.gap
		o.gap = gap{}
		s.tellGap(g)
		return true
	}
	return wrote
}

// drop takes f, the first, from the queue.
func (o *outbox) drop(f *frame) {
	if f.idAt > 0 {
		o.reliant--
	}
	o.queue[o.head] = nil
	o.head++
	o.bytes -= f.size()
}

// mayStill asks again of a message that waited: the app may have lost a right
// since, or the device been given to another. A device's session ends instead.
func (s *session) mayStill(f *frame) (may, sure bool) {
	if s.who.app == nil {
		return true, true
	}
	return s.b.mayRead(s.access.Load(), f.msg)
}

// askAgain has the queue wait until the registry is asked again.
func (s *session) askAgain() {
	if s.outbox.asking {
		return
	}
	s.outbox.asking = true
	time.AfterFunc(blindFor, func() {
		s.mu.Lock()
		s.outbox.asking = false
		s.mu.Unlock()
		s.roomy()
		s.b.flusher.one(s.conn)
	})
}

// acknowledged is a PUBACK: the window has room again.
func (s *session) acknowledged(id uint16) *ending {
	feed(s.makeRoom(id))
	return nil
}

// roomy is called when the connection has room again.
func (s *session) roomy() { feed(s.makeRoom(0)) }

// makeRoom sends what waits, after a packet id was given back unless it is 0,
// and gives the groups that may use the room that is left.
func (s *session) makeRoom(id uint16) []*group {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || id != 0 && !s.outbox.window.give(id) {
		return nil
	}
	s.pump()
	s.outbox.window.shrink()
	return s.groups()
}

// hold stops the sending of messages, or lets it go on.
func (s *session) hold(on bool) {
	s.mu.Lock()
	s.outbox.held = on
	s.mu.Unlock()
	if !on {
		s.roomy()
	}
}

// abandon forgets what waits, and gives what the session missed and was not told.
func (o *outbox) abandon() gap {
	g := o.gap
	o.queue, o.head, o.bytes, o.reliant, o.gap = nil, 0, 0, 0, gap{}
	return g
}
