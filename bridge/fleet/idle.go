package fleet

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Idle is a number of MQTT connections on which nothing happens.
type Idle struct {
	mu    sync.Mutex
	links []*link
}

// Hold logs in once for each login, a few at a time, and keeps the connections open until Close or the end of ctx.
func Hold(ctx context.Context, addr string, logins []Login) (*Idle, error) {
	idle := &Idle{}
	var group errgroup.Group
	group.SetLimit(16)
	for _, login := range logins {
		group.Go(func() error { return idle.add(ctx, addr, login) })
	}
	if err := group.Wait(); err != nil {
		idle.Close()
		return nil, err
	}
	return idle, nil
}

func (i *Idle) add(ctx context.Context, addr string, login Login) error {
	l := &link{addr: addr, timeout: 10 * time.Second}
	if _, _, err := handshake(ctx, l, login, 64); err != nil {
		return err
	}
	_ = l.conn.SetDeadline(time.Time{})
	i.mu.Lock()
	defer i.mu.Unlock()
	i.links = append(i.links, l)
	return nil
}

// Close ends the connections.
func (i *Idle) Close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, l := range i.links {
		l.close()
	}
	i.links = nil
}

// DeviceLogins are the logins of devices, each with its secret.
func DeviceLogins(devices []Device) []Login {
	logins := make([]Login, len(devices))
	for i, d := range devices {
		logins[i] = Login{ClientID: d.ID, Username: d.BaseName(), Password: d.Secret}
	}
	return logins
}
