package smpp

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"m2mbridge/sms/smpp/pdu"
)

// peerLimit bounds everything that waits for a program that is not ours.
const peerLimit = time.Minute

// program is the path of a program that the test needs. Where there is none, the test is skipped; with CI=true it fails.
func program(t testing.TB, name string) string {
	t.Helper()
	for _, path := range []string{name, "/usr/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	absent(t, "no "+name)
	return ""
}

func absent(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what + ", which CI must have")
	}
	t.Skip(what)
}

// installed is a folder with the npm package smpp.
func installed(t testing.TB) (dir string) {
	t.Helper()
	program(t, "node")
	npm := program(t, "npm")
	dir = t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "smsc.js"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), peerLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--cache", t.TempDir())
	cmd.Dir, cmd.WaitDelay = dir, time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		absent(t, fmt.Sprintf("npm ci failed: %v\n%s", err, out))
	}
	return dir
}

// node is smsc.js at work.
type node struct {
	addr  string
	lines chan seen
}

// seen is one line of what smsc.js saw.
type seen struct {
	Port          int
	Bind          map[string]any
	Submit        *submitted
	ReceiptAnswer *int
	EnquireAnswer string
	Unbind        bool
	Error         string
}

// submitted is a submit_sm as the npm package decodes it.
type submitted struct {
	Source, Destination  string // TON NPI value
	Coding, ESM, Receipt int
	Validity, Text, Hex  string
	Reference            int
	SAR                  []*int
	UDH                  []string
	Payload              bool
}

func startNode(t *testing.T, dir string, env ...string) *node {
	t.Helper()
	cmd := exec.Command(program(t, "node"), "smsc.js")
	cmd.Dir, cmd.Env, cmd.Stderr = dir, append(os.Environ(), env...), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n := &node{lines: make(chan seen, 10000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			var s seen
			if err := json.Unmarshal(scan.Bytes(), &s); err != nil {
				t.Errorf("%s: %v", scan.Text(), err)
			}
			n.lines <- s
		}
	}()
	t.Cleanup(func() {
		_ = in.Close() // which ends it
		stop := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		defer stop.Stop()
		<-done
		_ = cmd.Wait()
	})
	n.addr = fmt.Sprintf("127.0.0.1:%d", n.until(t, func(s seen) bool { return s.Port != 0 }).Port)
	return n
}

// until is the next line that will do.
func (n *node) until(t *testing.T, ok func(seen) bool) seen {
	t.Helper()
	limit := time.After(peerLimit)
	for {
		select {
		case s := <-n.lines:
			if s.Error != "" {
				t.Errorf("the SMSC says %s", s.Error)
			}
			if ok(s) {
				return s
			}
		case <-limit:
			t.Fatal("the SMSC says nothing more")
		}
	}
}

func (n *node) submit(t *testing.T) submitted {
	t.Helper()
	return *n.until(t, func(s seen) bool { return s.Submit != nil }).Submit
}

// An SMSC that we did not write.
func TestNode(t *testing.T) {
	dir := installed(t)
	t.Run("Outcomes", func(t *testing.T) { testNodeOutcomes(t, startNode(t, dir)) })
	t.Run("Texts", func(t *testing.T) { testNodeTexts(t, startNode(t, dir)) })
	t.Run("Long", func(t *testing.T) { testNodeLong(t, startNode(t, dir)) })
	t.Run("Receipts", func(t *testing.T) { testNodeReceipts(t, startNode(t, dir)) })
	t.Run("Inbound", func(t *testing.T) { testNodeInbound(t, startNode(t, dir)) })
	t.Run("Refused", func(t *testing.T) {
		n := startNode(t, dir)
		state := run(t, Config{Addr: n.addr, SystemID: "m2m", Password: "wrong"}).next(t)
		var refused *StatusError
		if state.Reason != Refused || !errors.As(state.Err, &refused) || refused.Status != pdu.StatusInvPaswd {
			t.Errorf("%+v", state)
		}
	})
	t.Run("TLS", func(t *testing.T) { testNodeTLS(t, dir) })
	t.Run("Kannel", func(t *testing.T) { testKannel(t, dir) })
}

func testNodeOutcomes(t *testing.T, n *node) {
	late := make(chan Late, 1)
	cfg := Config{Addr: n.addr, SystemID: "m2m", Password: "secret", SystemType: "VMA", EnquireLink: 100 * time.Millisecond,
		Backoff: time.Millisecond, Pause: time.Millisecond, Late: func(_ context.Context, l Late) { late <- l }}
	client := run(t, cfg).bound(t)
	if s := n.until(t, func(s seen) bool { return s.Bind != nil }); fmt.Sprint(s.Bind) != "map[password:secret system_id:m2m system_type:VMA version:52]" {
		t.Errorf("%v", s.Bind)
	}
	if s := n.until(t, func(s seen) bool { return s.EnquireAnswer != "" }); s.EnquireAnswer != "enquire_link_resp" {
		t.Errorf("%+v", s)
	}
	to := func(last string, limit time.Duration) ([]string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		m := wake()
		m.Destination = "3161234" + last
		return client.Submit(ctx, m)
	}
	if ids, err := to("5678", peerLimit); !accepts("1A2B")(ids, err) {
		t.Errorf("%q, %v", ids, err)
	}
	if ids, err := to("0001", peerLimit); !refuses(0x0b)(ids, err) {
		t.Errorf("%q, %v", ids, err)
	}
	if ids, err := to("0002", peerLimit); !refuses(pdu.StatusThrottled)(ids, err) {
		t.Errorf("%q, %v", ids, err)
	}
	if ids, err := to("0003", 250*time.Millisecond); !isUnknown(context.DeadlineExceeded)(ids, err) {
		t.Errorf("%q, %v", ids, err)
	}
	if ids, err := to("0005", 250*time.Millisecond); !isUnknown(context.DeadlineExceeded)(ids, err) {
		t.Errorf("%q, %v", ids, err)
	}
	if l := <-late; l.ID != "1A2F" || l.Key != "k" || l.Err != nil {
		t.Errorf("%+v", l)
	}
	if ids, err := to("0004", peerLimit); !isUnknown(nil)(ids, err) {
		t.Errorf("%q, %v", ids, err)
	}
	if s := client.next(t); s.Reason != Lost {
		t.Errorf("%+v", s)
	}
	client.bound(t)
	if ids, err := to("5678", peerLimit); !accepts("1A31")(ids, err) {
		t.Errorf("%q, %v", ids, err)
	}
	client.stop()
	n.until(t, func(s seen) bool { return s.Unbind })
}

// texts are what phones should show.
var texts = []struct {
	name, text string
	coding     int
}{
	{"ASCII", "wake up", 0},
	{"JSON", `[{"bn":"IMEI:356726104408422:","n":"temp","v":21.5}]`, 0},
	{"Extension", `{}[]~\|^€`, 0},
	{"Alphabet", "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡AZÄÖÑÜ§¿azäöñüà", 0},
	{"Cyrillic", "Привет", 8},
	{"Emoji", "ok 😀", 8},
}

func testNodeTexts(t *testing.T, n *node) {
	client := run(t, Config{Addr: n.addr, SystemID: "m2m"}).bound(t)
	for _, c := range texts {
		m := wake()
		m.Text, m.ValidityPeriod, m.UserMessageReference = c.text, time.Hour, 513
		if _, err := client.Submit(t.Context(), m); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		got := n.submit(t)
		if got.Text != c.text || got.Coding != c.coding || got.Source != "3 0 5277" || got.Destination != "1 1 31612345678" ||
			!isIn(t, got.Validity, time.Hour) || got.Reference != 513 || got.ESM != 0 || got.Receipt != 0 {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	m := wake()
	m.Text, m.Data = "", []byte{0, 1, 0xfe, 0xff}
	if _, err := client.Submit(t.Context(), m); err != nil {
		t.Error(err)
	}
	if got := n.submit(t); got.Hex != "0001feff" || got.Coding != 4 {
		t.Errorf("%+v", got)
	}
}

// isIn reports whether an instant is so far ahead, give or take a minute: the npm package adds a relative period to now.
func isIn(t *testing.T, instant string, ahead time.Duration) bool {
	t.Helper()
	at, err := time.Parse(time.RFC3339, instant)
	return err == nil && (time.Until(at)-ahead).Abs() < time.Minute
}

func testNodeLong(t *testing.T, n *node) {
	for name, c := range map[string]struct {
		form  Long
		text  string
		parts int
	}{
		"GSM":     {UDH, strings.Repeat("{a}", 100), 4},
		"UCS2":    {UDH, strings.Repeat("я😀", 50), 3},
		"SAR":     {SAR, strings.Repeat("{a}", 100), 4},
		"Payload": {Payload, strings.Repeat("{a}", 100), 1},
	} {
		t.Run(name, func(t *testing.T) {
			client := run(t, Config{Addr: n.addr, SystemID: "m2m", Long: c.form}).bound(t)
			m := wake()
			m.Text = c.text
			ids, err := client.Submit(t.Context(), m)
			if err != nil || len(ids) != c.parts {
				t.Fatalf("%q, %v", ids, err)
			}
			var text strings.Builder
			for i := range c.parts {
				got := n.submit(t)
				text.WriteString(got.Text)
				switch c.form {
				case UDH:
					if len(got.UDH) != 1 || !strings.HasSuffix(got.UDH[0], fmt.Sprintf("%02x%02x", c.parts, i+1)) || got.ESM != 0x40 {
						t.Errorf("%+v", got)
					}
				case SAR:
					if *got.SAR[1] != c.parts || *got.SAR[2] != i+1 || got.ESM != 0 {
						t.Errorf("%+v", got)
					}
				case Payload:
					if !got.Payload {
						t.Errorf("%+v", got)
					}
				}
			}
			if text.String() != c.text {
				t.Errorf("%q", text.String())
			}
		})
	}
}

func testNodeReceipts(t *testing.T, n *node) {
	receipts := make(chan Receipt, 10)
	fail := true
	client := run(t, Config{Addr: n.addr, SystemID: "m2m", Receipt: func(_ context.Context, r Receipt) error {
		if fail {
			fail = false
			return errors.New("the store is down")
		}
		receipts <- r
		return nil
	}}).bound(t)
	to := func(last string) string {
		m := wake()
		m.Destination, m.RegisteredDelivery = "3161234"+last, true
		ids, err := client.Submit(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		return ids[0]
	}
	id := to("5678")
	r := <-receipts
	if !SameID(r.ID, id) || r.ID != "0000006699" || r.State != StateDelivered || r.Source.Value != "31612345678" || r.Destination.Value != "5277" {
		t.Errorf("%+v of %s", r, id)
	}
	var answers []int
	for range 2 {
		answers = append(answers, *n.until(t, func(s seen) bool { return s.ReceiptAnswer != nil }).ReceiptAnswer)
	}
	if !slices.Equal(answers, []int{0x64, 0}) {
		t.Errorf("answers to the receipt: %#x", answers)
	}
	id = to("0006")
	if r = <-receipts; !SameID(r.ID, id) || r.State != StateUndeliverable || r.Stat != "DELIVRD" || r.NetworkError != (NetworkError{3, 27}) {
		t.Errorf("%+v of %s", r, id)
	}
	id = to("0007")
	select {
	case r = <-receipts: // it was there before the answer
		if !SameID(r.ID, id) {
			t.Errorf("%+v of %s", r, id)
		}
	default:
		t.Error("the receipt came behind the answer")
	}
}

// What the other side encodes.
func testNodeInbound(t *testing.T, n *node) {
	got := make(chan Inbound, 1)
	client := run(t, Config{Addr: n.addr, SystemID: "m2m", Message: func(_ context.Context, m Inbound) error { got <- m; return nil }}).bound(t)
	for _, c := range texts {
		m := wake()
		m.Destination, m.Text = "31612340008", c.text
		if _, err := client.Submit(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if in := <-got; in.Text != c.text || in.Source.Value != m.Destination || in.Destination.Value != "5277" {
			t.Errorf("%s: %+v", c.name, in)
		}
	}
}

func testNodeTLS(t *testing.T, dir string) {
	cert, roots, env := certificate(t)
	n := startNode(t, dir, env...)
	client := run(t, Config{Addr: n.addr, SystemID: "m2m", TLS: &tls.Config{RootCAs: roots}}).bound(t)
	if ids, err := client.Submit(t.Context(), wake()); err != nil || len(ids) != 1 {
		t.Errorf("%q, %v", ids, err)
	}
	if state := run(t, Config{Addr: n.addr, SystemID: "m2m", TLS: &tls.Config{}}).next(t); state.Reason != Unreachable {
		t.Errorf("%s was taken for good: %+v", cert.Subject, state)
	}
}

// certificate is one that is signed by itself, for 127.0.0.1, and the environment that gives it to smsc.js.
func certificate(t *testing.T) (cert *x509.Certificate, roots *x509.CertPool, env []string) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{
		"TLS_KEY": {Type: "PRIVATE KEY", Bytes: key}, "TLS_CERT": {Type: "CERTIFICATE", Bytes: server.Certificate().Raw},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+path)
	}
	roots = x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return server.Certificate(), roots, env
}
