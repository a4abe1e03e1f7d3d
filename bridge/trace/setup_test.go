package trace

import (
	"context"
	"fmt"
	"testing"
	"time"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

const (
	imei = auth.DeviceID("IMEI:356726104408422")
	uuid = auth.DeviceID("DVNUUID:0b2ae3f5-5a1c-4c1e-9d0e-3f1d2c4b5a69")
)

// mute is a registry that nobody else listens to.
type mute struct{ announced int }

func (m *mute) AnnounceTrace(context.Context, auth.DeviceID) error { m.announced++; return nil }
func (m *mute) OnTrace(func(auth.DeviceID))                        {}
func (m *mute) OnChange(func(auth.Change))                         {}

// alone is a trace without Redis.
func alone(memory int64) *Trace {
	return New(Config{Memory: memory, Node: "here", Registry: &mute{}})
}

// node is a running trace, as one process has it.
type node struct {
	*Trace
	registry *auth.Registry
}

func newNode(t *testing.T, s *redistest.Server, name string, ks auth.Keyspace) *node {
	t.Helper()
	blocking := s.Client()
	registry, err := auth.NewRegistry(auth.RegistryConfig{Client: s.Client(), Blocking: blocking, Keys: ks})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{registry: registry}
	n.Trace = New(Config{Memory: 1 << 20, Node: name, Client: s.Client(), Keys: ks, Registry: registry})
	following := make(chan struct{}, 1)
	registry.OnChange(func(auth.Change) {
		select {
		case following <- struct{}{}:
		default:
		}
	})
	for _, run := range []func(context.Context) error{registry.Run, n.Run} {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); _ = run(ctx) }()
		t.Cleanup(func() { cancel(); <-done })
	}
	t.Cleanup(func() { _ = blocking.Close() }) // ends its XREAD
	select {
	case <-following: // what is announced from now on is heard
	case <-time.After(10 * time.Second):
		t.Fatal("the changes are not followed")
	}
	return n
}

func accepted(id auth.DeviceID, i int) *Message {
	return &Message{
		Device: id, Standing: Proven, Via: "http", Remote: "192.0.2.7:4711", Bytes: 302, Token: true,
		At: time.UnixMilli(1700000000000 + int64(i)), Took: 1250 * time.Microsecond,
		Outcome: "stored", Secret: 1, Records: 9, Measurements: 8, ID: fmt.Sprintf("1700000000000-%d", i),
	}
}

func refused(id auth.DeviceID, standing Standing) *Message {
	return &Message{
		Device: id, Standing: standing, Via: "mqtt", Remote: "[2001:db8::1]:1", Bytes: 10, At: time.UnixMilli(1700000000000),
		Outcome: "forbidden", Reason: "token-wrong", Detail: "token wrong, or device unknown or disabled",
	}
}

func invented(i int) auth.DeviceID { return auth.DeviceID(fmt.Sprintf("IMEI:%015d", i)) }
