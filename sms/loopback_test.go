package sms

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLoopbackShowsTheSMS(t *testing.T) {
	var log bytes.Buffer
	var seen []Message
	g, err := Open("loopback:", Options{Log: slog.New(slog.NewTextHandler(&log, nil)), OnSMS: func(m Message) { seen = append(seen, m) }})
	if err != nil {
		t.Fatal(err)
	}
	a, err := g.Submit(t.Context(), Message{ID: "0-abc", Attempt: 2, Device: "IMEI:356726104408422", To: "31612345678", Text: "wake up"})
	if err != nil || len(a.IDs) != 1 || a.IDs[0] == "" || !a.Receipts {
		t.Errorf("%+v, %v", a, err)
	}
	for _, want := range []string{"device=IMEI:356726104408422", "sms=0-abc", "attempt=2", "from=5277", "to=*********78", "size=7", `text="wake up"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s is missing in %s", want, &log)
		}
	}
	if len(seen) != 1 || seen[0].Text != "wake up" || seen[0].From != "5277" || strings.Contains(log.String(), "316") {
		t.Errorf("%+v\n%s", seen, &log)
	}
	b, err := g.Submit(t.Context(), Message{ID: "0-abc", Attempt: 3, To: "1", From: "me", Data: []byte{1, 0xff}})
	if err != nil || b.IDs[0] == a.IDs[0] || !strings.Contains(log.String(), "from=me to=* size=2 text=01ff") {
		t.Errorf("%+v, %v\n%s", b, err, &log)
	}
	if ready, _ := g.Ready(); !ready || g.Name() != "loopback" {
		t.Error(ready, g.Name())
	}
}

func TestLoopbackReceipts(t *testing.T) {
	for query, want := range map[string]ReceiptState{"": Delivered, "?receipt=delivered": Delivered, "?receipt=undelivered": Undelivered, "?receipt=expired": ExpiredSMS, "?receipt=rejected": Rejected, "?receipt=none": ""} {
		t.Run(query, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				var got []Receipt
				var at []time.Duration
				begun := time.Now()
				down := true
				receive := Receive{Receipt: func(_ context.Context, gateway string, r Receipt) error {
					if down = !down; gateway != "loopback" || !down {
						return errors.New("not now") // each is taken the second time only
					}
					got, at = append(got, r), append(at, time.Since(begun))
					return nil
				}}
				sep := "?"
				if query != "" {
					sep = "&"
				}
				g, err := Open("loopback:"+query+sep+"after=2s", Options{Receive: receive})
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan error)
				go func() { done <- g.Run(ctx) }()
				var ids []string
				for range 2 {
					a, err := g.Submit(ctx, Message{To: "31612345678", Text: "x"})
					if err != nil || a.Receipts != (want != "") {
						t.Errorf("%+v, %v", a, err)
					}
					ids = append(ids, a.IDs...)
				}
				<-time.After(time.Minute) // of the bubble
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
				if want == "" {
					if len(got) > 0 {
						t.Errorf("%+v", got)
					}
					return
				}
				if len(got) != 2 || at[0] != 3*time.Second || at[1] != 4*time.Second {
					t.Fatalf("%+v at %v", got, at)
				}
				for i, r := range got {
					if r.ID != ids[i] || r.Forms[0] != ids[i] || r.State != want || r.Class != want.Class() || r.To != "31612345678" || r.At.Sub(begun) != 2*time.Second {
						t.Errorf("%+v of %v", r, ids)
					}
				}
			})
		})
	}
}

// Receipts that nobody takes fill no memory.
func TestLoopbackIsBounded(t *testing.T) {
	g, err := Open("loopback:", Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range maxLoopback {
		if _, err := g.Submit(t.Context(), Message{}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = g.Submit(t.Context(), Message{})
	var no *Refusal
	if !errors.As(err, &no) || no.Class != Throttled {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for url, says := range map[string]string{
		"":                            "it is no URL such as loopback:",
		"loopback":                    "it is no URL",
		"ftp:x":                       `sms gateway "ftp": it is none of loopback, http, smpp, smpps`,
		"http:":                       "a file: http:FILE.toml",
		"http://127.0.0.1":            "a file: http:FILE.toml",
		"http:/nowhere/x.toml":        "sms gateway http:/nowhere/x.toml: open /nowhere/x.toml: no such file",
		"loopback:?receipt=maybe":     `parameter receipt: "maybe" is none of delivered, undelivered`,
		"loopback:?after=2":           `parameter after: "2" is no duration from 0s to 48h`,
		"loopback:?after=49h":         `parameter after: "49h" is no duration`,
		"loopback:?recipt=none":       `unknown parameter "recipt"`,
		"loopback:?after=1s&after=2s": "parameter after: it is given twice",
		"loopback:?a;b":               "is no list such as",
	} {
		if _, err := Open(url, Options{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %s", url, err, says)
		}
	}
	if _, err := Open("loopback:", Options{Originator: "12"}); err == nil || !strings.Contains(err.Error(), `originator "12"`) {
		t.Error(err)
	}
}

func TestCheckOriginator(t *testing.T) {
	for _, text := range []string{"5277", "112", "31612345678", "m2m", "Alarm 24-7", "A.B"} {
		if err := CheckOriginator(text); err != nil {
			t.Error(err)
		}
	}
	for _, text := range []string{"", "12", "+316", "twelveletter", "é", "a\n", "1234567890123456", " a"} {
		if CheckOriginator(text) == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
