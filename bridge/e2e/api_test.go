package e2e_test

import (
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// admin asks the API with curl, as the admin.
func (s *site) admin(n *node, path string, args ...string) reply {
	s.Helper()
	return s.as(app{"admin", adminKey}, n, path, args...)
}

func (s *site) as(a app, n *node, path string, args ...string) reply {
	s.Helper()
	return curl(s.T, append(args, "-H", "Authorization: Bearer "+a.key, "http://"+n.addr("api")+path)...)
}

// read decodes an answer, and wants its status.
func (r reply) read(t *testing.T, status int, into any) {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal([]byte(r.body), into); err != nil {
		t.Fatalf("read %s: %v", r.body, err)
	}
}

func TestAPIDevices(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	n := s.serve()
	const id = "IMEI:356726104408422"
	secret := s.confide("72J3wD2bd49jnMI8S31j2L3vZldH3rSS", "a secret")
	asJSON := []string{"-H", "Content-Type: application/json"}
	post := func(body string) reply { return s.admin(n, "/v1/devices", append(asJSON, "-d", body)...) }
	var made struct {
		ID, Secret, Name, MSISDN string
		Labels                   map[string]string
	}
	r := post(`{"id":"imei:356726104408422","secret":"` + secret + `","name":"Pump 7","iccid":"8931080019073497795","msisdn":"31612345678","labels":{"site":"depot"}}`)
	r.read(t, 201, &made)
	if made.ID != id || made.Secret != "" || r.field("Location") != "/v1/devices/"+id {
		t.Errorf("created %s, Location %s", r.body, r.field("Location"))
	}
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"again":        {`{"id":"` + id + `","secret":"` + secret + `"}`, 409},
		"no id":        {`{"secret":"` + secret + `"}`, 422},
		"bad id":       {`{"id":"IMEI:1","secret":"` + secret + `"}`, 422},
		"short secret": {`{"id":"IMEI:490154203237518","secret":"short1"}`, 422},
		"unknown key":  {`{"id":"IMEI:490154203237518","sekret":"x"}`, 422},
		"no JSON":      {`{`, 400},
	} {
		r := post(c.body)
		if r.status != c.status || !strings.HasPrefix(r.field("Content-Type"), "application/problem+json") || strings.Contains(r.body, secret) || strings.Contains(r.body, "short1") {
			t.Errorf("%s: status %d, want %d (%s): %s", name, r.status, c.status, r.field("Content-Type"), r.body)
		}
	}
	s.admin(n, "/v1/devices/"+id).read(t, 200, &made)
	if made.Name != "Pump 7" || made.MSISDN != "31612345678" || made.Labels["site"] != "depot" || strings.Contains(s.admin(n, "/v1/devices/"+id).body, secret) {
		t.Errorf("got %+v", made)
	}
	post(`{"id":"DVNUUID:0f8fad5b-d9cb-469f-a165-70867728950e"}`).read(t, 201, &made)
	if len(s.confide(made.Secret, "a secret")) < 30 {
		t.Errorf("no secret was made: %+v", made)
	}
	s.admin(n, "/v1/devices/IMEI:490154203237518").read(t, 404, nil)
	s.admin(n, "/v1/devices/"+id, "-X", "DELETE").read(t, 204, nil)
	s.admin(n, "/v1/devices/"+id, "-X", "DELETE").read(t, 404, nil)
	s.admin(n, "/v1/devices/"+id).read(t, 404, nil)
}

// page is one of any list.
type page struct {
	Items  []struct{ ID, Device, Name, Reason string }
	Cursor string
	More   bool
}

func TestAPIPages(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	n := s.serve()
	list := s.devices(0, 7, nil)
	var ids []string
	for cursor := ""; ; {
		var p page
		s.admin(n, "/v1/devices?limit=3&cursor="+cursor).read(t, 200, &p)
		for _, d := range p.Items {
			ids = append(ids, d.ID)
		}
		if cursor = p.Cursor; cursor == "" {
			break
		}
	}
	if len(ids) != len(list) {
		t.Errorf("the pages have %d devices, want %d: %v", len(ids), len(list), ids)
	}
	for i := range 12 {
		s.post(n, list[i%2], pack(list[i%2], 0, "t", i)).accepted(t)
	}
	var seen []string
	for after := "0"; ; {
		var p page
		s.admin(n, "/v1/uplinks?limit=5&after="+after).read(t, 200, &p)
		for _, u := range p.Items {
			seen = append(seen, u.ID)
		}
		after = p.Cursor
		if !p.More {
			break
		}
	}
	entries := s.stored("uplinks")
	for i, e := range entries {
		if i >= len(seen) || seen[i] != e.ID {
			t.Fatalf("the pages have %v, the stream %d entries", seen, len(entries))
		}
	}
	var p page
	s.admin(n, "/v1/uplinks?device="+list[1].ID).read(t, 200, &p)
	if len(p.Items) != 6 {
		t.Errorf("%d uplinks of one device, want 6", len(p.Items))
	}
	s.admin(n, "/v1/uplinks?limit=0").read(t, 422, nil)
	s.admin(n, "/v1/uplinks?after=x").read(t, 422, nil)
	s.postWith(n, list[0].Path(), "", "{}")
	eventually(t, 5*time.Second, "the reject", func() bool { return len(s.stored("rejects")) == 1 })
	s.admin(n, "/v1/rejects").read(t, 200, &p)
	if len(p.Items) != 1 || p.Items[0].Reason != "senml-not-array" {
		t.Errorf("rejects %+v", p.Items)
	}
}

func TestAPIApps(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	n := s.serve()
	reader, writer := s.app("reader", []string{"uplink.read"}), s.app("writer", []string{"device.write"})
	if r := s.admin(n, "/v1/apps"); strings.Contains(r.body, reader.key) || !strings.Contains(r.body, `"reader"`) {
		t.Errorf("the list of apps: %s", r.body)
	}
	for _, c := range []struct {
		a      app
		path   string
		status int
	}{
		{reader, "/v1/uplinks", 200},
		{reader, "/v1/rejects", 403},
		{reader, "/v1/devices", 403},
		{reader, "/v1/apps", 403},
		{writer, "/v1/uplinks", 403},
		{app{"", "m2m_wrong"}, "/v1/uplinks", 401},
		{app{"", ""}, "/v1/uplinks", 401},
	} {
		if r := s.as(c.a, n, c.path); r.status != c.status {
			t.Errorf("%s for %s: status %d, want %d", c.path, c.a.name, r.status, c.status)
		}
	}
	s.admin(n, "/v1/apps/reader", "-X", "DELETE").read(t, 204, nil)
	eventually(t, time.Second, "the key is refused", func() bool { return s.as(reader, n, "/v1/uplinks").status == 401 })
}

// TestLive follows the stream with curl, drops the connection, and goes on
// where it was.
func TestLive(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	n := s.serve()
	d := s.device(0, nil)
	a := s.app("reader", []string{"uplink.read"})
	live, stop := s.live(n, a)
	s.post(n, d, pack(d, 0, "first", 1)).accepted(t)
	eventually(t, 5*time.Second, "the live stream has it", func() bool { return strings.Contains(live.String(), `"first"`) })
	stop()
	id := ""
	for line := range strings.Lines(live.String()) {
		if rest, ok := strings.CutPrefix(line, "id: "); ok {
			id = strings.TrimSpace(rest)
		}
	}
	s.post(n, d, pack(d, 0, "second", 2)).accepted(t)
	again, _ := s.live(n, a, "-H", "Last-Event-ID: "+id)
	s.post(n, d, pack(d, 0, "third", 3)).accepted(t)
	eventually(t, 5*time.Second, "it goes on where it was", func() bool {
		text := again.String()
		second, third := strings.Index(text, `"second"`), strings.Index(text, `"third"`)
		return second > 0 && third > second
	})
	if strings.Contains(again.String(), `"first"`) {
		t.Errorf("it began anew:\n%s", again)
	}
}

func (s *site) live(n *node, a app, args ...string) (out *transcript, stop func()) {
	s.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out = newTranscript()
	cmd := exec.CommandContext(ctx, "curl", append(args, "-sN", "-H", "Authorization: Bearer "+a.key, "http://"+n.addr("api")+"/v1/live")...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	stop = func() { cancel(); <-ended }
	s.Cleanup(stop)
	eventually(s.T, 5*time.Second, "the live stream is open", func() bool { return strings.Contains(out.String(), "retry:") })
	return out, stop
}

func TestHealth(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	n := s.serve()
	d := s.device(0, nil)
	s.post(n, d, pack(d, 0, "t", 1)).accepted(t)
	s.ready(n, "")
	r := curl(t, "http://"+n.addr("api")+"/metrics")
	for _, want := range []string{"m2mbridge_http_connections ", "m2mbridge_mqtt_connections ", "go_goroutines "} {
		if !strings.Contains(r.body, "\n"+want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	confess(t, r.body, s.confided)
	var document struct {
		OpenAPI string
		Paths   map[string]any
	}
	curl(t, "http://"+n.addr("api")+"/openapi.json").read(t, 200, &document)
	if !strings.HasPrefix(document.OpenAPI, "3.1") || document.Paths["/v1/devices/{id}"] == nil {
		t.Errorf("openapi %s of %d paths", document.OpenAPI, len(document.Paths))
	}
	s.redis.Stop()
	s.ready(n, "cannot be reached")
	for _, path := range []string{"/v1/devices", "/v1/uplinks"} {
		if r := s.admin(n, path); r.status != 503 || r.field("Retry-After") == "" || r.took > 2*time.Second {
			t.Errorf("%s: status %d after %s", path, r.status, r.took)
		}
	}
	s.redis.Cont()
	s.ready(n, "")
}
