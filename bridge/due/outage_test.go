package due

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth/redistest"
)

// Redis dies with entries waiting, claimed and done: all are acted on, what was
// done is settled when it is back, and the log has a line for each change.
func TestRedisAway(t *testing.T) {
	s, log := redistest.Start(t, redistest.AppendOnly()), new(journal)
	set, crew := NewSet(Config{Client: s.Client(), Kind: SMS, Lease: 10 * time.Second}), newCrew(t, s)
	r, proceed := newRecord(), make(chan struct{})
	crew.run(WorkerConfig{Set: set, Blocking: s.Client(), Log: log.logger(), Handler: HandlerFunc(func(_ context.Context, c Claim) Outcome {
		r.note(c)
		<-proceed
		return Done()
	})})
	for i := range 5 {
		addAt(t, set, 0, fmt.Sprint("claimed", i), 0)
	}
	addAt(t, set, 0, "waiting", 30*time.Second)
	r.await(t, 5)
	s.Kill()
	close(proceed)
	eventually(t, "told of", func() bool {
		return log.count("due entries not claimed") == 1 && log.count("due entries not settled") == 1
	})
	s.Restart()
	client := patient(t, s)
	eventually(t, "told of the end", func() bool {
		return log.count("due entries claimed again") == 1 && log.count("due entries settled again") == 1
	})
	patientSet := NewSet(Config{Client: client, Kind: SMS})
	if n, err := patientSet.Len(t.Context()); n != 1 || err != nil {
		t.Errorf("%d entries, %v, want the one that waits", n, err)
	}
	if moved, err := patientSet.Move(t.Context(), 0, "waiting", In(0)); !moved || err != nil {
		t.Errorf("move: %v, %v", moved, err)
	}
	// Not by its lease: what was settled once does not come again.
	eventually(t, "acted on the last", func() bool { n, err := patientSet.Len(t.Context()); return n == 0 && err == nil })
	if got := r.ids(); len(got) != 6 || got[5] != "waiting" {
		t.Errorf("acted on %v", got)
	}
	for _, line := range []string{"not claimed", "not settled", "claimed again", "settled again"} {
		if n := log.count(line); n != 1 {
			t.Errorf("%d lines of %q", n, line)
		}
	}
}

// A worker that cannot settle does not stop for ever.
func TestStopWhileRedisIsAway(t *testing.T) {
	s := redistest.Start(t)
	set, crew := NewSet(Config{Client: s.Client(), Kind: SMS}), newCrew(t, s)
	r, proceed := newRecord(), make(chan struct{})
	w, stop := crew.run(WorkerConfig{Set: set, Handler: HandlerFunc(func(_ context.Context, c Claim) Outcome {
		r.note(c)
		<-proceed
		return Done()
	})})
	addAt(t, set, 0, "a", 0)
	r.await(t, 1)
	s.Kill()
	close(proceed)
	stop()
	if n := w.inFlight.Load(); n != 0 {
		t.Errorf("%d in flight", n)
	}
}

// childAddr is where TestChildThatClaims finds Redis; unset, it is no child.
const childAddr = "DUE_TEST_CHILD_ADDR"

// TestChildThatClaims is the other side of TestKilled: it claims, says so, and
// waits for its end.
func TestChildThatClaims(t *testing.T) {
	addr := os.Getenv(childAddr)
	if addr == "" {
		t.Skip("only as a child of TestKilled")
	}
	set := NewSet(Config{Client: redis.NewClient(&redis.Options{Addr: addr}), Kind: SMS, Lease: killedLease})
	w := NewWorker(WorkerConfig{Set: set, Handler: HandlerFunc(func(_ context.Context, c Claim) Outcome {
		fmt.Println("claimed", c.ID, c.Data)
		select {}
	})})
	_ = w.Run(context.Background())
}

const killedLease = 2 * time.Second

// A node that is killed between claim and settle costs a lease, not the entry,
// and what the entry says of attempts stays.
func TestKilled(t *testing.T) {
	s := redistest.Start(t)
	client := patient(t, s)
	set := NewSet(Config{Client: client, Kind: SMS, Lease: killedLease})
	if _, err := set.Add(t.Context(), 0, Entry{ID: "a", Data: "attempts=3"}); err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChildThatClaims$")
	child.Env = append(os.Environ(), childAddr+"="+s.Addr)
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	claimed := time.Now()
	if strings.TrimSpace(line) != "claimed a attempts=3" || err != nil {
		t.Fatalf("the child says %q, %v", line, err)
	}
	if err := child.Process.Kill(); err != nil { // SIGKILL
		t.Fatal(err)
	}
	_ = child.Wait()
	var again Claim
	eventually(t, "claimed again", func() bool {
		batch := set.Claim(t.Context(), Ask{0, 1})[0]
		if batch.Err == nil && len(batch.Claims) == 1 {
			again = batch.Claims[0]
		}
		return again.ID != ""
	})
	if took := time.Since(claimed); took < killedLease/2 || again.Data != "attempts=3" {
		t.Errorf("after %s: %+v", took, again)
	}
	if err := set.Settle(t.Context(), Settlement{again, Done()})[0]; err != nil {
		t.Error(err)
	}
}
