package fleet

import (
	"context"
	"time"
)

// slack is how much later than due a message may start and still be timed from its start: that much is this program's own
// timer. Beyond it the connection was held up by an earlier answer, which the next message's latency must show.
const slack = 2 * time.Millisecond

// pace says when a connection's messages are due. With interval 0 the next is due as soon as there is room for it.
type pace struct {
	load     *Load
	next     time.Time
	interval time.Duration
}

// pace spreads the connections' first messages over one interval.
func (l *Load) pace(number int) pace {
	p := pace{load: l}
	if l.cfg.Rate > 0 {
		p.interval = time.Duration(float64(time.Second) * float64(l.cfg.Connections) / l.cfg.Rate)
		phase := time.Duration(float64(p.interval) * float64(number) / float64(l.cfg.Connections))
		p.next = time.Unix(0, l.started.Load()).Add(phase)
	}
	return p
}

// take returns when a message starts, if one is due and the load has one left.
func (p *pace) take(now time.Time) (start time.Time, ok bool) {
	if p.interval > 0 && now.Before(p.next) || p.load.isHeld() || !p.load.claim() {
		return time.Time{}, false
	}
	start = now
	if p.interval > 0 {
		if now.Sub(p.next) > slack {
			start = p.next
		}
		p.next = p.next.Add(p.interval)
	}
	return start, true
}

// gatePause is how often a closed gate is asked again, by each of up to eight connections; more ask less often, so that asking
// costs the same whatever their number.
const gatePause = 250 * time.Microsecond

func (l *Load) gatePause() time.Duration {
	return gatePause * time.Duration(max(l.cfg.Connections/8, 1))
}

// wait sleeps until the next message is due; false says that there is none.
func (p *pace) wait(ctx context.Context) bool {
	for p.load.isHeld() {
		if !p.load.sleep(ctx, p.load.gatePause()) {
			return false
		}
	}
	if p.interval == 0 {
		return !p.load.isOver.Load()
	}
	return p.load.sleep(ctx, time.Until(p.next))
}

// sleep returns false if the load was over first.
func (l *Load) sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return !l.isOver.Load()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.over:
		return false
	case <-ctx.Done():
		return false
	}
}
