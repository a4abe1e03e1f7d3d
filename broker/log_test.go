package broker

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

// journal is a log that keeps everything of every level.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func TestLogHoldsNoSecrets(t *testing.T) {
	j := &journal{}
	e := newEdge(t, logTo(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.Level(-100)})))
	const payload = "the-payload-itself"
	token := auth.Token([]byte(payload), secret)
	nameToken := auth.Token([]byte(imei.BaseName()), secret)
	key := e.app(auth.App{Name: "app", Scopes: []auth.Scope{auth.ScopeUplinkRead}})

	for _, version := range []byte{version311, version5} {
		p := e.device(version, login(imei.BaseName(), nameToken), func(pk *packets.Packet) {
			pk.Connect.Keepalive = 1 // Mochi warns of it
			pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, uplinks+"/"+token, []byte(payload)
		})
		p.send(publish(uplinks+"/"+token, payload, 1, 1))
		p.next(packets.Puback)
		p.send(publish("elsewhere", payload, 2, 2, tokenProp(token, token)))
		p.next(packets.Pubrec)
		p.send(publish(uplinks, payload, 1, 3, tokenProp(token, token)))
		p.next(packets.Puback)
		p.hex("8206" + "0001" + "00" + "000161") // breaks the decoder
		app := e.device(version, login("app", key))
		app.subOK(1, "uplinks/#")
		e.Deliver([]*Message{message(uplinksOf(imei), payload)})
		app.next(packets.Publish)
		app.hex("c00100")
		for _, password := range []string{secret + "x", nameToken + "x", key + "x"} {
			p := e.dial(version)
			p.send(connect(version, login(imei.BaseName(), password)))
			p.next(packets.Connack)
		}
		foreign := e.dial(version)
		foreign.send(connect(version, func(pk *packets.Packet) {
			pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, "x/"+token, []byte(payload)
		}))
		foreign.next(packets.Connack)
	}
	// Mochi's own paths, and everything that it may log of a packet.
	cl := e.mochi.NewClient(nil, "test", "x", false)
	pk := connect(version5, func(pk *packets.Packet) { pk.Payload = []byte(payload); pk.TopicName = token })
	e.mochi.Log.With("packet", pk, "will", pk).WithGroup("g").Error("oh", "pk", pk, "error", fmt.Errorf("%v", pk), slog.Group("packet", "p", payload))
	_ = e.mochi.InjectPacket(cl, publish(token, payload, 1, 1))
	if err := e.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}

	log := j.String()
	if !strings.Contains(log, "mochi: ") || !strings.Contains(log, "packet broke its decoder") || !strings.Contains(log, "login refused") {
		t.Errorf("the log is not whole:\n%s", log)
	}
	for what, s := range map[string]string{"secret": secret, "token": token, "token of the name": nameToken, "app key": key, "payload": payload} {
		for _, form := range []string{s, strings.ToUpper(s), base64.StdEncoding.EncodeToString([]byte(s))[:16], fmt.Sprint([]byte(s))} {
			if i := strings.Index(log, form); i >= 0 {
				t.Errorf("the log holds the %s: …%s…", what, log[max(0, i-100):min(len(log), i+100)])
			}
		}
	}
}

// Who has no login can write no line into the log of an operator, and a start
// says nothing of Mochi.
func TestLogOfAnOperator(t *testing.T) {
	j := &journal{}
	e := newEdge(t, logTo(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelInfo})))
	for _, version := range []byte{version311, version5} {
		p := e.dial(version)
		p.send(connect(version, login("nobody", "x"), func(pk *packets.Packet) { pk.Connect.Keepalive = 1 }))
		p.next(packets.Connack)
		e.breakDecoder(version)
	}
	if err := e.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	equal(t, "log", j.String(), "")
}

func TestLogOfBrokenPacketsIsBounded(t *testing.T) {
	j := &journal{}
	e := newEdge(t, logTo(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug})))
	const n = 50
	start := time.Now()
	for range n {
		e.breakDecoder(version5)
	}
	if got, most := strings.Count(j.String(), "packet broke its decoder"), 1+int(time.Since(start)/time.Second); got < 1 || got > most {
		t.Errorf("%d lines, at most %d in that time", got, most)
	}
	equal(t, "counted", e.Stats().Panics, int64(n))
}

// breakDecoder logs in and sends a packet on which Mochi's decoder panics.
func (e *edge) breakDecoder(version byte) {
	e.t.Helper()
	p := e.device(version)
	p.hex("8206" + "0001" + "00" + "000161")
	for {
		if _, err := p.read(); err != nil {
			return
		}
	}
}
