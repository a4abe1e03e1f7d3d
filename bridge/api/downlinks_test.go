package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/downlink"
)

// downlinkAPI is an API with the service behind its downlinks.
type downlinkAPI struct {
	*testAPI
	service *downlink.Service
}

func startDownlinks(t *testing.T, server *redistest.Server, options ...option) *downlinkAPI {
	t.Helper()
	a := &downlinkAPI{}
	a.testAPI = start(t, server, append(options, func(c *Config) {
		a.service = downlink.New(downlink.Config{Client: c.Client, Keys: c.Keys, Room: 5, SMS: smsParts, Schedule: "0,60000;172800000"})
		c.Downlinks = a.service
	})...)
	return a
}

// smsParts is of how many parts an SMS is, by the rules of a test.
func smsParts(text string, _ []byte) (int, error) {
	if strings.Contains(text, "\x00") {
		return 0, errors.New("it has a character that no alphabet has")
	}
	return 1 + len(text)/160, nil
}

// post creates a downlink of the device with n=v; more are further members.
func (a *downlinkAPI) post(key, path, device string, v int, more string) (made Downlink) {
	a.t.Helper()
	a.want(http.StatusCreated, key, "POST", path, bodyOf(device, v, more), &made)
	return made
}

func bodyOf(device string, v int, more string) string {
	return fmt.Sprintf(`{"device":%q,"pack":[{"n":"n","v":%d}]%s}`, device, v, more)
}

func (a *downlinkAPI) get(id string) (d Downlink) {
	a.t.Helper()
	a.want(http.StatusOK, adminKey, "GET", "/v1/downlinks/"+id, "", &d)
	return d
}

func (a *downlinkAPI) hand(device string, via downlink.Channel) downlink.Handed {
	a.t.Helper()
	h, ok, err := a.service.Hand(a.t.Context(), auth.DeviceID(device), via)
	if err != nil || !ok {
		a.t.Fatalf("hand over: %v, %v", ok, err)
	}
	return h
}

func (a *downlinkAPI) done(h downlink.Handed, delivered bool) {
	a.t.Helper()
	if ok, err := a.service.Done(a.t.Context(), h, delivered, "told by the test"); err != nil || !ok {
		a.t.Fatalf("done: %v, %v", ok, err)
	}
}

// ids gives a whole list, page after page.
func (a *downlinkAPI) ids(key, path, query string) (ids []string) {
	a.t.Helper()
	for cursor := ""; ; {
		var page Page[Downlink]
		a.want(http.StatusOK, key, "GET", path+"?"+query+"&cursor="+cursor, "", &page)
		for _, d := range page.Items {
			ids = append(ids, d.ID)
		}
		if cursor = page.Cursor; cursor == "" {
			return ids
		}
	}
}

func TestDownlink(t *testing.T) {
	a := startDownlinks(t, redistest.Start(t))
	a.device(imei1, "")
	key := a.app("pump", "downlink.write downlink.read")
	notBefore := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	var made Downlink
	got := a.want(http.StatusCreated, key, "POST", "/v1/downlinks",
		`{"device":"imei:356726104408422","channel":"http","pack":[{"n":"led","vb":true},{"n":"x<y","v":1.50}],"ttl":"2h","notBefore":"`+
			notBefore.Format(time.RFC3339)+`","priority":0,"idempotencyKey":"k","ack":true}`, &made)
	if made.ID == "" || made.State != downlink.Queued || got.header.Get("Location") != "/v1/downlinks/"+made.ID {
		t.Fatalf("%s, Location %s", got.body, got.header.Get("Location"))
	}
	again := a.get(made.ID)
	if len(again.Timeline) != 1 || again.Timeline[0].What != "queued" || again.Timeline[0].Text != made.Cause || again.Timeline[0].At != made.ModifiedAt {
		t.Errorf("timeline %+v", again.Timeline)
	}
	again.Timeline = nil
	if d := cmp.Diff(made, again); d != "" {
		t.Error(d)
	}
	if !contains(got.body, `"pack":[{"bn":"urn:dev:IMEI:356726104408422:"},{"n":"led","vb":true},{"n":"x<y","v":1.50},{"n":"downlinkId","vs":"`+made.ID+`"}]`) {
		t.Errorf("pack %s", made.Pack)
	}
	if made.Device != imei1 || made.Channel != downlink.HTTP || made.Priority != 0 || !made.Ack || made.IdempotencyKey != "k" || made.App != "pump" ||
		!made.NotBefore.Equal(notBefore) || made.ExpiresAt.Sub(made.CreatedAt) != 2*time.Hour || made.Attempts != 0 || !strings.HasPrefix(made.Cause, "created by app ") {
		t.Errorf("%s", got.body)
	}
	if want := "waits until " + notBefore.Format(time.RFC3339); made.Reason != want {
		t.Errorf("reason %q, want %q", made.Reason, want)
	}
	plain := a.post(key, "/v1/downlinks", imei1, 1, "")
	if plain.Channel != downlink.Any || plain.Priority != 5 || plain.State != downlink.Executing || plain.ExpiresAt.Sub(plain.CreatedAt) != 48*time.Hour {
		t.Errorf("defaults %+v", plain)
	}
}

// Devices of tests of SMS.
const (
	numbered = "IMEI:353879234252633"
	barred   = "IMEI:354679090001234"
)

// withNumber registers a device that SMS reach.
func (a *downlinkAPI) withNumber(id, msisdn string) {
	a.t.Helper()
	a.want(http.StatusCreated, adminKey, "PUT", "/v1/devices/"+id, `{"msisdn":"`+msisdn+`"}`, nil)
}

func TestDownlinkRefusals(t *testing.T) {
	a := startDownlinks(t, redistest.Start(t))
	a.device(imei1, "")
	a.device(imei2, "")
	a.withNumber(numbered, "31612345678")
	a.want(http.StatusCreated, adminKey, "PUT", "/v1/devices/"+barred, `{"msisdn":"31612345679","sms":false}`, nil)
	reader, writer := a.app("reader", "downlink.read"), a.app("writer", "downlink.write")
	narrow := a.app("narrow", "downlink.write downlink.read", imei2)
	a.post(adminKey, "/v1/downlinks", imei2, 1, `,"idempotencyKey":"k"`)
	soon := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	for _, c := range []struct {
		name, key, path, body string
		status                int
		says                  string
	}{
		{"no key", "", "", bodyOf(imei1, 1, ""), 401, "Bearer"},
		{"no scope", reader, "", bodyOf(imei1, 1, ""), 403, "downlink.write"},
		{"foreign device", narrow, "", bodyOf(imei1, 1, ""), 403, "not among the devices"},
		{"foreign device that is none", narrow, "", bodyOf(uuid1, 1, ""), 403, "not among the devices"},
		{"unknown device", writer, "", bodyOf(uuid1, 1, ""), 422, `"location":"body.device"`},
		{"no device id", writer, "", bodyOf("x", 1, ""), 422, `"location":"body.device"`},
		{"no device", writer, "", `{"pack":[{"n":"n","v":1}]}`, 422, "device"},
		{"no pack", writer, "", `{"device":"` + imei1 + `"}`, 422, `"location":"body.pack"`},
		{"pack that is none", writer, "", `{"device":"` + imei1 + `","pack":"x"}`, 422, `"location":"body.pack"`},
		{"pack without values", writer, "", `{"device":"` + imei1 + `","pack":[{"n":"n"}]}`, 422, `"location":"body.pack"`},
		{"pack of another device", writer, "", `{"device":"` + imei1 + `","pack":[{"bn":"urn:dev:` + imei2 + `:","n":"n","v":1}]}`, 422, "base name that is not urn:dev:" + imei1},
		{"large pack", writer, "", `{"device":"` + imei1 + `","pack":[{"n":"n","vs":"` + strings.Repeat("x", 4096) + `"}]}`, 422, "more than 4096"},
		{"channel", writer, "", bodyOf(imei1, 1, `,"channel":"pigeon"`), 422, `"location":"body.channel"`},
		{"sms without a number", writer, "", bodyOf(imei1, 1, `,"channel":"sms"`), 422, `it is registered without an msisdn","location":"body.device"`},
		{"wake without a number", writer, "", bodyOf(imei1, 1, `,"wake":true`), 422, `"location":"body.device"`},
		{"sms that its SIM bars", writer, "/v1/sms", `{"device":"` + barred + `","text":"x"}`, 422, "(sms: false)"},
		{"sms of nothing", writer, "/sms/downlinks", `{"device":"` + numbered + `"}`, 422, "one of text, data and pack"},
		{"sms of two", writer, "/v1/sms", bodyOf(numbered, 1, `,"text":"x"`), 422, "one of text, data and pack"},
		{"long sms", writer, "/v1/sms", `{"device":"` + numbered + `","text":"` + strings.Repeat("x", 1600) + `"}`, 422, `"location":"body.text"`},
		{"sms of strange characters", writer, "/v1/sms", `{"device":"` + numbered + `","text":"\u0000"}`, 422, `no alphabet has","location":"body.text"`},
		{"sms of what is no base64", writer, "/v1/sms", `{"device":"` + numbered + `","data":"%"}`, 422, "body.data"},
		{"sms of text that is to be acknowledged", writer, "/v1/sms", `{"device":"` + numbered + `","text":"x","ack":true}`, 422, `"location":"body.ack"`},
		{"sms that wakes", writer, "/v1/sms", `{"device":"` + numbered + `","text":"x","wake":true}`, 422, `"location":"body.wake"`},
		{"text without sms", writer, "", `{"device":"` + numbered + `","text":"x"}`, 422, `"location":"body.text"`},
		{"data without sms", writer, "/mqtt/downlinks", `{"device":"` + numbered + `","data":"AA=="}`, 422, `"location":"body.data"`},
		{"other channel than sms", writer, "/v1/sms", `{"device":"` + numbered + `","text":"x","channel":"any"}`, 422, "under /v1/sms it is sms"},
		{"other channel than the path's", writer, "/http/downlinks", bodyOf(imei1, 1, `,"channel":"mqtt"`), 422, "under /http/downlinks it is http"},
		{"any channel than the path's", writer, "/mqtt/downlinks", bodyOf(imei1, 1, `,"channel":"any"`), 422, "under /mqtt/downlinks it is mqtt"},
		{"ttl that is none", writer, "", bodyOf(imei1, 1, `,"ttl":"soon"`), 422, `"location":"body.ttl"`},
		{"no ttl", writer, "", bodyOf(imei1, 1, `,"ttl":"0s"`), 422, `"location":"body.ttl"`},
		{"short ttl", writer, "", bodyOf(imei1, 1, `,"ttl":"1ms"`), 422, `"location":"body.ttl"`},
		{"long ttl", writer, "", bodyOf(imei1, 1, `,"ttl":"9000h"`), 422, `"location":"body.ttl"`},
		{"not before its end", writer, "", bodyOf(imei1, 1, `,"ttl":"30m","notBefore":"`+soon+`"`), 422, `"location":"body.notBefore"`},
		{"no instant", writer, "", bodyOf(imei1, 1, `,"notBefore":"soon"`), 422, "body.notBefore"},
		{"priority", writer, "", bodyOf(imei1, 1, `,"priority":10`), 422, `"location":"body.priority"`},
		{"idempotency key", writer, "", bodyOf(imei1, 1, `,"idempotencyKey":"a\nb"`), 422, `"location":"body.idempotencyKey"`},
		{"long idempotency key", writer, "", bodyOf(imei1, 1, `,"idempotencyKey":"`+strings.Repeat("k", 129)+`"`), 422, `"location":"body.idempotencyKey"`},
		{"unknown member", writer, "", bodyOf(imei1, 1, `,"chanel":"http"`), 422, "body.chanel"},
		{"no JSON", writer, "", `{`, 400, ""},
		{"key of another downlink", adminKey, "", bodyOf(imei2, 2, `,"idempotencyKey":"k"`), 409, "idempotency key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := c.path
			if path == "" {
				path = "/v1/downlinks"
			}
			got := a.call(c.key, "POST", path, c.body)
			if got.status != c.status || !contains(got.body, c.says) || !strings.HasPrefix(got.header.Get("Content-Type"), "application/problem+json") {
				t.Errorf("%d %s, want %d with %s", got.status, got.body, c.status, c.says)
			}
		})
	}
	if all := a.ids(adminKey, "/v1/downlinks", ""); len(all) != 1 {
		t.Errorf("made %v", all)
	}
	for i := range 4 {
		a.post(writer, "/v1/downlinks", imei2, i, "")
	}
	if got := a.call(writer, "POST", "/v1/downlinks", bodyOf(imei2, 9, "")); got.status != 409 || !contains(got.body, "as many downlinks wait for the device as may") {
		t.Errorf("one too many: %d %s", got.status, got.body)
	}
}

// Each operation at each path asks for its scope.
func TestDownlinkScopes(t *testing.T) {
	a := startDownlinks(t, redistest.Start(t))
	none := a.app("none", "uplink.read device.read device.write reject.read")
	reader, writer := a.app("reader", "downlink.read"), a.app("writer", "downlink.write")
	for _, path := range []string{"/v1/downlinks", "/http/downlinks", "/mqtt/downlinks", "/sms/downlinks", "/v1/sms"} {
		for method, other := range map[string]string{"POST ": reader, "DELETE /x": reader, "GET ": writer, "GET /x": writer} {
			method, rest, _ := strings.Cut(method, " ")
			for _, key := range []string{none, other} {
				a.want(http.StatusForbidden, key, method, path+rest, "", nil)
			}
			a.want(http.StatusUnauthorized, "", method, path+rest, "", nil)
		}
	}
}

func TestDownlinkDeviceFilter(t *testing.T) {
	a := startDownlinks(t, redistest.Start(t), partitions(3))
	a.device(imei1, `{"site":"depot"}`)
	a.device(imei2, "")
	mine, foreign := a.post(adminKey, "/v1/downlinks", imei1, 1, ""), a.post(adminKey, "/v1/downlinks", imei2, 1, "")
	for name, filter := range map[string]string{"by-id": imei1, "by-label": "site=depot"} {
		key := a.app(name, "downlink.read downlink.write", filter)
		a.want(http.StatusOK, key, "GET", "/v1/downlinks/"+mine.ID, "", nil)
		for _, id := range []string{foreign.ID, "0-none", "zz-" + mine.ID, "x"} {
			a.want(http.StatusNotFound, key, "GET", "/v1/downlinks/"+id, "", nil)
			a.want(http.StatusNotFound, key, "DELETE", "/v1/downlinks/"+id, "", nil)
		}
		if got := a.ids(key, "/v1/downlinks", "limit=1"); !slices.Equal(got, []string{mine.ID}) {
			t.Errorf("%s lists %v", name, got)
		}
		a.want(http.StatusForbidden, key, "GET", "/v1/downlinks?device="+imei2, "", nil)
	}
	if d := a.get(foreign.ID); d.State != downlink.Executing {
		t.Errorf("it is %s", d.State)
	}
}

// Those of a removed device are not shown to who sees its id only by a label.
func TestDownlinksOfAnotherOwner(t *testing.T) {
	a := startDownlinks(t, redistest.Start(t))
	a.device(imei1, `{"site":"home"}`)
	old := a.post(adminKey, "/v1/downlinks", imei1, 1, "")
	a.want(http.StatusNoContent, adminKey, "DELETE", path1, "", nil)
	a.device(imei1, `{"site":"depot"}`)
	key, owner := a.app("label", "downlink.read downlink.write", "site=depot"), a.app("id", "downlink.read", imei1)
	a.want(http.StatusNotFound, key, "GET", "/v1/downlinks/"+old.ID, "", nil)
	a.want(http.StatusNotFound, key, "DELETE", "/v1/downlinks/"+old.ID, "", nil)
	a.want(http.StatusOK, owner, "GET", "/v1/downlinks/"+old.ID, "", nil)
	fresh := a.post(key, "/v1/downlinks", imei1, 1, "")
	for _, query := range []string{"", "device=" + imei1} {
		if got := a.ids(key, "/v1/downlinks", query); !slices.Equal(got, []string{fresh.ID}) {
			t.Errorf("%q: %v", query, got)
		}
		if got := a.ids(owner, "/v1/downlinks", query); len(got) != 2 {
			t.Errorf("%q: %v of its id", query, got)
		}
	}
}

func TestDownlinkIdempotencyKey(t *testing.T) {
	a := startDownlinks(t, redistest.Start(t))
	a.device(imei1, "")
	one, two := a.app("one", "downlink.write"), a.app("two", "downlink.write")
	first := a.post(one, "/v1/downlinks", imei1, 1, `,"idempotencyKey":"k"`)
	var again Downlink
	got := a.want(http.StatusOK, one, "POST", "/v1/downlinks", bodyOf(imei1, 1, `,"idempotencyKey":"k"`), &again)
	if again.ID != first.ID || got.header.Get("Location") != "/v1/downlinks/"+first.ID {
		t.Errorf("again %s, Location %s", got.body, got.header.Get("Location"))
	}
	if other := a.post(two, "/v1/downlinks", imei1, 1, `,"idempotencyKey":"k"`); other.ID == first.ID {
		t.Error("two apps share a key")
	}
	// Of many at once one makes it.
	var wg sync.WaitGroup
	answers := make(chan answer, 8)
	for range cap(answers) {
		wg.Go(func() {
			answers <- a.call(one, "POST", "/v1/downlinks", bodyOf(imei1, 2, `,"idempotencyKey":"at once"`))
		})
	}
	wg.Wait()
	close(answers)
	statuses, places := map[int]int{}, map[string]int{}
	for got := range answers {
		statuses[got.status]++
		places[got.header.Get("Location")]++
	}
	if statuses[201] != 1 || statuses[200] != 7 || len(places) != 1 {
		t.Errorf("statuses %v, %v", statuses, places)
	}
}

func TestDownlinkReasons(t *testing.T) {
	p := presences{}
	a := startDownlinks(t, redistest.Start(t), func(c *Config) { c.Presences = p })
	a.device(imei1, "")
	a.device(imei2, "")
	reason := func(id, want string) {
		t.Helper()
		if d := a.get(id); !regexp.MustCompile("^(?:" + want + ")$").MatchString(d.Reason) {
			t.Errorf("%s (%s), want %s", d.Reason, d.Cause, want)
		}
	}
	const at = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`
	overHTTP := a.post(adminKey, "/http/downlinks", imei1, 1, "")
	second := a.post(adminKey, "/v1/downlinks", imei1, 2, `,"ack":true`)
	urgent := a.post(adminKey, "/v1/downlinks", imei1, 3, `,"priority":9`)
	later := a.post(adminKey, "/v1/downlinks", imei1, 4, `,"notBefore":"`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`"`)
	reason(overHTTP.ID, "waits for the device's next uplink over HTTP")
	reason(urgent.ID, "waits for its turn, 1 before it")
	reason(second.ID, "waits for its turn, 2 before it")
	reason(later.ID, "waits until "+at)
	var page Page[Downlink]
	a.want(http.StatusOK, adminKey, "GET", "/v1/downlinks?state=QUEUED&sort=createdAt&limit=1", "", &page)
	if len(page.Items) != 1 || page.Items[0].Reason != "waits for its turn" {
		t.Errorf("list %+v", page.Items)
	}
	h := a.hand(imei1, downlink.HTTP)
	reason(overHTTP.ID, "attempt 1 under way over HTTP since "+at+", its outcome awaited until "+at)
	if got := a.call(adminKey, "DELETE", "/v1/downlinks/"+overHTTP.ID, ""); got.status != 409 || !contains(got.body, "EXECUTING") {
		t.Errorf("cancel under way: %d %s", got.status, got.body)
	}
	a.done(h, false)
	if d := a.get(overHTTP.ID); d.Attempts != 1 || d.Via != downlink.HTTP || d.HandedAt.IsZero() || d.Cause != "told by the test" {
		t.Errorf("after the first attempt: %+v", d)
	}
	a.done(a.hand(imei1, downlink.HTTP), true)
	reason(overHTTP.ID, "")
	a.want(http.StatusNoContent, adminKey, "DELETE", "/v1/downlinks/"+urgent.ID, "", nil)
	if d := a.get(urgent.ID); d.State != downlink.Cancelled || d.Cause != "cancelled by app admin" || d.Reason != "" {
		t.Errorf("cancelled %+v", d)
	}
	reason(second.ID, "waits for the device's next uplink over HTTP, or for it to be connected over MQTT and subscribed")
	a.done(a.hand(imei1, downlink.MQTT), true)
	reason(second.ID, "waits until "+at+" for the device to acknowledge it; then it is handed over again")

	overMQTT := a.post(adminKey, "/mqtt/downlinks", imei2, 1, "")
	reason(overMQTT.ID, "waits for the device to be connected over MQTT and subscribed")
	p[imei2] = &Presence{State: "offline", Via: "mqtt", Since: time.UnixMilli(1700000000000), Cause: "its connection was lost"}
	reason(overMQTT.ID, "waits for the device to be connected over MQTT and subscribed: it is offline since 2023-11-14T22:13:20Z, its connection was lost")
	p[imei2].Via = "http"
	reason(overMQTT.ID, "waits for the device to be connected over MQTT and subscribed")
	writer := a.app("writer", "downlink.write")
	p[imei2].Via = "mqtt"
	if d := a.post(writer, "/v1/downlinks", imei2, 2, ""); d.Reason != "waits for its turn, 1 before it" {
		t.Errorf("reason %s", d.Reason)
	}
}

// presences are those of a test.
type presences map[auth.DeviceID]*Presence

func (p presences) Look(_ context.Context, ids []auth.DeviceID) ([]*Presence, error) {
	list := make([]*Presence, len(ids))
	for i, id := range ids {
		list[i] = p[id]
	}
	return list, nil
}

func TestDownlinkList(t *testing.T) {
	a := startDownlinks(t, redistest.Start(t), partitions(3))
	var all []string
	var middle time.Time
	for i, path := range []string{"/http/downlinks", "/v1/downlinks", "/mqtt/downlinks", "/http/downlinks", "/v1/downlinks", "/mqtt/downlinks"} {
		device := []string{imei1, imei2}[i%2]
		if i < 2 {
			a.device(device, "")
		}
		d := a.post(adminKey, path, device, i, "")
		if all = append(all, d.ID); i == 3 {
			middle = d.CreatedAt
		}
		for time.Now().UnixMilli() <= d.CreatedAt.UnixMilli() { // so that each has its own time
		}
	}
	a.done(a.hand(imei1, downlink.HTTP), true) // 0 has ended, 2 is EXECUTING
	instant := url.QueryEscape(middle.Format("2006-01-02T15:04:05.000Z07:00"))
	for query, want := range map[string][]int{
		"sort=createdAt":                 {0, 1, 2, 3, 4, 5},
		"":                               {5, 4, 3, 2, 1, 0},
		"sort=-createdAt&limit=2":        {5, 4, 3, 2, 1, 0},
		"sort=createdAt&limit=1":         {0, 1, 2, 3, 4, 5},
		"sort=createdAt&device=" + imei1: {0, 2, 4},
		"sort=createdAt&deviceId=imei:490154203237518":     {1, 3, 5},
		"sort=createdAt&state=EXECUTING":                   {1, 2},
		"sort=createdAt&state=SUCCEEDED,EXECUTING&limit=1": {0, 1, 2},
		"state=FAILED":                                                       nil,
		"sort=createdAt&channel=http":                                        {0, 3},
		"sort=createdAt&channel=http,any":                                    {0, 1, 3, 4},
		"sort=createdAt&createdSince=" + instant:                             {3, 4, 5},
		"sort=createdAt&createdBefore=" + instant:                            {0, 1, 2},
		"modifiedSince=2999-01-01T00:00:00Z":                                 nil,
		"sort=createdAt&modifiedBefore=2999-01-01T00:00:00Z&state=SUCCEEDED": {0},
	} {
		var ids []string
		for _, i := range want {
			ids = append(ids, all[i])
		}
		if got := a.ids(adminKey, "/v1/downlinks", query); !slices.Equal(got, ids) {
			t.Errorf("%s: %v, want %v of %v", query, got, want, all)
		}
	}
	for path, want := range map[string][]string{"/http/downlinks": {all[0], all[3]}, "/mqtt/downlinks": {all[2], all[5]}, "/sms/downlinks": nil, "/v1/sms": nil} {
		if got := a.ids(adminKey, path, "sort=createdAt"); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
		a.want(http.StatusNotFound, adminKey, "GET", path+"/"+all[1], "", nil)
		a.want(http.StatusNotFound, adminKey, "DELETE", path+"/"+all[1], "", nil)
		a.want(http.StatusUnprocessableEntity, adminKey, "GET", path+"?channel=http", "", nil)
	}
	a.want(http.StatusOK, adminKey, "GET", "/http/downlinks/"+all[3], "", nil)
	a.want(http.StatusNoContent, adminKey, "DELETE", "/http/downlinks/"+all[3], "", nil)
	for _, query := range []string{"limit=0", "limit=1001", "sort=id", "state=DONE", "channel=pigeon", "cursor=%2B", "device=x", "device=" + imei1 + "&deviceId=" + imei2, "stat=QUEUED"} {
		a.want(http.StatusUnprocessableEntity, adminKey, "GET", "/v1/downlinks?"+query, "", nil)
	}
}

// Of many who cancel one succeeds, and none beside one who hands it over.
func TestDownlinkCancelRaces(t *testing.T) {
	a := startDownlinks(t, redistest.Start(t))
	a.device(imei1, "")
	for i := range 20 {
		d := a.post(adminKey, "/v1/downlinks", imei1, i, "")
		var wg sync.WaitGroup
		statuses := make(chan int, 4)
		for range cap(statuses) {
			wg.Go(func() { statuses <- a.call(adminKey, "DELETE", "/v1/downlinks/"+d.ID, "").status })
		}
		var h downlink.Handed
		var handed bool
		wg.Go(func() {
			var err error
			if h, handed, err = a.service.Hand(context.Background(), imei1, downlink.HTTP); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		close(statuses)
		count := map[int]int{}
		for s := range statuses {
			count[s]++
		}
		if handed && count[409] != 4 || !handed && (count[204] != 1 || count[409] != 3) {
			t.Errorf("handed over %v, cancelled %v", handed, count)
		}
		want := downlink.Cancelled
		if handed {
			a.done(h, true)
			want = downlink.Succeeded
		}
		if got := a.get(d.ID); got.State != want {
			t.Errorf("it is %s, want %s", got.State, want)
		}
		if got := a.call(adminKey, "DELETE", "/v1/downlinks/"+d.ID, ""); got.status != 409 || !contains(got.body, string(want)) {
			t.Errorf("cancel what has ended: %d %s", got.status, got.body)
		}
	}
}

func TestDownlinksWithoutRedis(t *testing.T) {
	server := redistest.Start(t)
	a := startDownlinks(t, server)
	a.device(imei1, "")
	a.want(http.StatusOK, adminKey, "GET", "/v1/downlinks", "", nil)
	server.Kill()
	for path, body := range map[string]string{"GET /v1/downlinks": "", "GET /v1/downlinks/0-x": "", "DELETE /v1/downlinks/0-x": "", "POST /v1/downlinks": bodyOf(imei1, 1, "")} {
		method, path, _ := strings.Cut(path, " ")
		if got := a.call(adminKey, method, path, body); got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: %d %s", method, path, got.status, got.body)
		}
	}
}

// The document says what the operations answer.
func TestDownlinksInDocument(t *testing.T) {
	a := startDownlinks(t, redistest.Start(t))
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string
			Responses   map[string]struct{ Content map[string]any }
		}
	}
	a.want(http.StatusOK, "", "GET", "/openapi.json", "", &doc)
	ids := map[string]bool{}
	for _, root := range []string{"/v1/downlinks", "/http/downlinks", "/mqtt/downlinks", "/sms/downlinks", "/v1/sms"} {
		for _, c := range []struct{ method, path, statuses string }{
			{"post", root, "200 201 401 403 409 422 429 503"}, {"get", root, "200 401 403 422 429 503"},
			{"get", root + "/{id}", "200 401 403 404 422 429 503"}, {"delete", root + "/{id}", "204 401 403 404 409 422 429 503"},
		} {
			op := doc.Paths[c.path][c.method]
			ids[op.OperationID] = true
			for _, status := range strings.Fields(c.statuses) {
				if r, ok := op.Responses[status]; !ok || status != "204" && len(r.Content) == 0 {
					t.Errorf("%s %s does not tell of %s", c.method, c.path, status)
				}
			}
		}
	}
	if len(ids) != 20 || !ids["create-sms"] || !ids["list-sms"] || !ids["get-sms"] || !ids["cancel-sms"] || !ids["get-sms-downlink"] {
		t.Errorf("%d operations: %v", len(ids), ids)
	}
	plain := start(t, redistest.Start(t))
	plain.want(http.StatusNotFound, adminKey, "GET", "/v1/downlinks", "", nil)
}
