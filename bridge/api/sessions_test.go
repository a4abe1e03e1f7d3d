package api

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/session"
	"m2mbridge/broker"
)

func keepSessions(c *Config) {
	c.Sessions = session.NewKeeper(session.Config{Client: c.Client, Keys: c.Keys, Node: "n1"})
}

// session keeps one that has read uplinks up to the first of them.
func (a *testAPI) session(app, clientID string) broker.Saved {
	a.t.Helper()
	s := broker.Saved{
		Key: broker.SessionKey{App: app, ClientID: clientID}, Owner: "o", Version: 4, Remote: "192.0.2.7:1", Expiry: 168 * time.Hour,
		Subscriptions: []broker.SavedSubscription{{Filter: "uplinks/#", QoS: 1, ID: 3}},
		Cursors:       []broker.Cursor{{Stream: 0, At: broker.Position{ID: broker.ID{MS: 1700000000000}, N: 0}}},
		InFlight:      []broker.InFlight{{PacketID: 1, ID: broker.ID{MS: 1700000000000, Seq: 1}}},
	}
	k := session.NewKeeper(session.Config{Client: a.client, Keys: a.keys, Node: "n1"})
	if _, _, err := k.Open(a.t.Context(), s, false, 0); err != nil {
		a.t.Fatal(err)
	}
	a.save(s, nil)
	return s
}

func (a *testAPI) save(s broker.Saved, want error) {
	a.t.Helper()
	k := session.NewKeeper(session.Config{Client: a.client, Keys: a.keys, Node: "n1"})
	if err := k.Save(a.t.Context(), []broker.Saved{s})[0]; (err == nil) != (want == nil) {
		a.t.Errorf("save: %v, want %v", err, want)
	}
}

func TestSession(t *testing.T) {
	a := start(t, redistest.Start(t), keepSessions)
	for i := 1; i <= 3; i++ {
		err := a.client.XAdd(t.Context(), &redis.XAddArgs{Stream: "m2m:{0}:uplinks", ID: fmt.Sprint("1700000000000-", i), Values: []any{"device", imei1}}).Err()
		if err != nil {
			t.Fatal(err)
		}
	}
	s := a.session("ui", "a")
	var got map[string]any
	a.want(http.StatusOK, adminKey, "GET", "/v1/sessions/ui/a", "", &got)
	for _, name := range []string{"createdAt", "seenAt", "expiresAt"} {
		at, err := time.Parse(time.RFC3339, fmt.Sprint(got[name]))
		if err != nil || time.Until(at) < -time.Minute {
			t.Errorf("%s %v", name, got[name])
		}
		delete(got, name)
	}
	lag := got["lag"].(map[string]any)
	seconds := time.Since(time.UnixMilli(1700000000000)).Seconds()
	if got := lag["seconds"].(float64); got < seconds-60 || got > seconds {
		t.Errorf("%v s behind", got)
	}
	want := map[string]any{
		"app": "ui", "clientId": "a", "connected": true, "node": "n1", "remote": "192.0.2.7:1", "version": "3.1.1", "expiry": "168h0m0s",
		"subscriptions": []any{map[string]any{"filter": "uplinks/#", "qos": 1.0, "id": 3.0}}, "inFlight": 1.0,
		"lag": map[string]any{"entries": 3.0, "seconds": lag["seconds"]},
		"streams": []any{map[string]any{
			"stream": "uplinks", "partition": 0.0, "cursor": "1700000000000-0", "entries": 3.0, "seconds": lag["seconds"],
		}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}

	a.want(http.StatusNoContent, adminKey, "DELETE", "/v1/sessions/ui/a", "", nil)
	a.save(s, broker.ErrRemoved) // so its node finds out
	a.want(http.StatusNotFound, adminKey, "DELETE", "/v1/sessions/ui/a", "", nil)
	a.want(http.StatusNotFound, adminKey, "GET", "/v1/sessions/ui/a", "", nil)
}

func TestSessionsAreTheAdmins(t *testing.T) {
	a := start(t, redistest.Start(t), keepSessions)
	a.session("ui", "a")
	key := a.app("ui", "uplink.read downlink.read downlink.write reject.read device.read device.write")
	for _, path := range []string{"GET /v1/sessions", "GET /v1/sessions/ui/a", "DELETE /v1/sessions/ui/a"} {
		method, path, _ := strings.Cut(path, " ")
		a.want(http.StatusForbidden, key, method, path, "", nil)
		a.want(http.StatusUnauthorized, "", method, path, "", nil)
	}
}

func TestListSessions(t *testing.T) {
	a := start(t, redistest.Start(t), partitions(3), keepSessions)
	for _, app := range []string{"b", "a", "c"} {
		for i := range 3 {
			a.session(app, fmt.Sprint("c/", i))
		}
	}
	for query, want := range map[string]string{
		"":              "a/c/0 a/c/1 a/c/2 b/c/0 b/c/1 b/c/2 c/c/0 c/c/1 c/c/2",
		"limit=2":       "a/c/0 a/c/1|a/c/2 b/c/0|b/c/1 b/c/2|c/c/0 c/c/1|c/c/2",
		"app=b":         "b/c/0 b/c/1 b/c/2",
		"app=b&limit=2": "b/c/0 b/c/1|b/c/2",
		"app=none":      "",
	} {
		var pages []string
		for cursor := ""; ; {
			var page Page[Session]
			a.want(http.StatusOK, adminKey, "GET", "/v1/sessions?"+query+"&cursor="+url.QueryEscape(cursor), "", &page)
			var names []string
			for _, s := range page.Items {
				names = append(names, s.App+"/"+s.ClientID)
				if s.Streams != nil || len(s.Subscriptions) != 1 {
					t.Errorf("%+v", s)
				}
			}
			pages = append(pages, strings.Join(names, " "))
			if cursor = page.Cursor; cursor == "" {
				break
			}
		}
		if got := strings.Join(pages, "|"); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	a.want(http.StatusUnprocessableEntity, adminKey, "GET", "/v1/sessions?limit=0", "", nil)
}

// A client id is one segment of the path, whatever is in it.
func TestSessionOfAnyClientID(t *testing.T) {
	a := start(t, redistest.Start(t), keepSessions)
	for _, id := range []string{"a/b", "/", "..", ".", "//", "%2F", "a b?c#d", "{x}", "a\nb", "ü€😀", strings.Repeat("é", 32767)} {
		a.session("ui", id)
		path := "/v1/sessions/ui/" + strings.ReplaceAll(url.PathEscape(id), ".", "%2E")
		var got Session
		a.want(http.StatusOK, adminKey, "GET", path, "", &got)
		if got.ClientID != id {
			t.Errorf("got %.20q, want %.20q", got.ClientID, id)
		}
		a.want(http.StatusNoContent, adminKey, "DELETE", path, "", nil)
	}
}

func TestSessionsWithoutRedis(t *testing.T) {
	server := redistest.Start(t)
	a := start(t, server, keepSessions)
	a.want(http.StatusOK, adminKey, "GET", "/v1/sessions", "", nil)
	server.Kill()
	got := a.call(adminKey, "GET", "/v1/sessions", "")
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("%d %s", got.status, got.body)
	}
}
