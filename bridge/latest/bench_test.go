package latest

import (
	"fmt"
	"testing"
	"time"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/stream"
)

// entryOf is an uplink of 7 values.
func entryOf(device, i int) stream.Entry {
	id := auth.DeviceID(fmt.Sprintf("IMEI:%015d", device))
	pack := fmt.Sprintf(`[{"bn":%q,"bt":%d,"n":"temperature","u":"Cel","v":21.5},{"n":"humidity","u":"%%RH","v":47.25},{"n":"battery","u":"V","v":3.61},{"n":"latitude","u":"lat","v":52.0907},{"n":"longitude","u":"lon","v":5.1214},{"n":"active","vb":true},{"n":"modus","vs":"Active"}]`, id.BaseName(), 1_700_000_000+i)
	return stream.Entry{Kind: stream.Uplinks, ID: stream.ID{MS: uint64(i + 1)}, Fields: stream.Fields{"device", string(id), "via", "http", "at", "1750000000000", "pack", pack}}
}

// BenchmarkTake is an uplink of 7 values merged in memory, of 1000 devices in turn.
func BenchmarkTake(b *testing.B) {
	entries := make([]stream.Entry, 20_000)
	for i := range entries {
		entries[i] = entryOf(i%1000, i)
	}
	t := &part{pending: pending{}}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		t.take(&entries[i%len(entries)])
	}
}

// BenchmarkFlush is 1000 devices of 7 values written to Redis; per device.
func BenchmarkFlush(b *testing.B) {
	s := redistest.Start(b)
	p := New(Config{Client: s.Client()})
	for i := range 1000 {
		s.Client().HSet(b.Context(), fmt.Sprintf("m2m:{0}:device:IMEI:%015d", i), "created", 1)
	}
	if err := p.claim(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		b.StopTimer()
		for i := range 1000 {
			n++
			e := entryOf(i, n)
			p.parts[0].take(&e)
		}
		p.leased = time.Now()
		b.StartTimer()
		if err := p.flush(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "µs/device")
}
