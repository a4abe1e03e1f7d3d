package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// attempt is a request that must not tell of the victim, nor change it.
type attempt struct {
	method, path, body string
	want               int
	args               []string
}

// attempts are all the ways of the API to read or change a device.
func attempts(victim fleet.Device) []attempt {
	one := "/v1/devices/" + victim.ID
	const get, post, put, patch, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete
	csv := []string{"-H", "Content-Type: text/csv"}
	explained := base64.StdEncoding.EncodeToString([]byte(pack(victim, 0, "t", 1)))
	return []attempt{
		{get, one, "", 404, nil},
		{put, one, `{"unsigned":true}`, 403, nil},
		{put, one, `{"unsigned":true,"labels":{"site":"depot"}}`, 403, nil},
		{patch, one, `{"name":"mine"}`, 404, nil},
		{patch, one, `{"labels":{"site":"depot"}}`, 404, nil},
		{del, one, "", 404, nil},
		{post, one + "/secrets", `{}`, 404, nil},
		{del, one + "/secrets/all", "", 404, nil},
		{post, "/v1/devices", `{"id":"` + victim.ID + `","unsigned":true}`, 403, nil},
		{post, "/v1/devices", `{"id":"IMEI:490154203237518","unsigned":true}`, 403, nil},
		{get, "/v1/devices", "", 200, nil},
		{get, "/v1/devices?id=" + victim.ID, "", 200, nil},
		{get, "/v1/devices?iccid=8931440400000000001", "", 200, nil},
		{get, "/v1/devices?msisdn=31612345678", "", 200, nil},
		{get, "/v1/devices?name=victim", "", 200, nil},
		{get, "/v1/devices?label=site%3Dpier", "", 200, nil},
		{get, "/v1/devices?sort=createdAt", "", 200, nil},
		{get, "/v1/devices?sort=-modifiedAt", "", 200, nil},
		{get, "/v1/devices/export", "", 200, nil},
		{get, "/v1/devices/export?format=csv", "", 200, nil},
		{get, "/v1/devices/export?format=ndjson&name=victim", "", 200, nil},
		{get, "/v1/uplinks?after=0", "", 200, nil},
		{get, "/v1/uplinks?after=0&device=" + victim.ID, "", 403, nil},
		{get, "/v1/events?after=0", "", 200, nil},
		{get, "/v1/events?after=0&device=" + victim.ID, "", 403, nil},
		{get, "/v1/rejects?after=0", "", 200, nil},
		{get, "/v1/rejects?after=0&device=" + victim.ID, "", 403, nil},
		{get, "/v1/trace?device=" + victim.ID, "", 403, nil},
		{get, "/v1/live?device=" + victim.ID, "", 403, nil},
		{get, "/v1/live?kind=steps&device=" + victim.ID, "", 403, nil},
		{get, "/v1/live?kind=steps", "", 422, nil},
		{get, "/v1/apps", "", 403, nil},
		{get, "/v1/sessions", "", 403, nil},
		{post, "/v1/explain", `{"body":"` + explained + `","token":"0"}`, 200, nil},
		{post, "/v1/explain", `{"body":"` + explained + `","token":"0","device":"` + victim.ID + `"}`, 200, nil},
		{post, "/v1/devices/import", "id,name\n" + victim.ID + ",mine\n", 200, csv},
		{post, "/v1/devices/import?dryRun=true", "id,labels\n" + victim.ID + ",site=depot\n", 200, csv},
		{post, "/v1/devices/import?skipFaults=true&generateSecrets=true", "id\n" + victim.ID + "\nIMEI:490154203237518\n", 200, csv},
	}
}

// TestLimitedAppOverAPI: apps limited to three devices, by their ids or by a
// label, try to read and change a fourth in every way there is.
func TestLimitedAppOverAPI(t *testing.T) {
	t.Parallel()
	need(t, "curl", "mosquitto_pub", "mosquitto_sub")
	s := newSite(t)
	n := s.serve("--app-rate", "0")
	own := s.devices(0, 3, map[string]any{"labels": map[string]string{"site": "depot"}})
	victim := s.device(3, map[string]any{
		"name": "Victim of all", "iccid": "8931440400000000001", "msisdn": "31612345678", "labels": map[string]string{"site": "pier"},
	})
	s.mustPublish(n, v5, victim, pack(victim, 0, "hidden", 1))
	s.postWith(n, victim.Path(), s.token(victim, "wrong"), pack(victim, 0, "hidden", 2))
	s.mustPublish(n, v311, own[0], pack(own[0], 0, "shown", 1))
	before := s.call(http.MethodGet, "/v1/devices/"+victim.ID, nil, http.StatusOK)
	all := []string{"uplink.read", "downlink.read", "downlink.write", "reject.read", "device.read", "device.write"}
	for _, a := range []app{s.app("byid", all, own[0].ID, own[1].ID, own[2].ID), s.app("bylabel", all, "site=depot")} {
		for _, try := range attempts(victim) {
			s.mayNot(n, a, try, victim)
		}
		s.walks(n, a, own)
		live := startCurl(t, n, a, "/v1/live?kind=uplinks&kind=events&kind=rejects")
		live.eventually("HTTP/1.1 200", 1)
		l := s.subscribe(n, v5, a, []string{"presence/#", "events/#"})
		s.mustPublish(n, v5, victim, pack(victim, 0, "hidden", 3))
		s.mustPublish(n, v5, own[1], pack(own[1], 0, "shown", 3))
		live.eventually(own[1].ID, 1)
		eventually(t, 10*time.Second, "its own presence is shown", func() bool { return len(l.presence(presenceTopic(own[1]))) > 0 })
		for what, text := range map[string]string{"the live stream": live.out.String(), l.name: l.out.String()} {
			if strings.Contains(text, victim.Value()) || strings.Contains(text, "hidden") {
				t.Errorf("%s, %s tells of the victim:\n%s", a.name, what, text)
			}
		}
		live.interrupt()
		l.kill()
		if _, said := s.publishAs(n, v5, a.name, a.key, "downlinks/IMEI/"+victim.Value(), pack(victim, 0, "x", 1), "-q", "1"); !strings.Contains(said, "failed") {
			t.Errorf("%s publishes a downlink to the victim: %s", a.name, said)
		}
	}
	// It may not lead its own out of its sight, nor a stranger's into it.
	relabel := attempt{http.MethodPatch, "/v1/devices/" + own[0].ID, `{"labels":{"site":"pier"}}`, 403, nil}
	s.mayNot(n, s.app("mover", all, "site=depot"), relabel, victim)
	after := s.call(http.MethodGet, "/v1/devices/"+victim.ID, nil, http.StatusOK)
	if was, is := described(t, before), described(t, after); was != is {
		t.Errorf("the victim was %s, is %s", was, is)
	}
	if got := s.count("m2m:{0}:devices"); got != 4 {
		t.Errorf("%d devices, want 4", got)
	}
}

// described is what does not change of a device without somebody changing it.
func described(t *testing.T, text []byte) string {
	t.Helper()
	var d struct {
		ID, Name, ICCID, MSISDN, ModifiedAt string
		Secrets                             int
		Labels                              map[string]string
	}
	if err := json.Unmarshal(text, &d); err != nil || d.ModifiedAt == "" {
		t.Fatalf("%s: %v", text, err)
	}
	again, _ := json.Marshal(d)
	return string(again)
}

// mayNot makes an attempt, which must be answered without a word of the victim
// but what the app said itself.
func (s *site) mayNot(n *node, a app, try attempt, victim fleet.Device) {
	s.Helper()
	args := append([]string{"-X", try.method, "-H", "Authorization: Bearer " + a.key}, try.args...)
	if try.body != "" {
		if try.args == nil {
			args = append(args, "-H", "Content-Type: application/json")
		}
		args = append(args, "--data-binary", try.body)
	}
	r := curl(s.T, append(args, "http://"+n.addr("api")+try.path)...)
	if r.status != try.want {
		s.Errorf("%s: %s %s %s: status %d, want %d: %s", a.name, try.method, try.path, try.body, r.status, try.want, r.body)
	}
	for _, private := range []string{"hidden", "Victim of all", "8931440400000000001", "31612345678", "pier", victim.Secret} {
		if strings.Contains(r.body, private) && !strings.Contains(try.path+try.body, private) {
			s.Errorf("%s: %s %s tells %s: %s", a.name, try.method, try.path, private, r.body)
		}
	}
	if strings.Contains(r.body, victim.Value()) && !strings.Contains(try.path+try.body, victim.Value()) && !strings.Contains(try.path, "explain") {
		s.Errorf("%s: %s %s names the victim: %s", a.name, try.method, try.path, r.body)
	}
	if strings.Contains(try.path, "import") && (!strings.Contains(r.body, `"faults":`) || strings.Contains(r.body, `"secret"`) || strings.Contains(r.body, `"created":1`) || strings.Contains(r.body, `"changed":1`)) {
		s.Errorf("%s: %s: %s", a.name, try.path, r.body)
	}
}

// walks pages through the list one by one: it has the three and no other.
func (s *site) walks(n *node, a app, own []fleet.Device) {
	s.Helper()
	for _, sort := range []string{"id", "-id", "createdAt", "-modifiedAt"} {
		seen := map[string]int{}
		for cursor := ""; ; {
			r := curl(s.T, "-G", "-H", "Authorization: Bearer "+a.key, "--data-urlencode", "cursor="+cursor, "-d", "limit=1", "-d", "sort="+sort, "http://"+n.addr("api")+"/v1/devices")
			var page struct {
				Items  []struct{ ID string }
				Cursor string
			}
			if err := json.Unmarshal([]byte(r.body), &page); err != nil || r.status != 200 {
				s.Fatalf("%s: page of %s: status %d: %s", a.name, sort, r.status, r.body)
			}
			for _, d := range page.Items {
				seen[d.ID]++
			}
			if cursor = page.Cursor; cursor == "" || len(seen) > 10 {
				break
			}
		}
		if len(seen) != len(own) || seen[own[0].ID] != 1 || seen[own[1].ID] != 1 || seen[own[2].ID] != 1 {
			s.Errorf("%s: sorted by %s it sees %v", a.name, sort, seen)
		}
	}
}

// startCurl follows a path as an app.
func startCurl(t *testing.T, n *node, a app, path string) *background {
	t.Helper()
	return start(t, environment(), "curl", "-sSNi", "-H", "Authorization: Bearer "+a.key, "http://"+n.addr("api")+path)
}
