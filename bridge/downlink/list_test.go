package downlink

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

func TestList(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s, func(c *Config) { c.Keys.Partitions = 3 })
		registry, err := auth.NewRegistry(auth.RegistryConfig{Client: s.Client(), Keys: b.cfg.Keys})
		if err != nil {
			t.Fatal(err)
		}
		var all []Downlink
		for i := range 60 {
			id := auth.DeviceID(fmt.Sprintf("IMEI:%015d", i%7))
			if i < 7 {
				if _, err := registry.PutDevice(t.Context(), auth.Device{ID: id, Unsigned: true}, auth.Upsert); err != nil {
					t.Fatal(err)
				}
			}
			all = append(all, b.create(draft(i, func(d *Draft) { d.Device, d.Channel = id, []Channel{HTTP, MQTT, Any}[i%3] })))
			b.clock.pass(time.Millisecond * time.Duration(i%2))
		}
		sees := func(d *Downlink) (bool, error) { return d.Device != "IMEI:000000000000003", nil }
		for _, q := range []Query{
			{}, {Device: "IMEI:000000000000003"}, {Channels: []Channel{MQTT}}, {States: []State{Executing}}, {States: []State{Cancelled}}, {Sees: sees},
			{CreatedSince: all[20].CreatedAt}, {CreatedBefore: all[20].CreatedAt}, {ModifiedSince: all[30].CreatedAt, Channels: []Channel{Any}, Sees: sees},
		} {
			for _, q.Limit = range []int{4, 1000} {
				for _, q.Reverse = range []bool{false, true} {
					var want []string
					for _, d := range all {
						d = b.is(d.ID, d.State)
						if ok, _ := q.admits(&d); ok && (q.Device == "" || d.Device == q.Device) {
							want = append(want, placeOf(d.ID))
						}
					}
					slices.Sort(want)
					if q.Reverse {
						slices.Reverse(want)
					}
					if got := b.listed(q); !slices.Equal(got, want) {
						t.Fatalf("%+v: %v, want %v", q, got, want)
					}
				}
			}
		}
		if n, err := b.Ahead(t.Context(), &all[21]); err != nil || n != 3 {
			t.Errorf("%d ahead, %v", n, err)
		}
	})
}

// listed goes through a list page by page.
func (b *bench) listed(q Query) (places []string) {
	b.t.Helper()
	for range 1000 {
		page, next, err := b.List(b.t.Context(), q)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, d := range page {
			places = append(places, placeOf(d.ID))
		}
		if next == "" {
			return places
		}
		q.After = next
	}
	b.t.Fatal("the list has no end")
	return nil
}

// What goes first is the one that is EXECUTING, whatever its priority, then those whose time has come in their order.
func TestAhead(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		b := newBench(t, s)
		first := b.create(draft(1))
		later := b.create(draft(2, func(d *Draft) { d.NotBefore, d.Priority = b.clock.now().Add(time.Hour), 9 }))
		second := b.create(draft(3))
		urgent := b.create(draft(4, func(d *Draft) { d.Priority = 8 }))
		ahead := func(d Downlink, want int64) {
			t.Helper()
			if n, err := b.Ahead(t.Context(), &d); err != nil || n != want {
				t.Errorf("%d before %s, %v, want %d", n, d.Pack, err, want)
			}
		}
		ahead(first, 0)
		ahead(urgent, 1)
		ahead(second, 2)
		b.clock.pass(time.Hour)
		b.looked()
		ahead(later, 1)
		ahead(urgent, 2)
		ahead(second, 3)
		b.done(b.hand(HTTP, first.ID), true)
		ahead(later, 0)
		ahead(urgent, 1)
	})
}
