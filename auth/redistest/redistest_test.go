package redistest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"m2mbridge/auth/redistest"
)

func TestServerKeepsItsDataAcrossKillAndRestart(t *testing.T) {
	s := redistest.Start(t, redistest.AppendOnly())
	c := s.Client()
	ctx := t.Context()
	if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatalf("set: %v", err)
	}
	s.Kill()
	if err := c.Get(ctx, "k").Err(); err == nil {
		t.Fatal("a killed server answered")
	}
	s.Restart()
	if got, err := s.Client().Get(ctx, "k").Result(); err != nil || got != "v" {
		t.Fatalf("get after restart = %q, %v", got, err)
	}
}

func TestStoppedServerAnswersNothingUntilContinued(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := c.Ping(ctx).Err(); err == nil {
		t.Fatal("a stopped server answered")
	}
	s.Cont()
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Fatalf("ping after SIGCONT: %v", err)
	}
}

func TestMaxMemoryRefusesWrites(t *testing.T) {
	c := redistest.Start(t, redistest.MaxMemory(4<<20)).Client()
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Fatalf("ping: %v", err)
	}
	var err error
	for i := 0; i < 100 && err == nil; i++ {
		err = c.Set(t.Context(), fmt.Sprint(i), make([]byte, 64<<10), 0).Err()
	}
	if err == nil {
		t.Fatal("a server of 4 MiB took 6 MiB")
	}
}

func TestEach(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		if err := s.Client().Ping(t.Context()).Err(); err != nil {
			t.Fatalf("ping: %v", err)
		}
	})
}
