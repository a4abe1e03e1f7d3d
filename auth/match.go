package auth

import (
	"context"
	"strconv"
)

// match is which secret of a device in rotation a message was made with.
type match struct {
	id       DeviceID
	revision int64
	matched  byte
}

// matchesWaiting is how many are kept until they are written; one more is noted at the device's next message.
const matchesWaiting = 1024

// noteMatch has the secret that matched recorded, if the device has two and it is another one than last time.
func (r *Registry) noteMatch(a *attempt, rec *record, p Proof) {
	used := a.kind == kindToken || a.kind == kindLogin // of the others the device chose no secret
	matched := '0' + p.Secret
	if !used || p.Secret == 0 || matched == rec.matched || rec.active() < 2 {
		return
	}
	select {
	case r.matches <- match{id: p.Device, revision: rec.revision, matched: matched}:
		r.cache.setMatched(p.Device, rec.revision, matched)
	default:
	}
}

// recordMatches writes them until ctx ends. One that cannot be written is lost: it is for people to look at.
func (r *Registry) recordMatches(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-r.matches:
			keys := []string{r.keys.device(m.id)}
			if _, _, err := r.run(ctx, r.scripts.match, keys, string(m.matched), strconv.FormatInt(m.revision, 10)); err != nil {
				r.log.Debug("secret in use not recorded", "device", m.id, "error", err)
			}
		}
	}
}
