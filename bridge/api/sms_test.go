package api

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/downlink"
	"m2mbridge/bridge/due"
)

// sms creates an SMS to numbered.
func (a *downlinkAPI) sms(path, members string) (made Downlink) {
	a.t.Helper()
	a.want(http.StatusCreated, adminKey, "POST", path, `{"device":"`+numbered+`",`+members+`}`, &made)
	return made
}

// dueNow makes the next attempt by SMS due, and gives the claim for it.
func (a *downlinkAPI) dueNow(id string) due.Claim {
	a.t.Helper()
	set := a.service.SMSDue(time.Minute)
	p := a.keys.Partition(auth.DeviceID(numbered))
	if err := a.client.ZAddXX(a.t.Context(), a.keys.Key(p, "due:sms"), redis.Z{Score: 1, Member: id}).Err(); err != nil {
		a.t.Fatal(err)
	}
	b := set.Claim(a.t.Context(), due.Ask{Partition: p, N: 1})[0]
	if b.Err != nil || len(b.Claims) != 1 || b.Claims[0].ID != id {
		a.t.Fatalf("claimed %+v", b)
	}
	return b.Claims[0]
}

// begin begins an attempt.
func (a *downlinkAPI) begin(id string) downlink.SMSAttempt {
	a.t.Helper()
	attempt, ok, err := a.service.BeginSMS(a.t.Context(), a.dueNow(id))
	if err != nil || !ok {
		a.t.Fatalf("begin: %v, %v", ok, err)
	}
	return attempt
}

func (a *downlinkAPI) endSMS(at downlink.SMSAttempt, o downlink.SMSOutcome) {
	a.t.Helper()
	if ok, err := a.service.EndSMS(a.t.Context(), at.ID, at.Number, o); err != nil || !ok {
		a.t.Fatalf("end: %v, %v", ok, err)
	}
}

func (a *downlinkAPI) receipt(at downlink.SMSAttempt, r downlink.SMSReceipt) {
	a.t.Helper()
	r.Number, r.Part, r.Parts, r.Text = at.Number, 1, 1, "its receipt says "+strings.ToLower(r.State)
	if ok, err := a.service.Receipt(a.t.Context(), at.ID, r); err != nil || !ok {
		a.t.Fatalf("receipt: %v, %v", ok, err)
	}
}

// An SMS is shown as far as was observed, and all that happened to it in order.
func TestSMS(t *testing.T) {
	ready, why := true, ""
	a := startDownlinks(t, redistest.Start(t), func(c *Config) { c.SMSReady = func() (bool, string) { return ready, why } })
	a.withNumber(numbered, "31612345678")
	made := a.sms(smsPath, `"text":"reboot"`)
	if made.Channel != downlink.SMS || made.Text != "reboot" || made.Pack != nil || made.SMS == nil || made.SMS.State != "due" || made.Timeline != nil {
		t.Fatalf("made %+v", made)
	}
	if got := a.call(adminKey, "GET", smsPath+"/"+made.ID, ""); contains(got.body, `"pack"`) || contains(got.body, `"data"`) || contains(got.body, "31612345678") {
		t.Errorf("%s", got.body)
	}
	for _, path := range []string{"/v1/downlinks/", "/sms/downlinks/", smsPath + "/"} {
		a.want(http.StatusOK, adminKey, "GET", path+made.ID, "", nil)
	}
	a.want(http.StatusNotFound, adminKey, "GET", "/http/downlinks/"+made.ID, "", nil)
	const at = `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`
	reason := func(want string) (d Downlink) {
		t.Helper()
		if d = a.get(made.ID); !regexp.MustCompile("^(?:" + want + ")$").MatchString(d.Reason) {
			t.Errorf("%s (%s, %+v), want %s", d.Reason, d.Cause, d.SMS, want)
		}
		return d
	}
	reason("waits for its first attempt by SMS")
	ready, why = false, "it is connecting"
	reason("waits for its first attempt by SMS" + "; the SMS gateway is not ready: it is connecting")
	first := a.begin(made.ID)
	reason("waits for the outcome of attempt 1 by SMS, which is under way")
	ready = true
	a.endSMS(first, downlink.SMSOutcome{End: downlink.SMSTemporary, Text: "a test: refused (temporary): busy"})
	d := reason("waits for its next attempt by SMS at " + at)
	if d.SMS.State != "refused" || d.SMS.NextAt.Sub(d.SMS.FirstAt) != time.Minute || d.SMS.LimitAt.Sub(d.SMS.FirstAt) != 48*time.Hour || d.Attempts != 1 || d.ExpiresAt != d.SMS.LimitAt {
		t.Errorf("refused %+v", d)
	}
	var page Page[Downlink]
	a.want(http.StatusOK, adminKey, "GET", smsPath, "", &page)
	if len(page.Items) != 1 || page.Items[0].Reason != d.Reason || page.Items[0].Timeline != nil || page.Items[0].SMS == nil {
		t.Errorf("list %+v", page.Items)
	}
	// As if the first one had been made two minutes ago: the schedule has no third.
	key := a.keys.Key(a.keys.Partition(numbered), "downlink:"+made.ID)
	if err := a.client.HIncrBy(t.Context(), key, "first", -120_000).Err(); err != nil {
		t.Fatal(err)
	}
	second := a.begin(made.ID)
	a.endSMS(second, downlink.SMSOutcome{End: downlink.SMSAccepted, Text: "accepted by a test", Receipts: true})
	d = reason("waits for the receipt of attempt 2 by SMS; no attempt is left, and it ends at " + at)
	if !d.SMS.NextAt.IsZero() || d.SMS.State != "accepted" || d.Via != downlink.SMS {
		t.Errorf("accepted %+v", d.SMS)
	}
	a.receipt(second, downlink.SMSReceipt{State: "UNDELIVERED", Final: true})
	reason("waits for its end at " + at + ": no attempt by SMS is left")
	a.receipt(second, downlink.SMSReceipt{State: "DELIVERED"})
	d = reason("")
	var what []string
	for _, s := range d.Timeline {
		what = append(what, s.What)
	}
	if got, want := strings.Join(what, " "), "queued executing temporary accepted undelivered delivered succeeded"; got != want || d.State != downlink.Succeeded {
		t.Errorf("%s: %s, want %s", d.State, got, want)
	}
	if !slices.IsSortedFunc(d.Timeline, func(a, b DownlinkStep) int { return a.At.Compare(b.At) }) {
		t.Errorf("timeline %+v", d.Timeline)
	}
	if d.SMS.State != "over" || d.SMS.Attempts != 2 {
		t.Errorf("over %+v", d.SMS)
	}
}

// The first attempt that is accepted is followed by another one, where no receipt comes.
func TestSMSAwaitsItsReceipt(t *testing.T) {
	a := startDownlinks(t, redistest.Start(t))
	a.withNumber(numbered, "31612345678")
	made := a.sms(smsPath, `"pack":[{"n":"n","v":1}],"ack":true`)
	if !contains(made.Pack, `"downlinkId"`) || !made.Ack {
		t.Errorf("made %+v", made)
	}
	first := a.begin(made.ID)
	a.endSMS(first, downlink.SMSOutcome{End: downlink.SMSAccepted, Text: "accepted by a test", Receipts: true})
	if d := a.get(made.ID); !strings.HasPrefix(d.Reason, "waits for the receipt of attempt 1 by SMS; the next attempt is at 2") {
		t.Errorf("reason %s", d.Reason)
	}
	a.receipt(first, downlink.SMSReceipt{State: "DELIVERED"})
	if d := a.get(made.ID); !strings.HasSuffix(d.Reason, " for the device to acknowledge it; then the next attempt by SMS is made") || d.SMS.State != "taken" || !d.SMS.NextAt.IsZero() {
		t.Errorf("reason %s, %+v", d.Reason, d.SMS)
	}
	data := a.sms("/sms/downlinks", `"data":"3q2+7w=="`)
	if string(data.Data) != "\xde\xad\xbe\xef" || data.Pack != nil || !strings.HasPrefix(data.Reason, "waits for its turn, 1 before it") {
		t.Errorf("data %+v", data)
	}
}

// What wakes a device up is told beside what the downlink waits for.
func TestWake(t *testing.T) {
	ready := true
	a := startDownlinks(t, redistest.Start(t), func(c *Config) { c.SMSReady = func() (bool, string) { return ready, "" } })
	a.withNumber(numbered, "31612345678")
	made := a.post(adminKey, "/http/downlinks", numbered, 1, `,"wake":true`)
	if !made.Wake || made.SMS == nil || made.Reason != "waits for the device's next uplink over HTTP; and, to wake it up, for its first attempt by SMS" {
		t.Fatalf("made %+v", made)
	}
	first := a.begin(made.ID)
	reason := func(want string) {
		t.Helper()
		if d := a.get(made.ID); !strings.HasPrefix(d.Reason, want) {
			t.Errorf("reason %s, want %s", d.Reason, want)
		}
	}
	const waits = "waits for the device's next uplink over HTTP; "
	reason(waits + "and, to wake it up, for the outcome of attempt 1 by SMS, which is under way")
	a.endSMS(first, downlink.SMSOutcome{End: downlink.SMSAccepted, Text: "accepted by a test"})
	reason(waits + "and, to wake it up, for it to come after attempt 1 by SMS; the next attempt is at 2")
	ready = false
	if d := a.get(made.ID); !strings.HasSuffix(d.Reason, "; the SMS gateway is not ready: it does not say why") {
		t.Errorf("reason %s", d.Reason)
	}
	second := a.begin(made.ID)
	a.endSMS(second, downlink.SMSOutcome{End: downlink.SMSPermanent, Text: "a test: refused (permanent): no such number"})
	reason(waits + "no further SMS is to wake it up")
	if d := a.get(made.ID); d.State != downlink.Executing || !strings.HasPrefix(d.Cause, "not woken up: ") || d.Attempts != 0 || d.SMS.Attempts != 2 {
		t.Errorf("not woken up: %+v", d)
	}
	a.done(a.hand(numbered, downlink.HTTP), true)
	reason("")
}

// A bridge without SMS says so of the field at fault.
func TestWithoutSMS(t *testing.T) {
	a := &downlinkAPI{testAPI: start(t, redistest.Start(t), func(c *Config) {
		c.Downlinks = downlink.New(downlink.Config{Client: c.Client, Keys: c.Keys})
	})}
	a.withNumber(numbered, "31612345678")
	for body, field := range map[string]string{`"text":"x","channel":"sms"`: "channel", `"pack":[{"n":"n","v":1}],"wake":true`: "wake"} {
		got := a.call(adminKey, "POST", "/v1/downlinks", `{"device":"`+numbered+`",`+body+`}`)
		if got.status != http.StatusUnprocessableEntity || !contains(got.body, "this bridge sends no SMS") || !contains(got.body, `"location":"body.`+field+`"`) {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
	a.want(http.StatusMethodNotAllowed, "", "POST", "/v1/sms/receipts", "x", nil) // it would be the id of an SMS
}

// Receipts need no app's key; a handler finds the whole body, and its header goes nowhere.
func TestReceiptsAreTaken(t *testing.T) {
	a := start(t, redistest.Start(t), func(c *Config) { c.SMSReceipts = operator{func() bool { return true }} })
	if got := a.call("", "POST", "/v1/sms/receipts", "kept"); got.status != 200 || len(got.body) > 0 || got.header.Get("X-Own") != "" {
		t.Errorf("%d %s %v", got.status, got.body, got.header)
	}
	var p struct{ Detail string }
	got := a.call("", "POST", "/v1/sms/receipts", "later")
	if err := json.Unmarshal(got.body, &p); err != nil || got.status != 503 || got.header.Get("Retry-After") != "1" || p.Detail != "said by the handler" {
		t.Errorf("%d %s, %v", got.status, got.body, err)
	}
	if got := a.call("", "GET", "/v1/sms/receipts?x=kept", ""); got.status != 503 { // it has no body: the handler's own word
		t.Errorf("GET: %d", got.status)
	}
	a.want(http.StatusMethodNotAllowed, "", "PUT", "/v1/sms/receipts", "", nil)
	if got := a.call("", "GET", "/docs", ""); !contains(got.body, "/v1/sms/receipts") {
		t.Error("the page does not tell of it")
	}
}
