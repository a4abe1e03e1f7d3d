package presence

import (
	"context"
	"slices"
	"strings"
	"testing"

	"m2mbridge/auth"
)

// all reads what is retained, a page of a few at a time.
func (n *node) all(filter string, limit int) (ids []string) {
	n.w.Helper()
	for after := ""; ; {
		page, next, err := n.Retained(context.Background(), filter, after, limit)
		if err != nil {
			n.w.Fatal(err)
		}
		if len(page) > limit {
			n.w.Fatalf("a page of %d", len(page))
		}
		for _, m := range page {
			if !m.Retain || m.Topic != "presence/IMEI/"+m.Device.Value() || !strings.Contains(string(m.Payload), `"device":"`+string(m.Device)+`","state":"online","via":"http"`) {
				n.w.Errorf("%s %s", m.Topic, m.Payload)
			}
			ids = append(ids, string(m.Device))
		}
		if after = next; after == "" {
			slices.Sort(ids)
			return ids
		}
	}
}

func TestRetained(t *testing.T) {
	on(t, func(w *world) {
		n := w.node("one")
		if got := n.all("presence/#", 5); len(got) != 0 {
			w.Fatalf("nobody was seen: %v", got)
		}
		var want []string
		for i := range 60 {
			w.register(imeiOf(i))
			n.hear(imeiOf(i))
			want = append(want, string(imeiOf(i)))
		}
		n.flush()
		for _, limit := range []int{1, 7, 10, 20, 59, 60, 61, 128} {
			same(w, "retained", n.all("#", limit), want...)
		}
		same(w, "of one", n.all("presence/IMEI/"+imeiOf(7).Value(), 5), want[7])
		same(w, "of one below", n.all("presence/imei/"+imeiOf(7).Value()+"/#", 5), want[7])
		same(w, "never seen", n.all("presence/IMEI/"+imei.Value(), 5))

		// One whose removal nobody told us of.
		if err := w.registry.DeleteDevice(context.Background(), imeiOf(7), auth.AnyRevision); err != nil {
			w.Fatal(err)
		}
		same(w, "of a removed one", n.all("presence/IMEI/"+imeiOf(7).Value(), 5))
		same(w, "retained", n.all("presence/#", 9), slices.Delete(want, 7, 8)...)
		n.flush()
		if s := n.state(imeiOf(7)); s != (State{}) {
			w.Errorf("%+v is left", s)
		}
		w.register(imeiOf(7)) // another of that name
		same(w, "of another", n.all("presence/IMEI/"+imeiOf(7).Value(), 5))
	})
}

func TestGetNothing(t *testing.T) {
	if got, err := (&Presence{}).Get(context.Background(), []auth.DeviceID{}); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
}
