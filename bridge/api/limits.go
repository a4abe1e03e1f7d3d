package api

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"m2mbridge/auth"
)

// limits hold apps to the requests they may make of this node.
type limits struct {
	fallback float64 // of apps that have none of their own; 0: no limit
	refused  *prometheus.CounterVec

	mu   sync.Mutex
	apps map[string]*rate.Limiter // by name
}

// burstTime is how long an app may save up requests.
const burstTime = 2 * time.Second

// maxLimited bounds the apps remembered: beyond, those that have made no
// requests lately are forgotten, which loses nothing.
const maxLimited = 1000

func newLimits(fallback float64, refused *prometheus.CounterVec) *limits {
	return &limits{fallback: fallback, refused: refused, apps: map[string]*rate.Limiter{}}
}

// admit takes one request of what the app may make, and says in the answer's
// header what is left (draft-ietf-httpapi-ratelimit-headers-10).
func (l *limits) admit(ctx huma.Context, app *auth.App) bool {
	perSecond := l.of(app)
	if perSecond <= 0 {
		return true
	}
	limiter := l.limiter(app.Name, perSecond)
	ok := limiter.Allow()
	left := max(0, limiter.Tokens())
	burst := float64(limiter.Burst())
	ctx.SetHeader("RateLimit-Policy", fmt.Sprintf(`"app";q=%.0f;w=%d`, burst, seconds(burst/perSecond)))
	ctx.SetHeader("RateLimit", fmt.Sprintf(`"app";r=%.0f;t=%d`, math.Floor(left), seconds((burst-left)/perSecond)))
	if !ok {
		ctx.SetHeader("Retry-After", strconv.Itoa(seconds((1-left)/perSecond)))
		l.refused.WithLabelValues(app.Name).Inc()
	}
	return ok
}

// of is how many requests a second the app may make; 0: no limit.
func (l *limits) of(app *auth.App) float64 {
	if app.Limits.Requests > 0 {
		return app.Limits.Requests
	}
	return l.fallback
}

func (l *limits) limiter(name string, perSecond float64) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter := l.apps[name]
	if limiter == nil || limiter.Limit() != rate.Limit(perSecond) {
		if len(l.apps) >= maxLimited {
			l.forget()
		}
		limiter = rate.NewLimiter(rate.Limit(perSecond), burstOf(perSecond))
		l.apps[name] = limiter
	}
	return limiter
}

func (l *limits) forget() {
	for name, limiter := range l.apps {
		if limiter.Tokens() >= float64(limiter.Burst()) {
			delete(l.apps, name)
		}
	}
}

func burstOf(perSecond float64) int {
	return max(1, int(math.Ceil(perSecond*burstTime.Seconds())))
}

// seconds rounds up, to one at least.
func seconds(s float64) int { return max(1, int(math.Ceil(s))) }

func tooMany(app *auth.App) error {
	return huma.NewError(http.StatusTooManyRequests, "app "+app.Name+" makes more requests than it may: Retry-After says when to try again")
}
