package fanout

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/stream"
	"m2mbridge/broker"
)

// until waits for what the tail brings.
func (n *node) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		changed := n.fanout.Changed()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatal("never: " + what)
		}
	}
}

// A gap is noted in the events stream of the partition concerned, and its app is told.
func TestGapIsAnEventOfItsApp(t *testing.T) {
	s := redistest.Start(t)
	keys := auth.Keyspace{Partitions: 3}
	n := start(t, s, keys)
	n.fanout.Gap(broker.Missed{
		Session: broker.SessionKey{App: "dash", ClientID: "c1"}, Stream: n.fanout.number(stream.Uplinks, 2),
		Gap: broker.Gap{From: broker.ID{MS: 1}, To: broker.ID{MS: 9}, Count: 7},
	})
	n.until(t, "the event", func() bool { return len(n.sub.on("events/")) == 1 })
	got, err := s.Client().XRange(t.Context(), "m2m:{2}:events", "-", "+").Result()
	if err != nil || len(got) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	if e := got[0].Values; e["device"] != "" || e["app"] != "dash" || e["kind"] != "gap" || e["id"] != "dash/c1" || e["state"] != "missed" ||
		!strings.Contains(e["cause"].(string), "7 messages of uplinks:2 from 1-0 to 9-0 were missed") ||
		!strings.Contains(e["cause"].(string), "GET /v1/uplinks?after=1-0") {
		t.Errorf("event %v", e)
	}
	m := n.sub.on("events/")[0]
	if m.Topic != "events/APP/dash/gap" || m.App != "dash" || m.Device != "" || m.Stream != n.fanout.number(stream.Events, 2) {
		t.Errorf("message %+v", m)
	}
	var payload struct{ App, Kind, Subject, State string }
	if err := json.Unmarshal(m.Payload, &payload); err != nil || payload.App != "dash" || payload.Kind != "gap" || payload.Subject != "dash/c1" {
		t.Errorf("payload %s: %v", m.Payload, err)
	}
}

// A session that misses events is not given ever more of them for it.
func TestGapsOfEventsAreFew(t *testing.T) {
	s := redistest.Start(t)
	n := start(t, s, auth.Keyspace{})
	missed := broker.Missed{Session: broker.SessionKey{App: "dash", ClientID: "c1"}, Stream: n.fanout.number(stream.Events, 0), Gap: broker.Gap{Count: broker.Unknown}}
	for range 20 {
		n.fanout.Gap(missed)
	}
	missed.Stream = n.fanout.number(stream.Rejects, 0)
	n.fanout.Gap(missed) // of another stream, and after all of them
	n.until(t, "the last event", func() bool {
		got := n.sub.on("events/")
		return len(got) > 0 && strings.Contains(string(got[len(got)-1].Payload), "of rejects")
	})
	if got := n.sub.on("events/"); len(got) != 2 || !strings.Contains(string(got[0].Payload), "an unknown number of messages of events") {
		t.Errorf("%d events: %s", len(got), got[0].Payload)
	}
}

// What is no event of the bridge's makes no message, and holds up none.
func TestSpoiltEntriesArePassedOver(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		n := start(t, s, auth.Keyspace{})
		add := func(key string, values ...any) {
			t.Helper()
			if err := s.Client().XAdd(t.Context(), &redis.XAddArgs{Stream: key, Values: values}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		for _, values := range [][]any{
			{"x", "y"}, {"device", "#", "kind", "sms"}, {"device", "IMEI:356726104408422"}, {"device", "IMEI:356726104408422", "kind", "a/b"},
			{"device", "", "app", "+", "kind", "gap"}, {"app", "", "kind", "gap"}, {"device", "IMEI:356726104408422", "kind", "sms", "at", "never"},
		} {
			add("m2m:{0}:events", values...)
		}
		add("m2m:{0}:uplinks", "device", "nobody", "pack", "[]")
		add("m2m:{0}:uplinks", "device", "IMEI:356726104408422", "pack", "[]")
		n.until(t, "the good ones", func() bool { return len(n.sub.on("events/")) == 1 && len(n.sub.on("uplinks/")) == 1 })
		events := n.fanout.number(stream.Events, 0)
		all, err := n.fanout.Page(t.Context(), events, broker.Position{}, 100)
		if err != nil || len(all.Messages) != 1 || all.Next.ID != n.fanout.End(events).ID {
			t.Errorf("page %+v, %v", all, err)
		}
		// The API shows what there is.
		if list, _, ok := n.fanout.Entries(stream.Events, 0, stream.ID{}, make([]stream.Entry, 0, 100)); !ok || len(list) != 7 {
			t.Errorf("%d entries in memory, %v", len(list), ok)
		}
	})
}
