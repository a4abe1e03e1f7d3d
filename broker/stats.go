package broker

import "sync/atomic"

// counters are those of Stats that only count.
type counters struct {
	inFlight, subscriptions, takenOver, cut, panics, published, delivered, gaps, missed, pages atomic.Int64
	refused                                                                                    [256]atomic.Int64
}

// Stats are counters since the start, and what is open now.
type Stats struct {
	Connections  int64 // open, before login too
	Unauthorised int64 // of them, before login
	Devices      int64 // sessions of devices
	Apps         int64 // sessions of apps

	Subscriptions int64 // of apps
	InFlight      int64 // publishes without an outcome

	Accepted  int64 // connections, since the start
	Turned    int64 // connections closed because of a limit
	TakenOver int64 // sessions ended by a new one of the same client
	Cut       int64 // connections cut because the peer took nothing
	Panics    int64 // connections ended by a packet that broke its decoder

	Published int64          // publishes of clients
	Delivered int64          // messages given to connections
	Gaps      int64          // times a session was told that it missed messages
	Missed    int64          // entries missed in all
	Pages     int64          // pages read for sessions that are behind
	Refused   map[byte]int64 // refusals by MQTT 5 reason code: of logins, publishes and subscriptions
}

// Stats gives the counters.
func (b *Broker) Stats() Stats {
	open, waiting := b.gate.counts()
	devices, apps := b.sessions.counts()
	c := &b.count
	s := Stats{
		Connections: int64(open), Unauthorised: int64(waiting), Devices: int64(devices), Apps: int64(apps),
		Subscriptions: c.subscriptions.Load(), InFlight: c.inFlight.Load(),
		Accepted: b.gate.accepted.Load(), Turned: b.gate.turned.Load(), TakenOver: c.takenOver.Load(),
		Cut: c.cut.Load(), Panics: c.panics.Load(), Published: c.published.Load(), Delivered: c.delivered.Load(),
		Gaps: c.gaps.Load(), Missed: c.missed.Load(), Pages: c.pages.Load(), Refused: map[byte]int64{},
	}
	for code := range c.refused {
		if n := c.refused[code].Load(); n > 0 {
			s.Refused[byte(code)] = n
		}
	}
	return s
}
