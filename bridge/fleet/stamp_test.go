package fleet

import (
	"testing"
	"time"
)

func TestSequence(t *testing.T) {
	devices := Devices("seed", 0, 2)
	a, b := devices[0].ID, devices[1].ID
	for name, c := range map[string]struct {
		come []int // numbers of a; -1 is one of b, -2 a message without a stamp
		want Order
	}{
		"in order":          {[]int{0, 1, 2}, Order{Taken: 3}},
		"from the middle":   {[]int{5, 6}, Order{Taken: 2}},
		"one left out":      {[]int{0, 2, 3}, Order{Taken: 3, Missing: 1}},
		"one twice":         {[]int{0, 1, 1, 2}, Order{Taken: 3, Repeated: 1}},
		"two changed about": {[]int{0, 2, 1, 3}, Order{Taken: 3, Missing: 1, Repeated: 1}},
		"two devices":       {[]int{0, -1, 1, -1, 2}, Order{Taken: 5}},
		"a foreign one":     {[]int{0, -2, 1}, Order{Taken: 2, Foreign: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			stamps, s := NewStamps(devices), NewSequence()
			ofA := make([][]byte, 10)
			for i := range ofA {
				ofA[i] = stamps.Pack(nil, a, 0, time.Now())
			}
			for _, n := range c.come {
				switch n {
				case -1:
					s.Take(nil, stamps.Pack(nil, b, 0, time.Now()))
				case -2:
					s.Take(nil, []byte(`{"kind":"gap"}`))
				default:
					s.Take(nil, ofA[n])
				}
			}
			if got := s.Order(); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if n := s.Latency().Count(); n != uint64(c.want.Taken) || s.Latency().Count() != 0 {
				t.Errorf("%d latencies", n)
			}
			if got, want := s.Lacks(stamps, 0), stamps.Sent()-c.want.Taken; got != want {
				t.Errorf("lacks %d, want %d", got, want)
			}
		})
	}
}

// Normalising moves base fields into the first measurement, and adds none of its own.
func TestStampNormalised(t *testing.T) {
	id, number, sent, ok := readStamp([]byte(`[{"bn":"urn:dev:IMEI:356726104408422:","bt":1.5,"n":"number","v":7},{"n":"sent","v":123}]`))
	if string(id) != "IMEI:356726104408422" || number != 7 || sent != 123 || !ok {
		t.Errorf("%s %d %d %v", id, number, sent, ok)
	}
	if _, _, _, ok := readStamp([]byte(`[{"bn":"urn:dev:IMEI:356726104408422:","bt":1.5,"n":"number","v":7}]`)); ok {
		t.Error("half a stamp is one")
	}
}
