package smpp

import (
	"errors"
	"math/rand/v2"
	"time"

	"m2mbridge/sms/smpp/pdu"
)

// backoff is the waits between attempts to bind. They double, and lie anywhere between half of that and the whole, so that
// clients which lost their SMSC together do not come back together. After a refusal that only a person can mend they begin
// long, since SMSCs lock accounts out.
type backoff struct {
	first, most     time.Duration
	refused, locked time.Duration // the same after such a refusal
	wait            time.Duration // the last, without jitter
}

func newBackoff(c Config) *backoff {
	return &backoff{first: c.Backoff, most: c.BackoffMax, refused: c.RefusedBackoff, locked: c.RefusedMax}
}

// next is the wait after a session that lasted so long, its making included. A session that outlasted the longest wait
// lets them begin anew; one that was lost before that does not.
func (b *backoff) next(why error, lasted time.Duration) time.Duration {
	first, most := b.first, b.most
	if forGood(why) {
		first, most = b.refused, b.locked
	}
	if b.wait < first || lasted > b.most && !forGood(why) {
		b.wait = first
	} else {
		b.wait = min(2*b.wait, most)
	}
	return b.wait/2 + rand.N(b.wait/2+1)
}

// forGood is of binds that will be refused again.
func forGood(why error) bool {
	var refused *StatusError
	if !errors.As(why, &refused) {
		return false
	}
	switch refused.Status {
	case pdu.StatusBindFail, pdu.StatusInvPaswd, pdu.StatusInvSysID:
		return true
	}
	return false
}
