package sms

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseReceiptJSON(t *testing.T) {
	g, err := example(t, "rest.toml", Options{})
	if err != nil {
		t.Fatal(err)
	}
	hook, ok := As[Webhook](g)
	if !ok {
		t.Fatal("it is no webhook")
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name, body string
		want       []Receipt
		says       string
	}{
		{"several", `{"events":[
			{"message":{"id":"a","to":"+31 6 12345678"},"status":"delivered","time":"2026-03-01T13:00:00+01:00"},
			{"message":{"id":7},"status":"unreachable","error":27,"time":1772366400},
			{"message":{"id":"c"},"status":"unknown_subscriber","error":"not a code"},
			{"message":{"id":"d"},"status":"queued","time":"1772366400000"}]}`, []Receipt{
			{ID: "a", Forms: Forms("a"), To: "31612345678", State: Delivered, At: at},
			{ID: "7", Forms: Forms("7"), State: Undelivered, Class: Temporary, Code: "27", At: at},
			{ID: "c", Forms: Forms("c"), State: Undelivered, Class: Permanent},
			{ID: "d", Forms: Forms("d"), State: Enroute, At: at},
		}, ""},
		{"one of them is strange", `{"events":[{"message":{"id":"a"},"status":"rejected"},{"message":{"id":"b"},"status":"eaten"},{"status":"rejected"}]}`,
			[]Receipt{{ID: "a", Forms: Forms("a"), State: Rejected, Class: Permanent}}, `states has no "eaten"` + "\nread receipt: it has no id"},
		{"none", `{"events":[]}`, nil, ""},
		{"no list", `{"events":"none"}`, nil, "it has no id"},
		{"another body", `{"x":1}`, nil, ""},
		{"no JSON", `a=b`, nil, "it is no JSON"},
		{"two", `{} {}`, nil, "it is no JSON"},
		{"too long", `"` + strings.Repeat("x", maxAnswer) + `"`, nil, "over 65536 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/", strings.NewReader(c.body))
			r.Header.Set("X-Webhook-Secret", "PassWordWebhook1")
			got, err := hook.ParseReceipt(r)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			if (err != nil) != (c.says != "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %s", err, c.says)
			}
			if errors.Is(err, ErrReceiptDenied) {
				t.Error("denied")
			}
		})
	}
}

func TestParseReceiptSecret(t *testing.T) {
	g, err := example(t, "rest.toml", Options{})
	if err != nil {
		t.Fatal(err)
	}
	hook, _ := As[Webhook](g)
	for _, secret := range []string{"", "PassWordWebhook", "PassWordWebhook12", "passwordwebhook1"} {
		r := httptest.NewRequest("POST", "/?secret=PassWordWebhook1", strings.NewReader(`{"events":[]}`))
		if secret != "" {
			r.Header.Set("X-Webhook-Secret", secret)
		}
		_, err := hook.ParseReceipt(r)
		if !errors.Is(err, ErrReceiptDenied) {
			t.Errorf("%q: %v", secret, err)
		}
		private(t, err)
	}
	none, err := openFile(t, "[text]\nurl = 'http://h'\n", Options{})
	if err != nil {
		t.Fatal(err)
	}
	hook, _ = As[Webhook](none)
	if _, err := hook.ParseReceipt(httptest.NewRequest("POST", "/", nil)); !errors.Is(err, ErrNoWebhook) {
		t.Error(err)
	}
	loop, err := Open("loopback:", Options{})
	if _, is := As[Webhook](loop); is || err != nil {
		t.Error("loopback is a webhook", err)
	}
}

func TestParseReceiptQueryAndForm(t *testing.T) {
	g, err := example(t, "kannel.toml", Options{})
	if err != nil {
		t.Fatal(err)
	}
	hook, _ := As[Webhook](g)
	want := []Receipt{{ID: "0-abc.3", Forms: Forms("0-abc.3"), To: "31612345678", State: Rejected, Class: Temporary, At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}}
	got, err := hook.ParseReceipt(httptest.NewRequest("GET", "/x?secret=PassWordKannelWebhook&ref=0-abc.3&state=16&to=%2B31612345678&at=1772366400", nil))
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Error(err, d)
	}
	if _, err := hook.ParseReceipt(httptest.NewRequest("GET", "/x?secret=PassWordKannelWebhoo&ref=0-abc.3&state=16", nil)); !errors.Is(err, ErrReceiptDenied) {
		t.Error(err)
	}
	form, err := example(t, "kannel.toml", Options{}, `fields = "query"`, `fields = "form"`)
	if err != nil {
		t.Fatal(err)
	}
	hook, _ = As[Webhook](form)
	got, err = hook.ParseReceipt(httptest.NewRequest("POST", "/x?secret=PassWordKannelWebhook&ref=not-this", strings.NewReader("ref=0-abc.3&state=16&to=%2B31612345678&at=1772366400")))
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Error(err, d)
	}
}
