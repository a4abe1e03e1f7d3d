package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"m2mbridge/auth/redistest"
)

// The page shows every operation, schema and channel; each of its links leads
// somewhere, and the policy lets its style sheet through and nothing else.
func TestDocs(t *testing.T) {
	a := start(t, redistest.Start(t), keepSessions)
	got := a.want(http.StatusOK, "", "GET", "/docs", "", nil)
	page := string(got.body)
	if ct := got.header.Get("Content-Type"); ct != "text/html; charset=utf-8" {
		t.Errorf("content type %s", ct)
	}
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindStringSubmatch(page)
	if style == nil {
		t.Fatal("no style sheet")
	}
	sum := sha256.Sum256([]byte(style[1]))
	policy := got.header.Get("Content-Security-Policy")
	if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"';") {
		t.Errorf("policy %s", policy)
	}
	for _, never := range []string{"<script", "<link", "<img", "http://", "https://", " style=", "<no value>", "%!", "#/components"} {
		if strings.Contains(page, never) {
			t.Errorf("the page has %s", never)
		}
	}
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if ids[m[1]] {
			t.Errorf("two parts are called %s", m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(` href="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if to, inside := strings.CutPrefix(m[1], "#"); inside && !ids[to] {
			t.Errorf("a link leads nowhere: %s", m[1])
		} else if !inside {
			a.want(http.StatusOK, "", "GET", m[1], "", nil)
		}
	}
	for _, id := range append(a.named("/openapi.json", "s-"), a.named("/asyncapi.json", "m-")...) {
		if !ids[id] {
			t.Errorf("%s is not on the page", id)
		}
	}
	for _, text := range []string{"uplink.read", "device.write", "Last-Event-ID", "X-Request-Id", "application/problem+json", "uplinks/{type}/{value}", "m2m:{partition}:events"} {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not say %s", text)
		}
	}
	for _, element := range []string{"h1", "h2", "h3", "p", "table", "code", "nav", "main", "ul"} {
		if opened, closed := strings.Count(page, "<"+element+">")+strings.Count(page, "<"+element+" "), strings.Count(page, "</"+element+">"); opened != closed || opened == 0 {
			t.Errorf("%d <%s>, %d closed", opened, element, closed)
		}
	}
}

// named are the anchors that the parts of a document have.
func (a *testAPI) named(path, prefix string) (ids []string) {
	a.t.Helper()
	var doc struct {
		Paths      map[string]map[string]struct{ OperationID string }
		Channels   map[string]any
		Components struct{ Schemas map[string]any }
	}
	a.want(http.StatusOK, "", "GET", path, "", &doc)
	for name := range doc.Components.Schemas {
		ids = append(ids, prefix+name)
	}
	for name := range doc.Channels {
		ids = append(ids, "c-"+name)
	}
	for _, item := range doc.Paths {
		for _, op := range item {
			ids = append(ids, op.OperationID)
		}
	}
	if len(ids) < 15 {
		a.t.Errorf("%s has only %v", path, ids)
	}
	return ids
}

// A browser is led to the page; a program is told that there is nothing.
func TestFront(t *testing.T) {
	a := start(t, redistest.Start(t))
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for accept, status := range map[string]int{"text/html,application/xhtml+xml": http.StatusFound, "*/*": http.StatusNotFound, "": http.StatusNotFound} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.url+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status || (status == http.StatusFound) != (resp.Header.Get("Location") == "/docs") {
			t.Errorf("Accept %q: %d to %q", accept, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
}

// All that the AsyncAPI document refers to is in it.
func TestAsyncAPIDocument(t *testing.T) {
	a := start(t, redistest.Start(t))
	var doc map[string]any
	got := a.want(http.StatusOK, "", "GET", "/asyncapi.json", "", &doc)
	if doc["asyncapi"] != "3.0.0" || got.header.Get("Content-Type") != "application/asyncapi+json" || contains(got.body, "://") {
		t.Errorf("%v, %s", doc["asyncapi"], got.header.Get("Content-Type"))
	}
	refs := regexp.MustCompile(`"\$ref":"#/([^"]*)"`).FindAllSubmatch(got.body, -1)
	if len(refs) < 40 {
		t.Errorf("only %d references", len(refs))
	}
	for _, ref := range refs {
		var at any = doc
		for part := range strings.SplitSeq(string(ref[1]), "/") {
			inside, _ := at.(map[string]any)
			at = inside[part]
		}
		if at == nil {
			t.Errorf("there is no %s", ref[1])
		}
	}
	var channels struct {
		Channels map[string]struct {
			Address    string
			Parameters map[string]json.RawMessage
		}
	}
	if err := json.Unmarshal(got.body, &channels); err != nil {
		t.Fatal(err)
	}
	for name, c := range channels.Channels {
		if named := regexp.MustCompile(`\{[a-z]+\}`).FindAllString(c.Address, -1); len(named) != len(c.Parameters) {
			t.Errorf("%s: parameters of %s: %d", name, c.Address, len(c.Parameters))
		}
	}
}

// The documents are made while they are used to check requests.
func TestDocumentsAtOnce(t *testing.T) {
	a := start(t, redistest.Start(t), keepSessions)
	var wg sync.WaitGroup
	for _, path := range []string{"/openapi.json", "/asyncapi.json", "/docs", "/v1/devices", "/v1/devices?limit=x"} {
		first := a.call(adminKey, "GET", path, "")
		for range 4 {
			wg.Go(func() {
				if got := a.call(adminKey, "GET", path, ""); got.status != first.status || string(got.body) != string(first.body) {
					t.Errorf("%s differs from one call to the next", path)
				}
			})
		}
	}
	wg.Wait()
}
