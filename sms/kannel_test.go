package sms

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kannelProgram is where one of Kannel's is; Debian's are in /usr/sbin, which is not on every PATH.
func kannelProgram(t *testing.T, name string) string {
	t.Helper()
	for _, file := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(file); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("there is no " + name + " (kannel)")
	}
	t.Skip("there is no " + name + " (kannel)")
	return ""
}

// program is one that runs until the test ends.
type program struct {
	name  string
	lines chan string
}

// startProgram has a shell end the program when its own input ends, be it by the death of the tests.
func startProgram(t *testing.T, name string, args ...string) *program {
	t.Helper()
	p := &program{name, make(chan string, 1000)}
	cmd := exec.Command("sh", append([]string{"-c", `"$0" "$@" & read -r _; kill $!; wait $!`, name}, args...)...)
	r, w := io.Pipe()
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = t.TempDir(), w, w, time.Second
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for s := bufio.NewScanner(r); s.Scan(); {
			select {
			case p.lines <- s.Text():
			default: // nobody reads any more
			}
		}
		_, _ = io.Copy(io.Discard, r)
	}()
	t.Cleanup(func() {
		_ = in.Close()
		kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		kill.Stop()
		_ = w.Close()
	})
	return p
}

// await reads what the program says until it says the text.
func (p *program) await(t *testing.T, text string) {
	t.Helper()
	var said []string
	for limit := time.After(20 * time.Second); ; {
		select {
		case line := <-p.lines:
			if said = append(said, line); strings.Contains(line, text) {
				return
			}
		case <-limit:
			t.Fatalf("%s did not say %q in 20 s:\n%s", p.name, text, strings.Join(said, "\n"))
		}
	}
}

// freePorts are ports of this machine that nobody listened on a moment ago.
func freePorts(t *testing.T, n int) []any {
	t.Helper()
	var ports []any
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// A Kannel whose SMSC is its own "fake", to which the test connects as the phones' side.
const kannelConf = `
group = core
admin-port = %[1]d
admin-interface = 127.0.0.1
admin-password = PassWordAdmin
smsbox-port = %[2]d
smsbox-interface = 127.0.0.1
box-allow-ip = 127.0.0.1
dlr-storage = internal

group = smsc
smsc = fake
smsc-id = phones
port = %[3]d
our-host = 127.0.0.1
connect-allow-ip = 127.0.0.1

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = %[4]d
sendsms-interface = 127.0.0.1

group = sendsms-user
username = bridge
password = PassWordKannel
concatenation = true
max-messages = 3
black-list-regex = "^31699"

group = sms-service
keyword = default
max-messages = 0
text = ""
`

// The example file, at the real Kannel: a text of both alphabets, octets, its receipts and its refusals.
func TestKannel(t *testing.T) {
	bearerbox, smsbox := kannelProgram(t, "bearerbox"), kannelProgram(t, "smsbox")
	receipts := make(chan *http.Request, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { receipts <- r.Clone(context.Background()) }))
	t.Cleanup(hook.Close)
	ports := freePorts(t, 4)
	conf := filepath.Join(t.TempDir(), "kannel.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, kannelConf, ports...), 0o600); err != nil {
		t.Fatal(err)
	}
	startProgram(t, bearerbox, "-v", "1", conf).await(t, "Start-up done")
	phone, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[2]))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = phone.Close() })
	startProgram(t, smsbox, "-v", "1", conf).await(t, "Connected to bearerbox")
	g, err := example(t, "kannel.toml", Options{}, "127.0.0.1:13013", fmt.Sprintf("127.0.0.1:%d", ports[3]), "http://127.0.0.1:8081", hook.URL)
	if err != nil {
		t.Fatal(err)
	}

	inbox := bufio.NewReader(phone)
	_ = phone.SetReadDeadline(time.Now().Add(30 * time.Second))
	for i, c := range []struct {
		text string
		data []byte
		want string
	}{
		{"[{\"n\":\"led\"}] €&=%\\", nil, "5277 31612345678 text [{\"n\":\"led\"}] €&=%\\\n"},
		{"ünï😀✓", nil, "5277 31612345678 ucs-2 %00%FC%00n%00%EF%D8%3D%DE%00'%13\n"},
		{"", []byte{0, 1, 0xff, ' ', 'A'}, "5277 31612345678 data %00%01%FF+A\n"},
	} {
		m := Message{ID: "0-kannel", Attempt: i + 1, To: "31612345678", Text: c.text, Data: c.data, Validity: time.Hour}
		accepted, err := g.Submit(t.Context(), m)
		if err != nil || len(accepted.IDs) != 1 || !accepted.Receipts {
			t.Fatalf("%+v, %v", accepted, err)
		}
		if got, err := inbox.ReadString('\n'); err != nil || got != c.want {
			t.Errorf("the phone got %q, %v", got, err)
		}
		// Kannel makes requests of the two at once: either may be first.
		states := map[ReceiptState]bool{}
		for len(states) < 2 {
			select {
			case r := <-receipts:
				got, err := g.(Webhook).ParseReceipt(r)
				if err != nil || len(got) != 1 || got[0].ID != accepted.IDs[0] || got[0].To != m.To || time.Since(got[0].At) > time.Minute {
					t.Fatalf("%+v, %v of %s", got, err, r.URL)
				}
				states[got[0].State] = true
			case <-time.After(20 * time.Second):
				t.Fatalf("receipts %v and no more", states)
			}
		}
		if !states[AcceptedSMS] || !states[Delivered] {
			t.Errorf("receipts %v", states)
		}
	}

	for to, want := range map[string]string{"": "permanent NUMBER", "31699000000": "permanent NUMBER"} {
		if got := outcome(g.Submit(t.Context(), Message{To: to, Text: "x"})); got != want {
			t.Errorf("to %q: %s", to, got)
		}
	}
	wrong, err := example(t, "kannel.toml", Options{}, "127.0.0.1:13013", fmt.Sprintf("127.0.0.1:%d", ports[3]), "KANNEL_PASSWORD", "SMS_API_KEY")
	if err != nil {
		t.Fatal(err)
	}
	_, err = wrong.Submit(t.Context(), Message{To: "31612345678", Text: "x"})
	if got := outcome(Accepted{}, err); got != "temporary AUTH" || errors.Is(err, ErrNotSent) {
		t.Errorf("a wrong password: %s, %v", got, err)
	}
}
