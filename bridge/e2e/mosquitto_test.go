package e2e_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// Versions of the protocol, as mosquitto's clients call them.
const (
	v311 = "mqttv311"
	v5   = "mqttv5"
)

// publish runs mosquitto_pub as a device; more are its further arguments.
func (s *site) publish(n *node, version string, d fleet.Device, topic, payload string, more ...string) (code int, said string) {
	s.Helper()
	return s.publishAs(n, version, d.BaseName(), d.Secret, topic, payload, more...)
}

func (s *site) publishAs(n *node, version, user, password, topic, payload string, more ...string) (code int, said string) {
	s.Helper()
	args := append([]string{
		"-h", "127.0.0.1", "-p", n.port("mqtt"), "-V", version, "-u", user, "-P", password, "-t", topic, "-m", payload,
	}, more...)
	code, out, errs := runFor(s.T, 10*time.Second, environment(), "", "mosquitto_pub", args...)
	return code, out + errs
}

// mustPublish sends an uplink at QoS 1 and wants its acknowledgement.
func (s *site) mustPublish(n *node, version string, d fleet.Device, payload string, more ...string) {
	s.Helper()
	code, said := s.publish(n, version, d, d.Topic(), payload, append([]string{"-q", "1"}, more...)...)
	if code != 0 || strings.Contains(said, "failed") {
		s.Fatalf("mosquitto_pub %s: exit code %d: %s", version, code, said)
	}
}

// message is one that mosquitto_sub got.
type message struct {
	topic, qos, retain, properties, payload string
}

// listener is a mosquitto_sub that runs until the test ends.
type listener struct {
	t       *testing.T
	name    string
	out     *transcript
	cmd     *exec.Cmd
	cancel  context.CancelFunc
	exited  chan struct{}
	granted string // what SUBACK said, a code for each filter

	mu   sync.Mutex
	seen int // bytes of out that are in got
	got  []message
	said []message // of presence
}

// subscribe runs mosquitto_sub as an app and returns when the broker has
// answered. QoS 1, unless more says otherwise.
func (s *site) subscribe(n *node, version string, a app, filters []string, more ...string) *listener {
	s.Helper()
	return s.listen(n, version, a.name, a.key, filters, more...)
}

func (s *site) listen(n *node, version, user, password string, filters []string, more ...string) *listener {
	s.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	args := []string{
		"-h", "127.0.0.1", "-p", n.port("mqtt"), "-V", version, "-u", user, "-P", password, "-q", "1", "-d", "-F", "MSG\t%t\t%q\t%r\t%P\t%p",
	}
	for _, f := range filters {
		args = append(args, "-t", f)
	}
	l := &listener{t: s.T, name: user + " on " + strings.Join(filters, " "), out: newTranscript(), cancel: cancel, exited: make(chan struct{})}
	// Its standard output is a pipe, which it would fill before it writes.
	cmd := exec.CommandContext(ctx, "stdbuf", append(append([]string{"-oL", "mosquitto_sub"}, args...), more...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = environment(), l.out, l.out
	cmd.SysProcAttr = dieWithParent()
	l.cmd = cmd
	if err := cmd.Start(); err != nil {
		s.Fatalf("start mosquitto_sub: %v", err)
	}
	go func() { defer close(l.exited); _ = cmd.Wait() }()
	s.Cleanup(l.kill)
	const answer = "Subscribed (mid: 1): "
	if !l.out.await(10*time.Second, l.exited, func(line string) bool {
		codes, ok := strings.CutPrefix(line, answer)
		if ok {
			l.granted = codes
		}
		return ok || strings.Contains(line, "Connection error") || strings.Contains(line, "Connection Refused")
	}) {
		s.Fatalf("%s: no answer:\n%s", l.name, l.out)
	}
	return l
}

// kill ends it with SIGKILL: it says no good-bye.
func (l *listener) kill() {
	l.cancel()
	<-l.exited
}

// interrupt ends it as Ctrl-C does: it says good-bye.
func (l *listener) interrupt() {
	l.t.Helper()
	l.signal(syscall.SIGINT)
	select {
	case <-l.exited:
	case <-time.After(stopLimit):
		l.t.Fatalf("%s does not end", l.name)
	}
}

// signal freezes it, or lets it go on. stdbuf has become mosquitto_sub.
func (l *listener) signal(sig syscall.Signal) {
	l.t.Helper()
	if err := l.cmd.Process.Signal(sig); err != nil {
		l.t.Fatalf("send %s to mosquitto_sub: %v", sig, err)
	}
}

// presence are the messages of presence received so far on a topic.
func (l *listener) presence(topic string) (found []message) {
	l.messages()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.said {
		if m.topic == topic {
			found = append(found, m)
		}
	}
	return found
}

// messages are those received so far, but for those of presence, which come
// with each device that comes and goes.
func (l *listener) messages() []message {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.out.String()
	for {
		line, _, whole := strings.Cut(text[l.seen:], "\n")
		if !whole {
			return l.got
		}
		l.seen += len(line) + 1
		if f := strings.SplitN(line, "\t", 6); len(f) == 6 && f[0] == "MSG" {
			m := message{f[1], f[2], f[3], f[4], f[5]}
			if strings.HasPrefix(m.topic, "presence/") || strings.HasSuffix(m.topic, "/presence") {
				l.said = append(l.said, m)
			} else {
				l.got = append(l.got, m)
			}
		}
	}
}

// holding are the messages whose payload holds a text.
func (l *listener) holding(text string) (found []message) {
	for _, m := range l.messages() {
		if strings.Contains(m.payload, text) {
			found = append(found, m)
		}
	}
	return found
}

// on are the messages of a topic.
func (l *listener) on(topic string) (found []message) {
	for _, m := range l.messages() {
		if m.topic == topic {
			found = append(found, m)
		}
	}
	return found
}

// await wants a message whose payload holds a text.
func (l *listener) await(text string) message {
	l.t.Helper()
	eventually(l.t, 10*time.Second, fmt.Sprintf("%s gets %s", l.name, text), func() bool { return len(l.holding(text)) > 0 })
	return l.holding(text)[0]
}
