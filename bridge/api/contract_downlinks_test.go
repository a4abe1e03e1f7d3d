package api

import (
	"encoding/json"
	"net/http"
	"strings"

	"m2mbridge/auth"
	"m2mbridge/bridge/downlink"
)

// Ids as downlinks and devices have, of none.
const (
	noDownlink = "0-none"
	strange    = "DVNUUID:0b2ae3f5-5a1c-4c1e-9d0e-3f1d2c4b5a60"
)

const downlinkBody = `{"device":"` + imei2 + `","pack":[{"n":"n","v":1}]}`

func (op *operation) ofDownlinks() bool { return strings.Contains(op.path, "/downlinks") }

// keyWithoutRedis is the key of a request that cannot be answered without Redis.
// SMS is refused before anything is asked of it, but not before who asks is known.
func (c *contract) keyWithoutRedis(op *operation) string {
	if op.OperationID == "create-sms-downlink" {
		return "a-key-that-was-never-asked-of"
	}
	return adminKey
}

// downlinks asks each operation of each path of downlinks.
func (c *contract) downlinks(a *downlinkAPI) {
	c.t.Helper()
	a.call(adminKey, "PUT", path1, "{}") // whether it was there or not
	a.device(imei2, "")
	narrow := a.app("narrow-downlinks", "downlink.read downlink.write", imei2)
	for path, name := range map[string]string{"/v1/downlinks": "", "/http/downlinks": "http-", "/mqtt/downlinks": "mqtt-"} {
		c.created(a, path, name, narrow)
		c.ended(a, path, name, narrow)
	}
	c.overSMS(a, narrow)
}

// created tries what creates and lists.
func (c *contract) created(a *downlinkAPI, path, name, narrow string) {
	c.t.Helper()
	create, list := c.operation("create-"+name+"downlink"), c.operation("list-"+name+"downlinks")
	key := `,"idempotencyKey":"` + name + `k"`
	made := c.made(create, http.StatusCreated, path, bodyOf(imei1, 1, key+`,"ack":true,"priority":0,"ttl":"1h"`))
	if again := c.made(create, http.StatusOK, path, bodyOf(imei1, 1, key+`,"ack":true,"priority":0,"ttl":"1h"`)); again != made {
		c.t.Errorf("%s is %s the second time", made, again)
	}
	c.try(create, http.StatusConflict, adminKey, path, bodyOf(imei1, 2, key))
	c.try(create, http.StatusForbidden, narrow, path, bodyOf(imei1, 1, ""))
	for _, body := range []string{
		bodyOf(strange, 1, ""), bodyOf("x", 1, ""), bodyOf(imei1, 1, `,"ttl":"x"`), bodyOf(imei1, 1, `,"channel":"sms"`), bodyOf(imei1, 1, `,"wake":true`),
		`{"device":"` + imei1 + `","pack":[]}`,
	} {
		c.try(create, http.StatusUnprocessableEntity, adminKey, path, body)
	}
	c.listed(list, path, narrow)
	c.try(c.operation("cancel-"+name+"downlink"), http.StatusNoContent, adminKey, path+"/"+made, "")
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
func (c *contract) ended(a *downlinkAPI, path, name, narrow string) {
	c.t.Helper()
	get, cancel := c.operation("get-"+name+"downlink"), c.operation("cancel-"+name+"downlink")
	via := downlink.MQTT
	if name == "http-" {
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

// overSMS tries the path of a channel of which this bridge creates none: those
// that there are come from one that does, on the same Redis.
func (c *contract) overSMS(a *downlinkAPI, narrow string) {
	c.t.Helper()
	const path = "/sms/downlinks"
	c.try(c.operation("create-sms-downlink"), http.StatusUnprocessableEntity, adminKey, path, bodyOf(imei1, 1, ""))
	made := a.post(adminKey, "/v1/downlinks", imei1, 4, "")
	key := a.keys.Key(a.keys.Partition(auth.DeviceID(imei1)), "downlink:"+made.ID)
	if err := a.client.HSet(c.t.Context(), key, "channel", "sms").Err(); err != nil {
		c.t.Fatal(err)
	}
	get, cancel := c.operation("get-sms-downlink"), c.operation("cancel-sms-downlink")
	c.listed(c.operation("list-sms-downlinks"), path, narrow)
	c.try(get, http.StatusOK, adminKey, path+"/"+made.ID, "")
	c.gone(get, cancel, narrow, path+"/"+made.ID)
	c.try(cancel, http.StatusNoContent, adminKey, path+"/"+made.ID, "")
	c.try(cancel, http.StatusConflict, adminKey, path+"/"+made.ID, "")
}
