package auth

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"m2mbridge/auth/redistest"
)

// Many devices that are written at once are told of one by one to who follows, who misses none: three entries of the
// stream take 150 numbers.
func TestPutDevicesIsTold(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		here, there := testRegistry(t, s), follow(t, testRegistry(t, s))
		ids := make([]DeviceID, 150)
		for i := range ids {
			ids[i] = benchID(i)
		}
		drops := there.Stats().Drops
		changes, err := here.PutDevices(t.Context(), ids, Bulk{}, func(int, *Device) (Device, error) { return Device{Unsigned: true}, nil })
		if err != nil || slices.ContainsFunc(changes, func(c DeviceChange) bool { return c.Err != nil || !c.Changed }) {
			t.Fatalf("%v, %+v", err, changes)
		}
		told := map[DeviceID]int{}
		for limit := time.After(patience); len(told) < len(ids); {
			select {
			case c := <-there.changes:
				told[c.Device]++
			case <-limit:
				t.Fatalf("told of %d devices", len(told))
			}
		}
		put(t, here, Device{ID: imei, Secret: secret})
		there.await(Change{Kind: ChangeDevice, Device: imei})
		entries := s.Client().XLen(t.Context(), "m2m:{0}:registry").Val()
		if n := s.Client().Get(t.Context(), "m2m:{0}:registry:n").Val(); n != "151" || entries != 4 {
			t.Errorf("the last of %d changes has number %s", entries, n)
		}
		if got := there.Stats().Drops; got != drops {
			t.Errorf("what is cached was forgotten %d times more", got-drops)
		}
	})
}

// A batch that is sent again, as after a lost reply, changes only what it has not, and what somebody changed meanwhile
// stays.
func TestPutIsSentAgain(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		r, ctx, c := testRegistry(t, s), t.Context(), s.Client()
		rec := record{matched: '0', flags: flagUnsigned, revision: 1700000000000}
		var writes []write
		for i := range 3 {
			writes = append(writes, write{
				thing: r.keys.deviceThing(benchID(i)), revision: rec.revision, created: rec.revision,
				fields: []any{fieldAuth, rec.append(nil), fieldAbout, "{}"}, come: []string{"nword" + strconv.Itoa(i)},
			})
		}
		keys, args := r.keys.putCall(writes)
		send := func(want ...bool) {
			t.Helper()
			reply, _, err := r.run(ctx, r.scripts.put, keys, args...)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := reply.BoolSlice(); err != nil || !slices.Equal(got, want) {
				t.Errorf("done %v, want %v (%v)", got, want, err)
			}
		}
		put(t, r, Device{ID: benchID(1), Unsigned: true, Name: "mine"})
		send(true, false, true)
		send(true, false, true)
		if _, err := r.UpdateDevice(ctx, benchID(2), AnyRevision, func(d *Device) error { d.Name = "later"; return nil }); err != nil {
			t.Fatal(err)
		}
		send(true, false, false)
		if n := c.Get(ctx, "m2m:{0}:registry:n").Val(); n != "4" {
			t.Errorf("%s changes, want 4", n)
		}
		for i, name := range []string{"", "mine", "later"} {
			if d, err := r.GetDevice(ctx, benchID(i)); err != nil || d.Name != name {
				t.Errorf("device %d: %+v, %v", i, d, err)
			}
		}
	})
}
