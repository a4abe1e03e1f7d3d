package api

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

// shares are places on this node of which no app, admin no more than others,
// may take all: else one could shut the others out.
type shares struct {
	what   string // takes a place, in plural
	places int
	share  int // of one app

	mu    sync.Mutex
	taken int
	apps  map[string]int // places taken, by name
}

func newShares(what string, places, share int) *shares {
	return &shares{what: what, places: places, share: share, apps: map[string]int{}}
}

// quarter is an app's share of many places.
func quarter(places int) int { return max(4, places/4) }

// take gives the app a place until leave is called, once.
func (s *shares) take(app string) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.taken >= s.places:
		return nil, unavailable(fmt.Sprintf("this node has no place for more %s: %d of all apps are under way", s.what, s.places))
	case s.apps[app] >= s.share:
		return nil, shareTaken(fmt.Sprintf("app %s has its share of %s at this node, which is %d: end one, or try again later", app, s.what, s.share))
	}
	s.taken++
	s.apps[app]++
	return func() { s.leave(app) }, nil
}

func (s *shares) leave(app string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.apps[app]--; s.apps[app] == 0 {
		delete(s.apps, app)
	}
}

func (s *shares) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

func shareTaken(detail string) error {
	return huma.ErrorWithHeaders(huma.NewError(http.StatusTooManyRequests, detail), http.Header{"Retry-After": {"1"}})
}
