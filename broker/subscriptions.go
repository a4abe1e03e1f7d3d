package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/mochi-mqtt/server/v2/packets"
)

// subscription is one topic filter of a session. One for the same filter
// replaces it; only since changes.
type subscription struct {
	s      *session
	filter string // as the client gave it
	inner  string // without $share/<group>/
	qos    byte   // granted
	id     int    // subscription identifier; 0: none
	asPub  bool   // Retain As Published
	shared bool
	share  string                // the name between $share/ and the filter
	group  atomic.Pointer[group] // of a shared subscription, once it is in the index

	// since is where it starts in streams whose cursor is further back. Guarded
	// by session.mu.
	since map[Stream]ID
}

func (sub *subscription) shareKey() ShareKey {
	a := sub.s.who.app
	k := ShareKey{App: a.Name, Name: sub.share, Filter: sub.inner}
	if !a.CreatedAt.IsZero() {
		k.AppCreated = a.CreatedAt.UnixMilli()
	}
	return k
}

func (sub *subscription) ids() []int {
	if sub.id == 0 {
		return nil
	}
	return []int{sub.id}
}

// retained reports whether the retain flag of a live message is kept: [MQTT-3.3.1-12] [MQTT-3.3.1-13], never for 3.1.1.
func (sub *subscription) retained(version byte) bool { return version == version5 && sub.asPub }

// subscribe takes a SUBSCRIBE: check → note → keep → answer → messages. None of
// a new subscription is sent before the answer.
func (s *session) subscribe(pk *packets.Packet) *ending {
	if e := checkSubscribe(pk); e != nil {
		return e
	}
	start, no := s.startOf(pk)
	if no != "" {
		s.b.cfg.Reject(Refusal{App: s.who.app.Name, Remote: s.cl.Net.Remote, Reason: "subscribe", Detail: no})
	}
	codes := make([]byte, len(pk.Filters))
	before := make([]bool, len(pk.Filters))
	s.hold(true)
	s.conn.sleep() // the registry and the store may be asked
	for i := range pk.Filters {
		switch codes[i] = s.maySubscribe(&pk.Filters[i]); {
		case codes[i] == codeSuccess && no != "":
			codes[i] = codeImplementation
		case codes[i] == codeSuccess:
			codes[i], before[i] = s.note(&pk.Filters[i], start)
		}
	}
	e := s.keep()
	s.conn.awake.Store(true)
	if e != nil {
		return e
	}
	s.answerSubscribe(pk, codes, reasonOf(codes, no))
	for i := range pk.Filters {
		if codes[i] < codeUnspecified {
			s.replay(&pk.Filters[i], before[i])
		}
	}
	s.hold(false)
	if s.who.app == nil && slices.ContainsFunc(codes, func(c byte) bool { return c < codeUnspecified }) {
		s.b.cfg.Ready(s.who.device)
	}
	return nil
}

// reasonOf says in a line why filters were refused; "" if none was.
func reasonOf(codes []byte, no string) string {
	for _, c := range codes {
		switch {
		case c == codeImplementation && no != "":
			return no
		case c == codeFilterInvalid:
			return fmt.Sprintf("a topic filter has at most %d levels and %d bytes, and # and + for whole levels", maxLevels, maxFilter)
		case c == codeNotAuthorized:
			return "the topics are not there, or not for this login: see its scopes and devices"
		case c == codeQuota:
			return "more subscriptions than a session, or shared ones than an app, may have"
		case c == codeUnspecified:
			return "the subscription could not be made now, try again"
		}
	}
	return ""
}

// startProperty is the user property of a SUBSCRIBE that says where its
// subscriptions start: a stream id, a cursor, or an instant (RFC 3339).
const startProperty = "after"

// startOf reads where the subscriptions start, nil for the present; no says
// what is wrong with it.
func (s *session) startOf(pk *packets.Packet) (start func(Stream) Position, no string) {
	if s.who.app == nil || s.b.cfg.Source == nil {
		return nil, ""
	}
	for _, p := range pk.Properties.User {
		if p.Key != startProperty {
			continue
		}
		if start != nil {
			return nil, "after is given twice"
		}
		var err error
		if start, err = s.b.cfg.Source.Start(p.Val); err != nil {
			return nil, "after: " + err.Error()
		}
	}
	return start, ""
}

func checkSubscribe(pk *packets.Packet) *ending {
	if c := pk.SubscribeValidate(); c != packets.CodeSuccess {
		return &ending{code: c.Code, reason: c.Reason, will: true}
	}
	ids := pk.Properties.SubscriptionIdentifier
	if len(ids) > 1 || len(ids) == 1 && ids[0] == 0 { // MQTT 5 §3.8.2.1.2
		return &ending{code: codeProtocolError, reason: "bad subscription identifier", will: true}
	}
	for _, f := range pk.Filters {
		if group, _, _ := appFilter(f.Filter); group != "" && f.NoLocal { // [MQTT-3.8.3-4]
			return &ending{code: codeProtocolError, reason: "no local on a shared subscription", will: true}
		}
		if f.RetainHandling > 2 {
			return &ending{code: codeProtocolError, reason: "bad retain handling", will: true}
		}
	}
	return nil
}

// maySubscribe is 0 or why not.
func (s *session) maySubscribe(f *packets.Subscription) byte {
	group, inner, valid := appFilter(f.Filter)
	switch {
	case !valid:
		return codeFilterInvalid
	case s.who.app == nil && (group != "" || !downlinkFilter(s.who.device, inner)):
		return codeNotAuthorized
	case s.who.app == nil:
		return codeSuccess
	}
	return s.b.maySubscribe(s.access.Load(), inner)
}

// note makes the subscription, instead of one with the same filter, and gives
// its reason code, which is the QoS granted, and whether there was one.
func (s *session) note(f *packets.Subscription, start func(Stream) Position) (granted byte, before bool) {
	group, inner, _ := appFilter(f.Filter)
	if group != "" && s.b.cfg.Share == nil {
		return codeNoShared, false
	}
	sub := &subscription{s: s, filter: f.Filter, inner: inner, qos: min(f.Qos, 1), id: f.Identifier,
		asPub: f.RetainAsPublished, shared: group != "", share: group}
	if sub.shared && s.b.index.shares(sub.shareKey()) >= maxShares {
		return codeQuota, false
	}
	s.mu.Lock()
	i := slices.IndexFunc(s.subs, func(old *subscription) bool { return old.filter == f.Filter })
	full := i < 0 && len(s.subs) >= s.b.cfg.MaxSubscriptions
	var old *subscription
	if i >= 0 {
		old = s.subs[i]
	}
	s.mu.Unlock()
	if full {
		return codeQuota, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.b.cfg.LoginTimeout)
	defer cancel()
	s.mu.Lock()
	ended := s.ended // meanwhile: what it held was given back, this one was not yet among it
	switch {
	case ended:
	case old != nil:
		s.subs[i] = sub
	default:
		s.subs = append(s.subs, sub)
	}
	if !ended && s.who.app != nil && !sub.shared {
		s.place(sub, old, start)
	}
	s.mu.Unlock()
	if ended {
		return codeUnspecified, false
	}
	if err := s.enter(ctx, sub, old, start); err != nil {
		s.forget(sub, old)
		return codeUnspecified, false
	}
	return sub.qos, old != nil
}

// place gives a new subscription its cursors; one that replaces another goes on
// where that was, unless the client says where.
func (s *session) place(sub, old *subscription, start func(Stream) Position) {
	if old != nil && start == nil {
		sub.since = maps.Clone(old.since)
		return
	}
	s.ensureLanes(sub, start)
}

// enter puts a subscription into the index, instead of old; a shared one joins
// those of all nodes.
func (s *session) enter(ctx context.Context, sub, old *subscription, start func(Stream) Position) error {
	s.indexed(old, sub)
	g := sub.group.Load()
	if s.hasEnded() { // before it was in the index, where its end looked for it
		s.indexed(sub, nil)
		if g != nil {
			s.leaveGroup(g, false)
		}
		return errEnded
	}
	if g != nil {
		return g.join(ctx, s, start)
	}
	return nil
}

var errEnded = errors.New("the session has ended")

// forget takes back a subscription that could not be made; old, if there was
// one, is again what it was.
func (s *session) forget(sub, old *subscription) {
	s.mu.Lock()
	if i := slices.Index(s.subs, sub); i >= 0 && old != nil {
		s.subs[i] = old
	} else if i >= 0 {
		s.subs = slices.Delete(s.subs, i, i+1)
	} else {
		old = nil // it has ended
	}
	s.mu.Unlock()
	s.indexed(sub, old)
}

// indexed changes the index for an app; a device is found by its session.
func (s *session) indexed(old, sub *subscription) {
	if s.who.app != nil {
		s.b.index.replace(old, sub)
	}
}

// answerSubscribe writes the SUBACK; 3.1.1 knows one refusal.
func (s *session) answerSubscribe(pk *packets.Packet, codes []byte, reason string) {
	out := slices.Clone(codes)
	for i, c := range out {
		if c >= codeUnspecified {
			s.b.count.refused[c].Add(1)
			if s.version < version5 {
				out[i] = codeUnspecified
			}
		}
	}
	_ = s.cl.WritePacket(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Suback},
		PacketID:    pk.PacketID,
		ReasonCodes: out,
		Properties:  packets.Properties{ReasonString: reason},
	})
}

// unsubscribed takes an UNSUBSCRIBE.
func (s *session) unsubscribed(pk *packets.Packet) *ending {
	if c := pk.UnsubscribeValidate(); c != packets.CodeSuccess {
		return &ending{code: c.Code, reason: c.Reason, will: true}
	}
	codes := make([]byte, len(pk.Filters))
	var gone []*subscription
	s.mu.Lock()
	for i, f := range pk.Filters {
		at := slices.IndexFunc(s.subs, func(sub *subscription) bool { return sub.filter == f.Filter })
		if at < 0 {
			codes[i] = codeNoSubscription
			if _, _, valid := appFilter(f.Filter); !valid {
				codes[i] = codeFilterInvalid
			}
			continue
		}
		gone = append(gone, s.subs[at])
		s.subs = slices.Delete(s.subs, at, at+1)
	}
	s.dropLanes()
	s.dropReplays()
	s.mu.Unlock()
	s.conn.sleep() // the store may be asked
	s.unsubscribe(gone)
	e := s.keep()
	s.conn.awake.Store(true)
	if e != nil {
		return e
	}
	_ = s.cl.WritePacket(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Unsuback},
		PacketID:    pk.PacketID,
		ReasonCodes: codes,
	})
	return nil
}

// unsubscribe takes subscriptions out of the index, and the session out of the
// shared ones. It keeps what it has of those and did not acknowledge.
func (s *session) unsubscribe(subs []*subscription) {
	ctx, cancel := context.WithTimeout(context.Background(), s.b.cfg.LoginTimeout)
	defer cancel()
	for _, sub := range subs {
		s.indexed(sub, nil)
		if g := sub.group.Load(); g != nil {
			g.leave(ctx, s.kept.member)
		}
	}
}
