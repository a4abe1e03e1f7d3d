package due

import (
	"fmt"
	"testing"
	"time"

	"m2mbridge/auth/redistest"
)

// On a cluster every script stays in its slot, and nodes hear of entries in
// whichever part they are.
func TestCluster(t *testing.T) {
	s, c := redistest.Cluster(t)
	set := NewSet(Config{Client: c, Keys: partitions(64 * looksPerSecond), Kind: Downlink})
	r, crew := newRecord(), newCrew(t, s)
	for range 2 {
		crew.run(WorkerConfig{Set: set, Handler: HandlerFunc(r.act), Blocking: c})
	}
	const n = 64
	for p := range n {
		addAt(t, set, p, fmt.Sprint(p), 20*time.Millisecond)
	}
	r.await(t, n)
	crew.stopAll()
	few := NewSet(Config{Client: c, Keys: partitions(n), Kind: Downlink})
	if left, err := few.Len(t.Context()); left != 0 || err != nil {
		t.Errorf("%d are left, %v", left, err)
	}
	if faults, err := few.Mend(t.Context()); len(faults) > 0 || err != nil {
		t.Errorf("mend: %v, %v", faults, err)
	}
	if got := len(r.ids()); got != n {
		t.Errorf("%d acted on, want %d", got, n)
	}
}
