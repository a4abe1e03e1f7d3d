package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/stream"
)

func ids[T any](items []T, id func(T) string) []string {
	out := []string{}
	for _, i := range items {
		out = append(out, id(i))
	}
	return out
}

func uplinkID(u Uplink) string { return u.ID }

func TestUplinksAreReadInPages(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		a := start(t, server)
		var want []string
		for i := range 120 {
			want = append(want, a.uplink(imei1, i))
		}
		var got []string
		var page StreamPage[Uplink]
		for after := ""; ; {
			a.want(http.StatusOK, adminKey, "GET", "/v1/uplinks?limit=7&after="+after, "", &page)
			got = append(got, ids(page.Items, uplinkID)...)
			if after = page.Cursor; !page.More {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %d uplinks, want %d", len(got), len(want))
		}
		if page.Cursor != want[119] {
			t.Errorf("cursor %s, want the last id %s", page.Cursor, want[119])
		}
		// What comes later is behind the last cursor.
		late := a.uplink(imei1, 120)
		a.want(http.StatusOK, adminKey, "GET", "/v1/uplinks?after="+page.Cursor, "", &page)
		if got := ids(page.Items, uplinkID); !slices.Equal(got, []string{late}) || page.More || page.Gap {
			t.Errorf("got %v", page)
		}
		a.want(http.StatusOK, adminKey, "GET", "/v1/uplinks?after="+late, "", &page)
		if len(page.Items) != 0 || page.Items == nil || page.Cursor != late {
			t.Errorf("at the end: %+v", page)
		}
	})
}

func TestCursorIsAnotherNameOfAfter(t *testing.T) {
	a := start(t, redistest.Start(t))
	uplinked := []string{a.uplink(imei1, 0), a.uplink(imei1, 1)}
	for _, list := range []string{"uplinks", "rejects", "events"} {
		want := uplinked
		if list != "uplinks" {
			want = []string{a.add(stream.Kind(list), imei1), a.add(stream.Kind(list), imei1)}
		}
		for _, query := range []string{"?cursor=" + want[0], "?limit=1&cursor=" + want[0] + "&after=" + want[0]} {
			var page StreamPage[struct{ ID string }]
			a.want(http.StatusOK, adminKey, "GET", "/v1/"+list+query, "", &page)
			if len(page.Items) != 1 || page.Items[0].ID != want[1] {
				t.Errorf("%s%s: %v", list, query, page.Items)
			}
		}
		a.refuses("/v1/"+list+"?cursor="+want[0]+"&after="+want[1], "", "query.cursor", "after")
	}
}

// The error names the start as the client gave it.
func TestStartThatIsNone(t *testing.T) {
	a := start(t, redistest.Start(t))
	a.refuses("/v1/uplinks?after=zzz", "", "query.after", "want a stream id")
	a.refuses("/v1/events?cursor=zzz", "", "query.cursor", "want a stream id")
	a.refuses("/v1/live?after=zzz", "", "query.after", "want a stream id")
	a.refuses("/v1/live", "zzz", "header.Last-Event-ID", "want a stream id")
	a.refuses("/v1/rejects?after=yesterday", "", "query.after", "an instant such as")
	a.refuses("/v1/live?after=2026-01-31", "", "query.after", "an instant such as")
	a.refuses("/v1/live?after=0", "zzz", "header.Last-Event-ID", "want a stream id")
}

// refuses wants a 422 with one error, at the location.
func (a *testAPI) refuses(path, lastID, location, message string) {
	a.t.Helper()
	var header []string
	if lastID != "" {
		header = []string{"Last-Event-ID", lastID}
	}
	got := a.call(adminKey, "GET", path, "", header...)
	var problem huma.ErrorModel
	if err := json.Unmarshal(got.body, &problem); err != nil || got.status != http.StatusUnprocessableEntity || len(problem.Errors) != 1 ||
		problem.Errors[0].Location != location || !strings.Contains(problem.Errors[0].Message, message) {
		a.t.Errorf("%s: %d %s", path, got.status, got.body)
	}
}

func TestUplinkIsShownAsItIsStored(t *testing.T) {
	a := start(t, redistest.Start(t))
	pack := `[{"bn":"urn:dev:IMEI:356726104408422:","bt":1.7000000000E9,"n":"t","u":"Cel","v":21.50},{"n":"note","vs":"a<b>&c é"}]`
	id := a.add(uplinks, imei1, "via", "mqtt", "token", "abcdef", "pack", pack, "unsigned", "1", "raw", "\x00raw")
	got := a.want(http.StatusOK, adminKey, "GET", "/v1/uplinks", "", nil)
	want := fmt.Sprintf(`{"items":[{"id":%q,"device":%q,"via":"mqtt","at":"2023-11-14T22:13:20.123Z","unsigned":true,"pack":%s,"raw":"AHJhdw=="}],"cursor":%q,"more":false}`,
		id, imei1, pack, id)
	if strings.TrimSpace(string(got.body)) != want {
		t.Errorf("got  %s\nwant %s", got.body, want)
	}
	a.add(uplinks, imei1, "via", "http", "pack", "[{spoilt")
	var page StreamPage[Uplink]
	a.want(http.StatusOK, adminKey, "GET", "/v1/uplinks?after="+id, "", &page)
	if len(page.Items) != 1 || string(page.Items[0].Pack) != "null" {
		t.Errorf("spoilt pack: %+v", page)
	}
}

func TestUplinksOfSeveralPartitions(t *testing.T) {
	a := start(t, redistest.Start(t), partitions(4))
	devices := []string{imei1, imei2, uuid1, "IMEI:111111111111111", "IMEI:222222222222222"}
	want := map[string][]string{}
	for i := range 100 {
		d := devices[i%len(devices)]
		want[d] = append(want[d], a.uplink(d, i))
	}
	got := map[string][]string{}
	for after := ""; ; {
		var page StreamPage[Uplink]
		a.want(http.StatusOK, adminKey, "GET", "/v1/uplinks?limit=9&after="+after, "", &page)
		for _, u := range page.Items {
			got[u.Device] = append(got[u.Device], u.ID)
		}
		if after = page.Cursor; !page.More {
			break
		}
	}
	for _, d := range devices {
		if !slices.Equal(got[d], want[d]) {
			t.Errorf("%s: got %d uplinks, want %d in order", d, len(got[d]), len(want[d]))
		}
	}
	// A bare stream id is a position in every partition.
	var page StreamPage[Uplink]
	a.want(http.StatusOK, adminKey, "GET", "/v1/uplinks?limit=1000&after="+want[imei1][10], "", &page)
	for _, u := range page.Items {
		if u.Device == imei1 && slices.Index(want[imei1], u.ID) <= 10 {
			t.Errorf("%s is not after %s", u.ID, want[imei1][10])
		}
	}
	// One device's are in one partition; the others keep their place.
	a.want(http.StatusOK, adminKey, "GET", "/v1/uplinks?limit=1000&device="+imei2, "", &page)
	if got := ids(page.Items, uplinkID); !slices.Equal(got, want[imei2]) {
		t.Errorf("got %v", got)
	}
	a.want(http.StatusUnprocessableEntity, adminKey, "GET", "/v1/uplinks?after=u1-0_2-0", "", nil)
}

func TestRejectsAndEventsAreRead(t *testing.T) {
	a := start(t, redistest.Start(t))
	id := a.add(rejects, imei1, "via", "http", "reason", "wrong-token", "detail", "the token does not match", "remote", "192.0.2.1:9", "body", "[\xff")
	var page StreamPage[Reject]
	a.want(http.StatusOK, adminKey, "GET", "/v1/rejects", "", &page)
	if len(page.Items) != 1 || page.Items[0].ID != id || page.Items[0].Reason != "wrong-token" || string(page.Items[0].Body) != "[\xff" ||
		page.Items[0].Remote != "192.0.2.1:9" {
		t.Errorf("got %+v", page.Items)
	}
	a.add(events, imei1, "kind", "downlink", "id", "d1", "state", "SUCCEEDED", "cause", "delivered")
	a.add(events, imei1, "kind", "presence", "state", "online")
	for _, c := range []struct {
		scopes string
		want   []string
	}{
		{"downlink.read", []string{"downlink", "presence"}},
		{"uplink.read", []string{"presence"}},
	} {
		var page StreamPage[Event]
		a.want(http.StatusOK, a.app(strings.ReplaceAll(c.scopes, ".", "-"), c.scopes), "GET", "/v1/events", "", &page)
		if got := ids(page.Items, func(e Event) string { return e.Kind }); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v", c.scopes, got)
		}
	}
}

func TestTrimmedStreamTellsAGap(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		a := start(t, server)
		first := a.uplink(imei1, 0)
		for i := range 10 {
			a.uplink(imei1, i)
		}
		last := a.uplink(imei1, 11)
		if err := a.client.XTrimMaxLen(t.Context(), a.keys.Key(0, "uplinks"), 2).Err(); err != nil {
			t.Fatal(err)
		}
		for path, gap := range map[string]bool{"?after=" + first: true, "?after=" + last: false, "?after=0": false, "": false} {
			var page StreamPage[Uplink]
			a.want(http.StatusOK, adminKey, "GET", "/v1/uplinks"+path, "", &page)
			if page.Gap != gap {
				t.Errorf("%q: gap %v", path, page.Gap)
			}
		}
	})
}

// A stream without end must not make a request without end.
func TestPageIsBounded(t *testing.T) {
	a := start(t, redistest.Start(t))
	pipe := a.client.Pipeline()
	for range scanEntries + 3*pageEntries {
		pipe.Do(t.Context(), "XADD", a.keys.Key(0, "uplinks"), "*", "device", imei2, "pack", "[]")
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := a.uplink(imei1, 1)
	var page StreamPage[Uplink]
	path := "/v1/uplinks?device=" + imei1
	a.want(http.StatusOK, adminKey, "GET", path, "", &page)
	if len(page.Items) != 0 || !page.More {
		t.Fatalf("first page: %d items, more %v", len(page.Items), page.More)
	}
	a.want(http.StatusOK, adminKey, "GET", path+"&after="+page.Cursor, "", &page)
	if got := ids(page.Items, uplinkID); !slices.Equal(got, []string{want}) || page.More {
		t.Errorf("second page: %v, more %v", got, page.More)
	}
}

// An instant is a start as well: what was stored then or later.
func TestStartAtAnInstant(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		a := start(t, server)
		for _, id := range []string{"1700000000999-3", "1700000001000-0", "1700000001000-1", "1700000001001-0"} {
			if err := a.client.Do(t.Context(), "XADD", a.keys.Key(0, "uplinks"), id, "device", imei1, "pack", "[]").Err(); err != nil {
				t.Fatal(err)
			}
		}
		for instant, want := range map[string]int{
			"2023-11-14T22:13:20Z": 4, "2023-11-14T22:13:21Z": 3, "2023-11-14T22:13:21.0009Z": 3, "2023-11-14T22:13:21.001Z": 1,
			"2023-11-14T23:13:21.001%2B01:00": 1, "2023-11-14T23:13:21.001+01:00": 1, "2099-01-01T00:00:00Z": 0,
		} {
			var page StreamPage[Uplink]
			a.want(http.StatusOK, adminKey, "GET", "/v1/uplinks?after="+instant, "", &page)
			if len(page.Items) != want || page.Gap && want != 4 {
				t.Errorf("%s: %+v", instant, page)
			}
		}
		a.live(adminKey, "?kind=uplinks&after=2023-11-14T22:13:21Z", "").expect("uplink", "1700000001000-0", "1700000001000-1", "1700000001001-0")
	})
}

// Who gives a removed device's id a label of its own reads nothing of its
// history; an app with the id in its filter does, by the operator's word.
func TestLabelsShowNoHistoryOfAnotherOwner(t *testing.T) {
	redistest.Each(t, func(t *testing.T, server *redistest.Server) {
		a := start(t, server)
		a.listening()
		a.device(imei1, `{"site":"home"}`)
		a.uplink(imei1, 1)
		a.add(rejects, imei1, "reason", "old")
		a.add(events, imei1, "kind", "presence", "state", "online")
		a.message(imei1, "1700000000000-1")
		a.want(http.StatusNoContent, adminKey, "DELETE", path1, "", nil)
		const scopes = "uplink.read downlink.read reject.read device.read device.write"
		thief, owner := a.app("thief", scopes, "site=depot"), a.app("owner", scopes, imei1)
		a.want(http.StatusCreated, thief, "PUT", path1, `{"labels":{"site":"depot"}}`, nil)
		a.patch(thief, path1, `{"name":"mine"}`)
		// Redis' clock is this one: what comes later than the answer is of the new device.
		id := a.uplink(imei1, 2)
		count := func(key, path string, want int) {
			t.Helper()
			var page struct{ Items []json.RawMessage }
			got := a.want(http.StatusOK, key, "GET", path, "", &page)
			if len(page.Items) != want {
				t.Errorf("%s: %d items, want %d: %s", path, len(page.Items), want, got.body)
			}
		}
		for _, device := range []string{"", "?device=" + imei1} {
			for path, want := range map[string][2]int{"/v1/uplinks": {1, 2}, "/v1/rejects": {0, 1}, "/v1/events": {0, 1}} {
				count(thief, path+device, want[0])
				count(owner, path+device, want[1])
				count(adminKey, path+device, want[1])
			}
		}
		count(thief, "/v1/trace?device="+imei1, 0)
		count(owner, "/v1/trace?device="+imei1, len(stored))
		a.live(thief, "?after=0", "").expect("uplink", id)
		a.live(thief, "?device="+imei1+"&after=0", "").expect("uplink", id)
	})
}

// What befell an app's session is for that app, whatever devices it sees.
func TestEventsOfSessionsAreTheirApps(t *testing.T) {
	a := start(t, redistest.Start(t))
	id := a.add(events, "", "app", "dash", "kind", "gap", "id", "dash/c1", "state", "missed", "cause", "7 messages")
	a.add(events, "", "app", "other", "kind", "gap", "state", "missed")
	a.add(events, "", "kind", "gap", "state", "missed")
	dash := a.app("dash", "uplink.read", imei1)
	for key, want := range map[string]int{
		dash: 1, a.app("all", "downlink.read"): 3, a.app("presence", "uplink.read"): 0, a.app("some", "downlink.read", imei1): 0, adminKey: 3,
	} {
		var page StreamPage[Event]
		a.want(http.StatusOK, key, "GET", "/v1/events", "", &page)
		if len(page.Items) != want {
			t.Errorf("%d events, want %d", len(page.Items), want)
		}
		if key == dash && page.Items[0] != (Event{ID: id, App: "dash", At: page.Items[0].At, Kind: "gap", Subject: "dash/c1", State: "missed", Cause: "7 messages"}) {
			t.Errorf("got %+v", page.Items[0])
		}
	}
}
