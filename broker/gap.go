package broker

import "encoding/json"

// gapNotice is the payload that tells a session what it missed.
type gapNotice struct {
	Kind   string `json:"kind"`
	Stream string `json:"stream"`
	From   string `json:"from"`            // it had everything up to this id
	To     string `json:"to"`              // it missed what is behind From, up to this id
	Count  *int64 `json:"count,omitempty"` // entries of the stream; missing: not known
}

// tell tells the session what it missed in a stream, if there is room, and the
// bridge. The cursor goes no further before.
func (s *session) tell(l *lane) bool {
	g := l.gap
	qos := byte(0)
	if s.relies(l.stream) {
		qos = 1
	}
	// In flight it stands for the first entry missed, so that a cursor that is
	// kept before it is acknowledged finds the gap again.
	first := flight{stream: int32(l.stream), id: ID{g.From.MS, g.From.Seq + 1}, n: Unknown, gap: g.To}
	f := g.notice(s.b.cfg.Source.Name(l.stream)).encode(options{version: s.version, qos: qos})
	if !s.outbox.tooLarge(f) && !s.send(f, first) { // what cannot be told to the client is in the events all the same
		return false
	}
	l.gap = Gap{}
	s.b.count.gaps.Add(1)
	s.b.cfg.OnGap(Missed{Session: s.key(), Stream: l.stream, Gap: g})
	return true
}

// notice is the message about a gap.
func (g Gap) notice(stream string) *Message {
	n := gapNotice{Kind: "gap", Stream: stream, From: g.From.String(), To: g.To.String()}
	if g.Count >= 0 {
		n.Count = &g.Count
	}
	payload, err := json.Marshal(n)
	if err != nil {
		panic(err) // strings and an int
	}
	return &Message{Topic: topicGap, Payload: payload}
}
