package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// keeping is what of a session is kept outside of this process. Guarded by session.mu.
type keeping struct {
	owner  string        // token of this connection
	opened bool          // the keeper has given it the session, whole
	seq    int64         // number of the last snapshot
	subs   int64         // number of the first snapshot that has its subscriptions as they are
	known  int64         // number of the last one with subscriptions that is known to be kept
	member SessionKey    // of shared subscriptions
	expiry time.Duration // how long the session is kept without a connection; 0: it ends with it
	acked  bool          // something was acknowledged since it was saved
	saved  time.Time     // last
}

// keepIdle is how often a session is saved that acknowledged nothing. One that
// was removed, or taken over by another node, ends within it.
const keepIdle = 2 * time.Second

// expiryOf is how long a session is to be kept: what an MQTT 5 client asks for,
// and of 3.1.1 all there is for those that do not start clean; within the limit.
func (b *Broker) expiryOf(pk *packets.Packet) time.Duration {
	longest := b.cfg.SessionExpiry.Truncate(time.Second)
	if b.cfg.Keeper == nil {
		longest = 0
	}
	if pk.ProtocolVersion < version5 {
		if pk.Connect.Clean {
			return 0
		}
		return longest
	}
	return min(seconds(pk.Properties.SessionExpiryInterval), longest)
}

// seconds of a Session Expiry Interval; all ones never ends (MQTT 5 §3.1.2.11.2).
func seconds(n uint32) time.Duration {
	if n == math.MaxUint32 {
		return math.MaxInt64
	}
	return time.Duration(n) * time.Second
}

// key names an app's session.
func (s *session) key() SessionKey { return SessionKey{s.who.app.Name, s.who.clientID} }

func (s *session) expiry() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept.expiry
}

// open takes over what is kept of an app's session, or begins to keep it.
// present tells whether there was something.
func (s *session) open(pk *packets.Packet) (present bool, no *refused) {
	s.kept.owner = rand.Text()
	s.kept.expiry = s.b.expiryOf(pk)
	s.kept.member = s.key()
	if s.kept.expiry == 0 { // else a late farewell of this one would be taken for the next one's
		s.kept.member.ClientID += "\x00" + s.kept.owner
	}
	s.outbox.held = true // until CONNACK is written
	if s.b.cfg.Keeper == nil {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.b.cfg.LoginTimeout)
	defer cancel()
	if old := s.b.sessions.app(s.key()); old != nil {
		old.end(endTakenOver) // [MQTT-3.1.4-3]
		<-old.departed
	}
	s.b.saver.await(ctx, s.key()) // what the one before has to say comes first
	found, present, err := s.b.cfg.Keeper.Open(ctx, s.snapshot(), pk.Connect.Clean, s.maxSessions())
	switch {
	case errors.Is(err, ErrSessions):
		return false, &refused{code: codeQuota, reason: "the app has as many sessions as it may", kind: "login"}
	case err != nil:
		return false, &refused{code: codeUnavailable, reason: "the session cannot be opened now, try again"}
	}
	if present {
		if err := s.restore(ctx, &found); err != nil {
			return false, &refused{code: codeUnavailable, reason: "the session cannot be opened now, try again"}
		}
	}
	s.kept.opened = true
	if !present && s.keep() != nil { // one without subscriptions is kept too
		return false, &refused{code: codeUnavailable, reason: "the session cannot be opened now, try again"}
	}
	return present, nil
}

// maxSessions is how many the app may have, those that are away too.
func (s *session) maxSessions() int {
	if n := s.who.app.Limits.Sessions; n > 0 {
		return n
	}
	return s.b.cfg.MaxPerApp
}

// restore goes on with what was kept.
func (s *session) restore(ctx context.Context, found *Saved) error {
	flights := map[Stream]map[ID]uint16{}
	for _, f := range found.InFlight {
		if flights[f.Stream] == nil {
			flights[f.Stream] = map[ID]uint16{}
		}
		flights[f.Stream][f.ID] = f.PacketID
		s.outbox.window.last = max(s.outbox.window.last, f.PacketID)
	}
	for _, c := range found.Cursors {
		l := lane{stream: c.Stream, at: c.At, sent: c.Sent}
		if found.Detached { // it knew what was in flight
			l.flights = flights[c.Stream]
			if l.flights == nil {
				l.flights = map[ID]uint16{}
			}
		}
		s.outbox.lanes = append(s.outbox.lanes, l)
	}
	for i := range found.Subscriptions {
		kept := &found.Subscriptions[i]
		group, inner, ok := appFilter(kept.Filter)
		if !ok || s.b.maySubscribe(s.access.Load(), inner) == codeNotAuthorized {
			continue // it lost that right; what it may not read it would not get
		}
		sub := &subscription{s: s, filter: kept.Filter, inner: inner, qos: kept.QoS, id: kept.ID,
			asPub: kept.RetainAsPublished, shared: group != "", share: group, since: maps.Clone(kept.Since)}
		s.mu.Lock()
		s.subs = append(s.subs, sub)
		s.mu.Unlock()
		if err := s.enter(ctx, sub, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// keep saves the session now, as what the client is told next must last.
func (s *session) keep() *ending {
	if s.b.cfg.Keeper == nil || s.expiry() == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.b.cfg.LoginTimeout)
	defer cancel()
	saved := s.snapshot()
	err := s.b.cfg.Keeper.Save(ctx, []Saved{saved})[0]
	if err == nil {
		s.confirm(&saved)
	}
	switch {
	case errors.Is(err, ErrTaken):
		return &endTakenOver
	case errors.Is(err, ErrRemoved):
		return &endRemoved
	case err != nil:
		return &ending{code: codeBusy, reason: "the session could not be kept, try again"}
	}
	return nil
}

var endRemoved = ending{code: codeAdministrative, reason: "session removed"}

// sortStreams puts them in order, each once.
func sortStreams(list []Stream) []Stream {
	slices.Sort(list)
	return slices.Compact(list)
}
