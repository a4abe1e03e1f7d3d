package uplink

import (
	"cmp"
	"slices"
	"time"

	"m2mbridge/auth"
	"m2mbridge/bridge/trace"
)

// Tracer is told what became of a message. It must not block, and keeps nothing
// of m. *trace.Trace is one.
type Tracer interface{ Message(m *trace.Message) }

// trace tells of what a batch's uplinks came to, but for those refused by the
// script: refuse tells of them.
func (l *lane) trace(batch []entry, answers []string) {
	if l.cfg.Trace == nil {
		return
	}
	now := time.Now()
	for i := range batch {
		u := batch[i].u
		v, err := u.verdict(answers[i])
		if err != nil {
			continue
		}
		m := u.traced(u.id, now)
		m.Standing, m.Unsigned = trace.Proven, u.proof.Unsigned
		if u.msg.HasToken { // else it is the login that proves it
			m.Secret = int(u.proof.Secret)
		}
		m.Outcome, m.ID = v.Outcome.String(), v.StreamID
		m.Records, m.Measurements = len(u.pack.Records), u.pack.Measurements()
		l.cfg.Trace.Message(m)
	}
}

// traced is what there is to tell of any message.
func (u *uplink) traced(id auth.DeviceID, now time.Time) *trace.Message {
	u.trace = trace.Message{
		Device: id, Via: string(u.msg.Via), Remote: u.msg.Remote, Bytes: len(u.msg.Body), Token: u.msg.HasToken,
		At: u.at, Took: now.Sub(u.at),
	}
	return &u.trace
}

func (s *Service) traceRefusal(u *uplink, claimant auth.DeviceID, r *Refusal) {
	if s.cfg.Trace == nil || claimant == "" {
		return
	}
	m := u.traced(claimant, time.Now())
	m.Standing = u.standing(r)
	m.Outcome, m.Reason, m.Detail = r.Outcome.String(), r.Reason, cmp.Or(r.public, r.Detail)
	s.cfg.Trace.Message(m)
}

// existing are the reasons for which only a device that exists is refused.
var existing = [...]string{"token-wrong", "device-disabled", "unsigned-network"}

// standing is what is known of a refused message's device.
func (u *uplink) standing(r *Refusal) trace.Standing {
	switch {
	case u.proof.Device != "" || u.msg.Login != "":
		return trace.Proven
	case slices.Contains(existing[:], r.Reason):
		return trace.Known
	}
	return trace.Claimed
}

// labels are those that a step may show: what else stands in an unverified pack
// may say anything.
var labels = [...]string{"", "bn", "bt", "bu", "bv", "bs", "bver", "n", "u", "v", "vs", "vb", "vd", "s", "t", "ut", "i_"}

func senmlLabel(label string) bool { return slices.Contains(labels[:], label) }
