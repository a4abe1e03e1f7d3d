package broker

import "encoding/json"

// frame is the message that tells a session what it missed.
func (g *gap) frame(version byte) *frame {
	payload, err := json.Marshal(struct {
		Kind  string `json:"kind"`
		From  string `json:"from"`
		To    string `json:"to"`
		Count int    `json:"count"`
	}{"gap", g.from, g.to, g.count})
	if err != nil {
		panic(err) // strings and an int
	}
	m := newShared(Message{Topic: topicGap, Payload: payload})
	return m.encode(options{version: version, qos: g.qos})
}

// tellGap tells the bridge; the session itself was told by a message, unless it ended before.
func (s *session) tellGap(g gap) {
	if g.count == 0 {
		return
	}
	s.b.count.gaps.Add(1)
	out := Gap{Device: s.who.device, ClientID: s.who.clientID, From: g.from, To: g.to, Count: g.count}
	if s.who.app != nil {
		out.App = s.who.app.Name
	}
	s.b.cfg.OnGap(out)
}
