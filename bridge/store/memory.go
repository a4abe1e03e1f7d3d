package store

import (
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// memory is miniredis on a loopback port, behind a random password, since a
// port is open to every user of the machine.
type memory struct {
	server   *miniredis.Miniredis
	password string
	done     chan struct{}
	clock    sync.WaitGroup
}

func startMemory() (*memory, error) {
	m := &memory{server: miniredis.NewMiniRedis(), password: rand.Text(), done: make(chan struct{})}
	m.server.RequireAuth(m.password)
	if err := m.server.Start(); err != nil {
		return nil, fmt.Errorf("start miniredis: %w", err)
	}
	m.clock.Go(m.passTime)
	return m, nil
}

// passTime expires keys: in miniredis time to live stands still by itself.
func (m *memory) passTime() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-m.done:
			return
		case now := <-tick.C:
			m.server.FastForward(now.Sub(last))
			last = now
		}
	}
}

func (m *memory) target() target {
	return target{
		form: "redis", addrs: []string{m.server.Addr()}, password: m.password,
		name: "in memory, lost at exit (miniredis)",
	}
}

func (m *memory) stop() error {
	close(m.done)
	m.clock.Wait()
	m.server.Close()
	return nil
}
