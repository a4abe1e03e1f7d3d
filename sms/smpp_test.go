package sms

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"m2mbridge/sms/smpp"
	"m2mbridge/sms/smpp/pdu"
	"m2mbridge/sms/smpp/smpptest"
)

// toSMSC is a gateway to an SMSC of the test, run until it ends.
type toSMSC struct {
	Gateway
	log      *lockedBuffer
	receipts chan Receipt
	late     chan lateAnswer
}

type lateAnswer struct {
	m       Message
	outcome string
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func openSMSC(t *testing.T, url string, classes Classes) *toSMSC {
	t.Helper()
	s := &toSMSC{log: &lockedBuffer{}, receipts: make(chan Receipt, 10), late: make(chan lateAnswer, 10)}
	failed := false
	o := Options{Classes: classes, Log: slog.New(slog.NewTextHandler(s.log, nil)), Receive: Receive{
		Receipt: func(_ context.Context, _ string, r Receipt) error {
			if failed = !failed; failed {
				return errors.New("not now") // the SMSC is asked to send each again
			}
			s.receipts <- r
			return nil
		},
		Late: func(_ context.Context, _ string, m Message, a Accepted, err error) {
			s.late <- lateAnswer{m, outcome(a, err)}
		},
	}}
	var err error
	if s.Gateway, err = Open(url, o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
		if strings.Contains(s.log.String(), "PassWord") || strings.Contains(s.log.String(), "31612345678") {
			t.Errorf("the log holds what it may not:\n%s", s.log)
		}
	})
	return s
}

// await waits until Ready says so.
func (s *toSMSC) await(t *testing.T, want bool) {
	t.Helper()
	for limit := time.After(20 * time.Second); ; {
		ready, changed := s.Ready()
		if ready == want {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("ready is not %v in 20 s\n%s", want, s.log)
		}
	}
}

// onSubmit serves all but submits.
func onSubmit(f smpptest.Handler) smpptest.Handler {
	return func(c *smpptest.Conn, p pdu.PDU) {
		if p.Command == pdu.SubmitSM {
			f(c, p)
			return
		}
		smpptest.Serve(c, p)
	}
}

var toWake = Message{ID: "0-abc", Attempt: 2, To: "31612345678", Text: "[{\"n\":\"led\"}]", Validity: 54 * time.Second}

func TestSMPPSubmitsAndTakesReceipts(t *testing.T) {
	var got *pdu.Message
	id := "00001A2B"
	smsc := smpptest.Listen(t, nil, onSubmit(func(c *smpptest.Conn, p pdu.PDU) {
		got = p.Body.(*pdu.Message)
		c.Answer(p, pdu.StatusOK, &pdu.MessageResp{MessageID: id})
	}))
	g := openSMSC(t, "smpp://m2m:PassWord@"+smsc.Addr+"?window=3&rate=2.5&systemType=VMS&serviceType=CMT", Classes{"err:027": Permanent})
	conn := smsc.Bound()
	g.await(t, true)
	a, err := g.Submit(t.Context(), toWake)
	if err != nil || !slices.Equal(a.IDs, []string{"1a2b"}) || !a.Receipts || a.Note != "" {
		t.Fatalf("%+v, %v", a, err)
	}
	if got.Source.Value != "5277" || got.Destination.Value != "31612345678" || got.RegisteredDelivery == 0 || got.ValidityPeriod != "000000000054000R" || got.ServiceType != "CMT" || !bytes.Contains(got.ShortMessage, []byte("led")) {
		t.Errorf("%+v", got)
	}
	if window, rate := g.Gateway.(Limited).Limits(); window != 3 || rate != 2.5 || g.Name() != "smpp:m2m" {
		t.Error(window, rate, g.Name())
	}
	for text, want := range map[string]Receipt{
		"id:0000006699 stat:DELIVRD err:000": {ID: "0000006699", Forms: []string{"6699", "1a2b", "26265"}, To: "31612345678", State: Delivered, Code: "000"},
		"id:1a2b stat:UNDELIV err:001":       {ID: "1a2b", Forms: []string{"1a2b", "6699"}, To: "31612345678", State: Undelivered, Class: Temporary, Code: "001"},
		"id:1a2b stat:UNDELIV err:027":       {ID: "1a2b", Forms: []string{"1a2b", "6699"}, To: "31612345678", State: Undelivered, Class: Permanent, Code: "027"},
		"id:xyz stat:EXPIRED err:":           {ID: "xyz", Forms: []string{"xyz"}, To: "31612345678", State: ExpiredSMS, Class: Temporary},
		"id:xyz stat:REJECTD":                {ID: "xyz", Forms: []string{"xyz"}, To: "31612345678", State: Rejected, Class: Permanent},
		"id:xyz stat:DELETED":                {ID: "xyz", Forms: []string{"xyz"}, To: "31612345678", State: Deleted, Class: Temporary},
		"id:xyz stat:UNKNOWN":                {ID: "xyz", Forms: []string{"xyz"}, To: "31612345678", State: Unknown, Class: Temporary},
		"id:xyz stat:ACCEPTD":                {ID: "xyz", Forms: []string{"xyz"}, To: "31612345678", State: AcceptedSMS},
		"id:xyz stat:ENROUTE":                {ID: "xyz", Forms: []string{"xyz"}, To: "31612345678", State: Enroute},
		"id:xyz stat:WHATEVR":                {ID: "xyz", Forms: []string{"xyz"}, To: "31612345678", State: Enroute},
	} {
		deliver := &pdu.Message{Source: pdu.Address{TON: 1, NPI: 1, Value: "31612345678"}, Destination: pdu.Address{Value: "5277"}, ESMClass: 4, ShortMessage: []byte(text)}
		for range 2 { // the first is refused
			conn.Request(pdu.DeliverSM, deliver)
		}
		r := <-g.receipts
		if d := cmp.Diff(want, r); d != "" {
			t.Errorf("%s: %s", text, d)
		}
	}
	if first, second := <-conn.Answers, <-conn.Answers; first.Status == pdu.StatusOK || second.Status != pdu.StatusOK {
		t.Errorf("the SMSC was answered %s, %s", first.Status, second.Status)
	}
	if _, err := g.Gateway.(Webhook).ParseReceipt(httptest.NewRequest("POST", "/", nil)); !errors.Is(err, ErrNoWebhook) {
		t.Error(err)
	}
	// What an intermediate notification says is not the end.
	for range 2 {
		conn.Request(pdu.DeliverSM, &pdu.Message{ESMClass: 0x20, ShortMessage: []byte("id:xyz stat:UNDELIV err:001")})
	}
	if r := <-g.receipts; r.State != Enroute || r.Class != "" {
		t.Errorf("%+v", r)
	}
	// An SMSC without ids, and a gateway without receipts.
	id = ""
	if a, err := g.Submit(t.Context(), toWake); err != nil || len(a.IDs) > 0 || !a.Receipts || a.Note == "" {
		t.Errorf("%+v, %v", a, err)
	}
	off := openSMSC(t, "smpp://m2m:PassWord@"+smsc.Addr+"?receipts=off", nil)
	off.await(t, true)
	if a, err := off.Submit(t.Context(), toWake); err != nil || a.Receipts || got.RegisteredDelivery != 0 {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestSMPPOutcomes(t *testing.T) {
	long := strings.Repeat("0123456789", 40) // three parts
	answer := func(statuses ...pdu.Status) smpptest.Handler {
		var n int
		return func(c *smpptest.Conn, p pdu.PDU) {
			status := statuses[min(n, len(statuses)-1)]
			if n++; status == pdu.StatusOK {
				c.Answer(p, status, &pdu.MessageResp{MessageID: fmt.Sprint("id", n)})
				return
			}
			c.Answer(p, status, nil)
		}
	}
	own, err := ParseClasses("ESME_RINVDSTADR=temporary,0x8=permanent")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		m      Message
		answer smpptest.Handler
		want   string
	}{
		{"accepted", Message{To: "31612345678", Text: long}, answer(pdu.StatusOK), "accepted [id1 id2 id3]"},
		{"permanent", toWake, answer(0x66), "permanent ESME_RX_R_APPN"},
		{"temporary", toWake, answer(0x64), "temporary ESME_RX_T_APPN"},
		{"throttled", toWake, answer(pdu.StatusThrottled), "throttled ESME_RTHROTTLED"},
		{"by name", toWake, answer(0x0b), "temporary ESME_RINVDSTADR"},
		{"by number", toWake, answer(0x08), "permanent ESME_RSYSERR"},
		{"the SMSC's own", toWake, answer(0x401), "temporary 0x00000401"},
		{"cannot be expressed", Message{To: "me", Text: "x"}, answer(pdu.StatusOK), "permanent invalid"},
		{"a part refused", Message{To: "31612345678", Text: long}, answer(pdu.StatusOK, 0x66), "permanent ESME_RX_R_APPN"},
		{"closed", toWake, func(c *smpptest.Conn, _ pdu.PDU) { c.Close() }, "unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			smsc := smpptest.Listen(t, nil, onSubmit(c.answer))
			g := openSMSC(t, "smpp://m2m:PassWord@"+smsc.Addr, own)
			g.await(t, true)
			accepted, err := g.Submit(t.Context(), c.m)
			if got := outcome(accepted, err); got != c.want {
				t.Errorf("%s: %v", got, err)
			}
			private(t, err)
		})
	}
}

func TestSMPPPartial(t *testing.T) {
	g, err := newSMPP("smpp://m2m:PassWord@127.0.0.1", Options{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	two := []string{"a", "b"}
	for _, c := range []struct {
		parts int
		err   error
		want  string
	}{
		{3, &smpp.StatusError{Status: pdu.StatusThrottled}, "temporary ESME_RTHROTTLED"}, // it was an attempt
		{3, &smpp.StatusError{Status: 0x0b}, "permanent ESME_RINVDSTADR"},
		{3, smpp.ErrNotSent, "temporary partial"},
		{3, fmt.Errorf("%w: %w", smpp.ErrUnknown, smpp.ErrNoAnswer), "unknown"}, // the last part may be there
		{4, fmt.Errorf("%w: %w", smpp.ErrUnknown, smpp.ErrNoAnswer), "temporary partial"},
	} {
		if got := outcome(g.outcome(two, &smpp.PartialError{IDs: two, Parts: c.parts, Err: c.err})); got != c.want {
			t.Errorf("%v of %d: %s, want %s", c.err, c.parts, got, c.want)
		}
	}
	if got := outcome(g.outcome(nil, errors.Join(smpp.ErrNotSent, smpp.ErrThrottled))); got != "throttled ESME_RTHROTTLED" {
		t.Error(got)
	}
}

// An answer that comes when Submit has given up is told of; what was asked is told with it.
func TestSMPPLate(t *testing.T) {
	for _, c := range []struct {
		text   string
		status pdu.Status
		want   string
	}{
		{"x", pdu.StatusOK, "accepted [late]"},
		{"x", 0x0b, "permanent ESME_RINVDSTADR"},
		{strings.Repeat("x", 300), pdu.StatusOK, "temporary partial"},
	} {
		asked := make(chan pdu.PDU, 1)
		smsc := smpptest.Listen(t, nil, onSubmit(func(_ *smpptest.Conn, p pdu.PDU) { asked <- p }))
		g := openSMSC(t, "smpp://m2m:PassWord@"+smsc.Addr, nil)
		conn := smsc.Bound()
		g.await(t, true)
		ctx, cancel := context.WithCancel(t.Context())
		m := toWake
		m.Text = c.text
		done := make(chan string)
		go func() { done <- outcome(g.Submit(ctx, m)) }()
		p := <-asked
		cancel()
		if got := <-done; got != "unknown" {
			t.Errorf("%s", got)
		}
		conn.Answer(p, c.status, map[bool]pdu.Body{true: &pdu.MessageResp{MessageID: "late"}}[c.status == pdu.StatusOK])
		if late := <-g.late; late.outcome != c.want || late.m.ID != m.ID || late.m.Attempt != m.Attempt {
			t.Errorf("%+v, want %s", late, c.want)
		}
	}
}

// Of messages whose answer never comes only so many are remembered.
func TestSMPPRemembersNoEnd(t *testing.T) {
	g, err := newSMPP("smpp://m2m:PassWord@127.0.0.1", Options{}.withDefaults())
	if err != nil || g.name != "smpp:m2m" {
		t.Fatal(g, err)
	}
	for i := range maxUnknown + 50 {
		g.end(g.begin(Message{ID: fmt.Sprint(i)}), nil, true)
		g.end(g.begin(Message{ID: fmt.Sprint("known", i)}), nil, false)
	}
	if len(g.pending) != maxUnknown || len(g.unknown) != maxUnknown || g.pending["0.0"] != nil || g.pending["50.0"] == nil {
		t.Errorf("%d, %d", len(g.pending), len(g.unknown))
	}
}

// A refused bind is told once, with its reason; a session that was lost too.
func TestSMPPReadyFollowsTheSession(t *testing.T) {
	smsc := smpptest.Listen(t, nil, nil)
	g := openSMSC(t, "smpp://m2m:PassWord@"+smsc.Addr, nil)
	conn := smsc.Bound()
	g.await(t, true)
	conn.Close()
	g.await(t, false)
	if got := outcome(g.Submit(t.Context(), toWake)); got != "not sent" {
		t.Error(got)
	}
	g.await(t, true) // it binds again
	said := g.log.String()
	if strings.Count(said, "state=reachable") != 2 || strings.Count(said, "state=unreachable") != 1 || !strings.Contains(said, `why="lost: `) {
		t.Errorf("%s", said)
	}

	refusing := smpptest.Listen(t, nil, func(c *smpptest.Conn, p pdu.PDU) { c.Answer(p, pdu.StatusInvPaswd, nil) })
	bad := openSMSC(t, "smpp://m2m:PassWord@"+refusing.Addr, nil)
	for limit := time.After(20 * time.Second); !strings.Contains(bad.log.String(), "ESME_RINVPASWD"); {
		_, changed := bad.Gateway.(*Circuit).Unwrap().Ready()
		select {
		case <-changed:
		case <-time.After(10 * time.Millisecond): // it may have been before
		case <-limit:
			t.Fatalf("nothing is said:\n%s", bad.log)
		}
	}
	if strings.Count(bad.log.String(), "\n") != 1 {
		t.Errorf("%s", bad.log)
	}
}

func TestSMPPS(t *testing.T) {
	server := httptest.NewUnstartedServer(nil) // for its certificate, of 127.0.0.1
	server.StartTLS()
	cert := server.TLS.Certificates[0]
	ca := filepath.Join(t.TempDir(), "ca.pem")
	var b bytes.Buffer
	if err := writePEM(&b, server.Certificate().Raw); err != nil {
		t.Fatal(err)
	}
	server.Close()
	if err := os.WriteFile(ca, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	smsc := smpptest.Listen(t, &tls.Config{Certificates: []tls.Certificate{cert}}, nil)
	for _, query := range []string{"?ca=" + ca, "?insecureSkipVerify=true"} {
		g := openSMSC(t, "smpps://m2m:PassWord@"+smsc.Addr+query, nil)
		g.await(t, true)
		if got := outcome(g.Submit(t.Context(), toWake)); got != "accepted [1]" {
			t.Error(got)
		}
	}
}

func TestSMPPURLRefuses(t *testing.T) {
	for rest, says := range map[string]string{
		"":                                               "it is no URL such as smpp://system_id:password@host:2775",
		"m2m:PassWord@h":                                 "it is no URL such as",
		"//h:2775":                                       "it is no URL such as",
		"//m2m:Pass%Word@h":                              "is written as %XX",
		"//m2m:PassWord@h/x":                             "it is no URL such as",
		"//m2m:PassWord@h#PassWord":                      "it is no URL such as",
		"//m2m:PassWord@h:port":                          "it is no URL such as",
		"//:PassWord@h":                                  "no system_id",
		"//m2m:PassWord@h?windows=1":                     `unknown parameter "windows"`,
		"//m2m:PassWord@h?window=0":                      `parameter window: "0" is no whole number from 1 to 1000`,
		"//m2m:PassWord@h?window=x&rate=-1":              `parameter rate: "-1" is no number`,
		"//m2m:PassWord@h?rate=NaN":                      `parameter rate: "NaN" is no number`,
		"//m2m:PassWord@h?receipts=yes":                  `parameter receipts: "yes" is none of on, off`,
		"//m2m:PassWord@h?alphabet=utf8":                 `parameter alphabet: "utf8" is none of gsm, gsm-packed, latin1, ascii`,
		"//m2m:PassWord@h?long=cut":                      `parameter long: "cut" is none of udh, sar, payload`,
		"//m2m:PassWord@h?timeout=1h":                    `parameter timeout: "1h" is no duration from 1s to 20s`,
		"//m2m:PassWord@h?ca=x":                          `unknown parameter "ca"`,
		"//m2m:PassWord@h?systemType=1234567890123":      "system_type",
		"//" + strings.Repeat("m", 70) + ":PassWord@h":   "system_id",
		"//m2m:" + strings.Repeat("PassWord", 10) + "@h": "password",
	} {
		_, err := Open("smpp:"+rest, Options{})
		if err == nil || !strings.Contains(err.Error(), says) || !strings.HasPrefix(err.Error(), "sms gateway smpp: ") {
			t.Errorf("%s: %v, want %s", rest, err, says)
		}
		private(t, err)
	}
	for query, says := range map[string]string{"ca=/nowhere/x.pem": "parameter ca: open /nowhere/x.pem", "insecureSkipVerify=1": `parameter insecureSkipVerify: "1" is none of false, true`} {
		if _, err := Open("smpps://m2m:PassWord@h?"+query, Options{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", query, err)
		}
	}
	if g, err := Open("smpps://m2m:p%40ss@h", Options{}); err != nil || g.Name() != "smpp:m2m" {
		t.Error(g, err)
	}
}
