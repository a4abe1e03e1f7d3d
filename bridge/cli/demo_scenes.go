package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"m2mbridge/bridge/fleet"
)

// prologue says where everything is.
func (d *demo) prologue() {
	d.say.object(newReady(d.bridge, d.key))
	d.say.plain("m2mbridge demo: everything runs in this process and on this machine, and is gone when it ends.\n")
	for _, a := range d.bridge.Addresses() {
		d.say.plain("  %-10s %s\n", a.Name, a.URL)
	}
	d.say.plain("  %-10s %s\n  %-10s %s\n\n", "store", d.bridge.Describe(), "admin key", d.key)
	d.say.line("fleet", "%d devices: %d send over HTTP, %d over MQTT, as KPN Things devices do", demoFleet, demoFleet/2, demoFleet-demoFleet/2)
}

// scenes are what a fleet alone would not show.
func (d *demo) scenes(ctx context.Context) error {
	for _, scene := range []func(context.Context) error{d.lostAnswer, d.tampered} {
		if !pause(ctx, 2*time.Second) {
			return nil
		}
		if err := scene(ctx); err != nil {
			return err
		}
	}
	d.commands()
	return nil
}

// lostAnswer sends the same bytes twice, as a device does that has missed the answer.
func (d *demo) lostAnswer(ctx context.Context) error {
	body := fleet.Reference(nil, d.devices[0].ID, 1, time.Now().Add(-time.Minute))
	for _, what := range []string{"one uplink", "the same bytes again, as after a lost answer: answered alike, stored once"} {
		status, _, err := d.post(ctx, body, d.devices[0].Token(body))
		if err != nil {
			return err
		}
		d.say.line("device", "%s over HTTP, %s: status %d", d.devices[0].ID, what, status)
	}
	return nil
}

// tampered sends a message whose token was made for other bytes, and shows what it left in the rejects stream.
func (d *demo) tampered(ctx context.Context) error {
	body := fleet.Reference(nil, d.devices[1].ID, 2, time.Now())
	token := d.devices[1].Token(body)
	body = bytes.Replace(body, []byte(`"temperature","u":"Cel","v":1`), []byte(`"temperature","u":"Cel","v":9`), 1)
	status, answer, err := d.post(ctx, body, token)
	if err != nil {
		return err
	}
	d.say.warn("tamper", "somebody changes the temperature of %s on its way: status %d %s", d.devices[1].ID, status, strings.TrimSpace(answer))
	reject, err := d.newestReject(ctx, d.devices[1].ID)
	if err != nil {
		return err
	}
	d.say.warn("reject", "no app sees it; the rejects stream says why: %s (%s)", reject.Detail, reject.Reason)
	return nil
}

// post sends bytes with a token to the device listener.
func (d *demo) post(ctx context.Context, body []byte, token string) (status int, answer string, err error) {
	url := "http://" + d.bridge.Addr("http") + d.devices[0].Path()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Things-Message-Token", token)
	return exchangeHTTP(r)
}

func exchangeHTTP(r *http.Request) (status int, answer string, err error) {
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, string(text), err
}

type demoReject struct{ Device, Reason, Detail string }

// newestReject waits until the rejects stream has one of the device: rejects are written behind the answer.
func (d *demo) newestReject(ctx context.Context, device string) (demoReject, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.bridge.Addr("api")+"/v1/rejects?device="+device, nil)
		if err != nil {
			return demoReject{}, err
		}
		r.Header.Set("Authorization", "Bearer "+d.key)
		_, answer, err := exchangeHTTP(r)
		if err != nil {
			return demoReject{}, fmt.Errorf("read rejects: %w", err)
		}
		var page struct{ Items []demoReject }
		if err := json.Unmarshal([]byte(answer), &page); err != nil {
			return demoReject{}, fmt.Errorf("read rejects: %w", err)
		}
		if n := len(page.Items); n > 0 {
			return page.Items[n-1], nil
		}
		if !pause(ctx, 50*time.Millisecond) {
			return demoReject{}, fmt.Errorf("no reject of %s was stored", device)
		}
	}
}

// commands are what one may try meanwhile.
func (d *demo) commands() {
	api := "http://" + d.bridge.Addr("api")
	d.say.plain(`
Try it, in another terminal:

  export M2M_KEY=%[1]s M2M_API_URL=%[2]s
  curl -H "Authorization: Bearer $M2M_KEY" $M2M_API_URL/v1/devices
  curl -H "Authorization: Bearer $M2M_KEY" "$M2M_API_URL/v1/uplinks?limit=3"
  curl -H "Authorization: Bearer $M2M_KEY" -N $M2M_API_URL/v1/live
  mosquitto_sub -h 127.0.0.1 -p %[3]s -u admin -P $M2M_KEY -v -t 'uplinks/#'
  m2mbridge send --to http://%[4]s --device %[5]s --secret %[6]s temperature,Cel=21.5

`, d.key, api, port(d.bridge.Addr("mqtt")), d.bridge.Addr("http"), d.devices[0].ID, d.devices[0].Secret)
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// epilogue sums up.
func (d *demo) epilogue() {
	d.say.line("end", "the app received %d uplinks; bridge stopped, data removed", d.app.received.Load())
}
