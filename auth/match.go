package auth

import (
	"context"
	"errors"
	"strconv"
)

// match is which secret of a device in rotation a message was made with.
type match struct {
	id       DeviceID
	revision int64
	matched  byte
	after    int64 // messages with the newest secret that end the older one; 0: they are not counted
}

// matchesWaiting is how many are kept until they are written; one more is noted at the device's next message.
const matchesWaiting = 1024

// noteMatch has the secret that matched recorded, if the device has two and it is another one than last time, and a
// message counted that was made with the newest, where their number ends the older one. When more come than can be written
// some are left out: the older secret is then valid for longer.
func (r *Registry) noteMatch(a *attempt, rec *record, p Proof) {
	used := a.kind == kindToken || a.kind == kindLogin // of the others the device chose no secret
	if !used || p.Secret == 0 || len(rec.secrets[1].form) == 0 {
		return
	}
	m := match{id: p.Device, revision: rec.revision, matched: '0' + p.Secret}
	if p.Secret == 1 {
		m.after = rec.secrets[1].after
	}
	if m.matched == rec.matched && m.after == 0 {
		return
	}
	select {
	case r.matches <- m:
		r.cache.setMatched(p.Device, rec.revision, m.matched)
	default:
	}
}

// recordMatches writes them until ctx ends. One that cannot be written is lost: the worst is that a secret is valid for
// longer, within its time.
func (r *Registry) recordMatches(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-r.matches:
			for m, n := range r.gather(m) {
				if err := r.recordMatch(ctx, m, n); err != nil {
					r.log.Debug("secret in use not recorded", "device", m.id, "error", err)
				}
			}
		}
	}
}

// gather is how often each match was noted of those that wait.
func (r *Registry) gather(first match) map[match]int64 {
	counts := map[match]int64{first: 1}
	for range len(r.matches) {
		counts[<-r.matches]++
	}
	return counts
}

// recordMatch writes one, and ends the older secret when it was the last that this needed.
func (r *Registry) recordMatch(ctx context.Context, m match, n int64) error {
	if m.after == 0 {
		n = 0
	}
	keys := []string{r.keys.device(m.id)}
	reply, _, err := r.run(ctx, r.scripts.match, keys, string(m.matched), strconv.FormatInt(m.revision, 10), n)
	if err != nil || m.after == 0 {
		return err
	}
	if uses, err := reply.Int64(); err != nil || uses < m.after {
		return err
	}
	_, err = r.RevokeSecret(ctx, m.id, m.revision, OldSecret)
	if errors.Is(err, ErrRevision) || errors.Is(err, ErrUnknown) {
		return nil // another node was faster
	}
	return err
}
