package broker

import (
	"slices"

	"github.com/mochi-mqtt/server/v2/packets"
)

// subscription is one topic filter of a session. Immutable: one for the same filter replaces it.
type subscription struct {
	s      *session
	filter string // as the client gave it
	inner  string // without $share/<group>/
	qos    byte   // granted
	id     int    // subscription identifier; 0: none
	asPub  bool   // Retain As Published
	shared bool
	share  string // the name between $share/ and the filter
	group  *group // of a shared subscription; set when it is put into the index
}

func (sub *subscription) groupKey() groupKey {
	return groupKey{app: sub.s.who.app.Name, name: sub.share, filter: sub.inner}
}

func (sub *subscription) ids() []int {
	if sub.id == 0 {
		return nil
	}
	return []int{sub.id}
}

// retained reports whether the retain flag of a live message is kept: [MQTT-3.3.1-12] [MQTT-3.3.1-13], never for 3.1.1.
func (sub *subscription) retained(version byte) bool { return version == version5 && sub.asPub }

// subscribe takes a SUBSCRIBE: check → note → answer → retained messages. No
// message of a new subscription is sent before the answer.
func (s *session) subscribe(pk *packets.Packet) *ending {
	if e := checkSubscribe(pk); e != nil {
		return e
	}
	codes := make([]byte, len(pk.Filters))
	before := make([]bool, len(pk.Filters))
	s.hold(true)
	s.conn.sleep() // the registry may be asked
	for i := range pk.Filters {
		if codes[i] = s.maySubscribe(&pk.Filters[i]); codes[i] == codeSuccess {
			codes[i], before[i] = s.note(&pk.Filters[i])
		}
	}
	s.conn.awake.Store(true)
	s.answerSubscribe(pk, codes)
	s.hold(false)
	for i := range pk.Filters {
		if codes[i] < codeUnspecified {
			s.sendRetained(&pk.Filters[i], before[i])
		}
	}
	return nil
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
func (s *session) note(f *packets.Subscription) (granted byte, before bool) {
	group, inner, _ := appFilter(f.Filter)
	sub := &subscription{s: s, filter: f.Filter, inner: inner, qos: min(f.Qos, 1), id: f.Identifier,
		asPub: f.RetainAsPublished, shared: group != "", share: group}
	var old *subscription
	s.mu.Lock()
	i := slices.IndexFunc(s.subs, func(old *subscription) bool { return old.filter == f.Filter })
	if i >= 0 {
		old = s.subs[i]
	}
	full := i < 0 && len(s.subs) >= s.b.cfg.MaxSubscriptions
	s.mu.Unlock()
	if full {
		return codeQuota, false
	}
	s.indexed(old, sub)
	s.mu.Lock()
	ended := s.ended
	switch {
	case ended: // meanwhile: what it held was given back, this one was not yet among it
	case i >= 0:
		s.subs[i] = sub
	default:
		s.subs = append(s.subs, sub)
	}
	s.mu.Unlock()
	if ended {
		s.indexed(sub, nil)
	}
	return sub.qos, i >= 0
}

// indexed changes the index for an app; a device is found by its session.
func (s *session) indexed(old, sub *subscription) {
	if s.who.app != nil {
		s.b.index.replace(old, sub)
	}
}

// answerSubscribe writes the SUBACK; 3.1.1 knows one refusal.
func (s *session) answerSubscribe(pk *packets.Packet, codes []byte) {
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
	})
}

// sendRetained sends what is retained for a new filter: [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11].
func (s *session) sendRetained(f *packets.Subscription, before bool) {
	group, inner, _ := appFilter(f.Filter)
	if s.b.cfg.Retained == nil || s.who.app == nil || group != "" || f.RetainHandling == 2 || f.RetainHandling == 1 && before {
		return
	}
	var ids []int
	if f.Identifier > 0 {
		ids = []int{f.Identifier}
	}
	for _, m := range s.b.cfg.Retained(inner) {
		msg := newShared(m)
		if may, _ := s.b.mayRead(s.access.Load(), msg); !may {
			continue
		}
		s.mu.Lock()
		s.offer(msg.encode(options{version: s.version, qos: min(f.Qos, 1), retain: true, ids: ids}), true)
		s.mu.Unlock()
	}
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
	s.mu.Unlock()
	s.unsubscribe(gone)
	_ = s.cl.WritePacket(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Unsuback},
		PacketID:    pk.PacketID,
		ReasonCodes: codes,
	})
	return nil
}

// unsubscribe takes subscriptions out of the index. What a shared one has not
// acknowledged when its session ends goes to the other members.
func (s *session) unsubscribe(subs []*subscription) {
	for _, sub := range subs {
		s.indexed(sub, nil)
	}
	for _, sub := range subs {
		if sub.group != nil {
			s.giveBack(sub.group)
		}
	}
}
