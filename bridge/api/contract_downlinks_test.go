package api

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"m2mbridge/bridge/downlink"
)

// Ids as downlinks and devices have, of none.
const (
	noDownlink = "0-none"
	strange    = "DVNUUID:0b2ae3f5-5a1c-4c1e-9d0e-3f1d2c4b5a60"
)

const downlinkBody = `{"device":"` + imei2 + `","pack":[{"n":"n","v":1}]}`

func (op *operation) ofDownlinks() bool {
	return strings.Contains(op.path, "/downlinks") || strings.HasPrefix(op.path, smsPath)
}

// ofPath is the operation of a path of downlinks.
func (c *contract) ofPath(verb, path string) *operation {
	c.t.Helper()
	noun := strings.ReplaceAll(strings.TrimPrefix(path, "/v1")[1:], "/", "-")
	if verb != "list" {
		noun = strings.Replace(noun, "links", "link", 1)
	}
	return c.operation(verb + "-" + noun)
}

// downlinks asks each operation of each path of downlinks.
func (c *contract) downlinks(a *downlinkAPI) {
	c.t.Helper()
	a.call(adminKey, "PUT", path1, "{}") // whether it was there or not
	a.device(imei2, "")
	a.withNumber(numbered, "31612345678")
	narrow := a.app("narrow-downlinks", "downlink.read downlink.write", imei2)
	for _, path := range []string{"/v1/downlinks", "/http/downlinks", "/mqtt/downlinks"} {
		c.created(a, path, imei1, `,"channel":"sms"`, narrow)
		c.ended(a, path, narrow)
	}
	for _, path := range []string{"/sms/downlinks", smsPath} {
		c.created(a, path, numbered, `,"channel":"http"`, narrow)
		c.endedBySMS(a, path, narrow)
	}
	c.try(c.operation("create-downlink"), http.StatusCreated, adminKey, "/v1/downlinks", bodyOf(numbered, 1, `,"wake":true`))
	c.try(c.operation("create-sms"), http.StatusCreated, adminKey, smsPath, `{"device":"`+numbered+`","data":"3q2+7w=="}`)
	c.try(c.operation("list-downlinks"), http.StatusOK, adminKey, "/v1/downlinks?device="+numbered, "")
}

// created tries what creates and lists; never is what cannot be asked for there.
func (c *contract) created(a *downlinkAPI, path, device, never, narrow string) {
	c.t.Helper()
	create, list := c.ofPath("create", path), c.ofPath("list", path)
	key := `,"idempotencyKey":"` + path + `"`
	made := c.made(create, http.StatusCreated, path, bodyOf(device, 1, key+`,"ack":true,"priority":0,"ttl":"1h"`))
	if again := c.made(create, http.StatusOK, path, bodyOf(device, 1, key+`,"ack":true,"priority":0,"ttl":"1h"`)); again != made {
		c.t.Errorf("%s is %s the second time", made, again)
	}
	c.try(create, http.StatusConflict, adminKey, path, bodyOf(device, 2, key))
	c.try(create, http.StatusForbidden, narrow, path, bodyOf(device, 1, ""))
	for _, body := range []string{
		bodyOf(strange, 1, ""), bodyOf("x", 1, ""), bodyOf(device, 1, `,"ttl":"x"`), bodyOf(device, 1, never), bodyOf(device, 1, `,"wake":true`),
		`{"device":"` + device + `","pack":[]}`, `{"device":"` + device + `"}`, `{"device":"` + imei1 + `","text":"x"}`,
	} {
		c.try(create, http.StatusUnprocessableEntity, adminKey, path, body)
	}
	c.listed(list, path, narrow)
	c.try(c.ofPath("cancel", path), http.StatusNoContent, adminKey, path+"/"+made, "")
}

// made creates one, and follows where it is said to be.
func (c *contract) made(op *operation, status int, path, body string) string {
	c.t.Helper()
	got := c.try(op, status, adminKey, path, body)
	var d Downlink
	if err := json.Unmarshal(got.body, &d); err != nil || got.header.Get("Location") != path+"/"+d.ID {
		c.t.Errorf("%s is at %q, %v", got.body, got.header.Get("Location"), err)
	}
	return d.ID
}

func (c *contract) listed(op *operation, path, narrow string) {
	c.t.Helper()
	c.try(op, http.StatusOK, adminKey, path, "")
	c.try(op, http.StatusOK, adminKey, path+"?limit=1&sort=createdAt&state=QUEUED,EXECUTING&createdSince=2020-01-01T00:00:00Z&device="+imei1, "")
	c.try(op, http.StatusForbidden, narrow, path+"?device="+imei1, "")
	for _, query := range []string{"device=x", "cursor=%2B", "device=" + imei1 + "&deviceId=" + imei2} {
		c.try(op, http.StatusUnprocessableEntity, adminKey, path+"?"+query, "")
	}
}

// ended tries what gets and cancels, while it waits, is handed over and has ended.
func (c *contract) ended(a *downlinkAPI, path, narrow string) {
	c.t.Helper()
	get, cancel := c.ofPath("get", path), c.ofPath("cancel", path)
	via := downlink.MQTT
	if path == "/http/downlinks" {
		via = downlink.HTTP
	}
	made := a.post(adminKey, path, imei1, 3, "")
	at := path + "/" + made.ID
	c.try(get, http.StatusOK, adminKey, at, "")
	c.gone(get, cancel, narrow, at)
	c.gone(get, cancel, adminKey, path+"/"+noDownlink)
	c.gone(get, cancel, adminKey, path+"/x")
	h := a.hand(imei1, via)
	c.try(get, http.StatusOK, adminKey, at, "")
	c.try(cancel, http.StatusConflict, adminKey, at, "")
	a.done(h, true)
	c.try(get, http.StatusOK, adminKey, at, "")
	c.try(cancel, http.StatusConflict, adminKey, at, "")
}

// gone tries both where there is none for the app.
func (c *contract) gone(get, cancel *operation, key, at string) {
	c.t.Helper()
	c.try(get, http.StatusNotFound, key, at, "")
	c.try(cancel, http.StatusNotFound, key, at, "")
}

// endedBySMS tries the same of an SMS, which is accepted, and then refused for good.
func (c *contract) endedBySMS(a *downlinkAPI, path, narrow string) {
	c.t.Helper()
	get, cancel := c.ofPath("get", path), c.ofPath("cancel", path)
	made := a.sms(path, `"text":"reboot"`)
	at := path + "/" + made.ID
	c.try(get, http.StatusOK, adminKey, at, "")
	c.gone(get, cancel, narrow, at)
	c.gone(get, cancel, adminKey, path+"/"+noDownlink)
	c.gone(get, cancel, adminKey, path+"/x")
	attempt := a.begin(made.ID)
	c.try(get, http.StatusOK, adminKey, at, "")
	c.try(cancel, http.StatusConflict, adminKey, at, "")
	a.endSMS(attempt, downlink.SMSOutcome{End: downlink.SMSAccepted, Text: "accepted by a test", Receipts: true})
	c.try(get, http.StatusOK, adminKey, at, "")
	a.receipt(attempt, downlink.SMSReceipt{State: "REJECTED", Final: true, Permanent: true})
	c.try(get, http.StatusOK, adminKey, at, "")
	c.try(cancel, http.StatusConflict, adminKey, at, "")
}

// receipts tries the path of the gateway's operator.
func (c *contract) receipts() {
	c.t.Helper()
	byQuery := c.operation("take-sms-receipts-of-query")
	for what, status := range map[string]int{"kept": 200, "none": 400, "secret": 403, "nowhere": 404, "later": 503} {
		c.try(byQuery, status, "", byQuery.path+"?what="+what, "")
	}
	c.try(byQuery, 413, "", byQuery.path, strings.Repeat("x", maxReceipt+1))
	op := c.operation("take-sms-receipts")
	for body, status := range map[string]int{"kept": 200, "none": 400, "secret": 403, "nowhere": 404, "later": 503, strings.Repeat("x", maxReceipt+1): 413} {
		c.try(op, status, "", op.path, body)
	}
	for _, op := range []*operation{op, byQuery} {
		c.strangers(op)
	}
}

// strangers asks without the secret until that is not answered any more.
func (c *contract) strangers(op *operation) {
	c.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !c.seen[op.OperationID][http.StatusTooManyRequests]; {
		got := c.api.call("", op.method, op.path+"?what=secret", "", "X-Request-Id", "contract-"+op.OperationID)
		c.hold(op, got)
		if time.Now().After(deadline) {
			c.t.Fatal("it takes all that comes")
		}
	}
}

// operator takes receipts as its secret is right, or not.
type operator struct{ redis func() bool }

func (o operator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if what := r.URL.Query().Get("what"); what != "" {
		body = []byte(what)
	}
	status, ok := map[string]int{"kept": 200, "none": 400, "secret": 403, "nowhere": 404, "later": 500}[string(body)]
	if err != nil || !ok || !o.redis() {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("X-Own", "shown to nobody")
	if status == http.StatusOK {
		return
	}
	http.Error(w, "said by the handler", status)
}
