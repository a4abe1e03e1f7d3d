package auth

import (
	"testing"
	"time"

	"m2mbridge/auth/redistest"
)

// An announcement reaches all nodes, changes nothing, and loses none of the
// changes around it.
func TestAnnouncedTrace(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		here := follow(t, testRegistry(t, s))
		there := testRegistry(t, s)
		heard := make(chan DeviceID, 100)
		here.OnTrace(func(id DeviceID) { heard <- id })
		put(t, there, Device{ID: imei, Secret: secret})
		here.await(Change{Kind: ChangeDevice, Device: imei})
		verifies(t, here.Registry, secret, nil)
		before := here.Stats()
		for range 3 {
			if err := there.AnnounceTrace(t.Context(), imei); err != nil {
				t.Fatal(err)
			}
		}
		put(t, there, Device{ID: other, Secret: secret})
		here.await(Change{Kind: ChangeDevice, Device: other})
		for range 3 {
			select {
			case id := <-heard:
				if id != imei {
					t.Errorf("heard of %s", id)
				}
			case <-time.After(slowly):
				t.Fatal("not heard")
			}
		}
		verifies(t, here.Registry, secret, nil)
		if after := here.Stats(); after.Loads != before.Loads || after.Drops != before.Drops || len(heard) != 0 {
			t.Errorf("%+v, before %+v; %d more heard", after, before, len(heard))
		}
	})
}
