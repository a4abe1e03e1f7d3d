package broker

import (
	"math"
	"sync"

	"golang.org/x/time/rate"

	"m2mbridge/auth"
)

// quotas hold each app to its rate of publishes on this node. There are as many as apps that ever published.
type quotas struct {
	every float64 // publishes a second of an app without a limit of its own; 0: no limit

	mu   sync.Mutex
	apps map[string]*rate.Limiter
}

// take uses up one publish of the app's; it is false when there is none left.
func (q *quotas) take(a *auth.App) bool {
	limit := q.every
	if a.Limits.Publishes > 0 {
		limit = a.Limits.Publishes
	}
	if limit <= 0 {
		return true
	}
	return q.limiter(a.Name, rate.Limit(limit)).Allow()
}

// limiter is the app's, with its limit as it is now.
func (q *quotas) limiter(app string, limit rate.Limit) *rate.Limiter {
	burst := max(1, int(math.Ceil(float64(limit))))
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.apps[app]
	if l == nil {
		l = rate.NewLimiter(limit, burst)
		q.apps[app] = l
	}
	if l.Limit() != limit {
		l.SetLimit(limit)
		l.SetBurst(burst)
	}
	return l
}
