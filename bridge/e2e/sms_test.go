package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"m2mbridge/bridge/fleet"
)

// shortMessage is an SMS, or what wakes a device up for one, as the API shows it.
type shortMessage struct {
	downlink
	SMS struct {
		State    string
		Attempts int
	}
	Timeline []struct {
		At         time.Time
		What, Text string
	}
}

// what is the timeline in short, without what says no more than the line before.
func (m shortMessage) what() (list []string) {
	for _, s := range m.Timeline {
		if s.What != "executing" {
			list = append(list, s.What)
		}
	}
	return list
}

func (s *site) text(n *node, d fleet.Device, text string) (made shortMessage) {
	s.Helper()
	s.admin(n, "/v1/sms", "-H", "Content-Type: application/json", "-d", fmt.Sprintf(`{"device":%q,"text":%q}`, d.ID, text)).read(s.T, 201, &made)
	return made
}

func (s *site) sms(n *node, id string) (m shortMessage) {
	s.Helper()
	s.admin(n, "/v1/downlinks/"+id).read(s.T, 200, &m)
	return m
}

// reachable registers a device with a number of its own, which no log may hold.
func (s *site) reachable(number int) fleet.Device {
	s.Helper()
	msisdn := fmt.Sprintf("3197%07d", number)
	s.confide(msisdn, "a telephone number")
	return s.device(number, map[string]any{"msisdn": msisdn})
}

// TestSMSOverSMPP: an SMS arrives at an SMSC that is not ours, its receipt comes in another form than its id, and the state says
// what was observed; one to a number that does not exist fails at once.
func TestSMSOverSMPP(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	s.confide(smscPassword, "the password of the SMSC")
	c := startSMSC(t, map[string]any{"permanent": "7"})
	n := s.serve("--sms", c.url("window=5"))
	d := s.reachable(1)
	made := s.text(n, d, "valve {open} €5")
	s.comesTo(n, made.ID, "SUCCEEDED", "receipt")
	at := c.await(1, "accepted")[0]
	if at.To != "31970000001" || at.From != "5277" || at.Text != "valve {open} €5" || at.Validity == nil {
		t.Errorf("the SMSC got %+v", at)
	}
	got := s.sms(n, made.ID)
	if want := []string{"queued", "accepted", "delivered", "succeeded"}; !slices.Equal(got.what(), want) || got.Attempts != 1 {
		t.Errorf("timeline %v after %d attempts, want %v", got.what(), got.Attempts, want)
	}
	nobody := s.reachable(7)
	made = s.text(n, nobody, "hello")
	s.comesTo(n, made.ID, "FAILED", "ESME_RINVDSTADR")
	// As a pack, over the path of KPN's, and with the command line.
	s.admin(n, "/sms/downlinks", "-H", "Content-Type: application/json", "-d", fmt.Sprintf(`{"device":%q,"pack":[{"n":"led","vb":true}]}`, d.ID)).read(s.T, 201, &made)
	s.comesTo(n, made.ID, "SUCCEEDED", "")
	if list := c.await(2, "accepted"); list[1].Text != fmt.Sprintf(`[{"bn":%q},{"n":"led","vb":true}]`, d.BaseName()) {
		t.Errorf("the SMSC got %q", list[1].Text)
	}
	out := s.mustCLI(n, "", "sms", "add", d.ID, strings.Repeat("long ", 60))
	id, _, _ := strings.Cut(out, " ")
	s.comesTo(n, id, "SUCCEEDED", "")
	if got := s.sms(n, id); len(c.journal("accepted")) != 4 || strings.Count(strings.Join(got.what(), " "), "delivered") != 2 {
		t.Errorf("a long one: %v", got.what()) // two parts, each with its receipt
	}
	if out := s.mustCLI(n, "", "sms", "get", id); !strings.Contains(out, "delivered") || !strings.Contains(out, "part 2 of 2") {
		t.Errorf("sms get: %s", out)
	}
}

// TestWakeUpBySMS: a sleeping device is called by SMS until it comes; its uplink ends that, and takes the downlink along.
func TestWakeUpBySMS(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	c := startSMSC(t, map[string]any{"deliver": 0})
	n := s.serve("--sms", c.url(""), "--sms-schedule", "1m/2s", "--sms-limit", "1m", "--sms-wake-text", "come here")
	d := s.reachable(1)
	var made shortMessage
	s.admin(n, "/v1/downlinks", "-H", "Content-Type: application/json", "-d",
		fmt.Sprintf(`{"device":%q,"channel":"http","wake":true,"pack":[{"n":"n","v":7}]}`, d.ID)).read(s.T, 201, &made)
	c.await(2, "accepted")
	eventually(t, 5*time.Second, "the receipt is noted", func() bool { return strings.Contains(strings.Join(s.sms(n, made.ID).what(), " "), "accepted") })
	s.post(n, d, pack(d, 1_700_000_000, "t", 1)).brings(t, d.BaseName(), 7)
	s.comesTo(n, made.ID, "SUCCEEDED", "the device took the whole answer")
	before := len(c.journal("accepted"))
	rest(5 * time.Second) // two more would be due
	if after := len(c.journal("accepted")); after != before {
		t.Errorf("%d SMS after the uplink", after-before)
	}
	got := s.sms(n, made.ID)
	what := got.what()
	if what = slices.DeleteFunc(what, func(w string) bool { return w == "accepted" || w == "undelivered" || w == "expired" || w == "unknown" }); !slices.Equal(what, []string{"queued", "woke", "handed", "succeeded"}) {
		t.Errorf("timeline %v", got.what())
	}
	for _, one := range c.journal("accepted") {
		if one.Text != "come here" || one.To != "31970000001" {
			t.Errorf("the SMSC got %+v", one)
		}
	}
}

// TestSMSChaos: an SMSC loses connections, refuses, throttles, answers nonsense, and sends receipts late, doubled and early; bridges
// are killed. No SMS is lost, none is sent twice unless something says why, and none after it succeeded.
func TestSMSChaos(t *testing.T) {
	t.Parallel()
	slow(t)
	random := seeded(t)
	s := newSite(t)
	c := startSMSC(t, map[string]any{
		"seed": random.Uint32(), "lose": 0.03, "refuse": 0.1, "wrong": 0.1, "delay": 400, "deliver": 0.5, "silent": 0.1, "twice": 0.3, "receipt": 3000, "permanent": "9",
	})
	args := []string{"--sms", c.url("window=8"), "--sms-schedule", "2m/2s", "--sms-limit", "50s"}
	nodes := []*node{s.serve(args...), s.serve(args...)}
	const devices = 60
	made := map[string]shortMessage{}
	for i := range devices {
		d := s.reachable(i)
		text := fmt.Sprintf("sms %d", i)
		made[text] = s.text(nodes[0], d, text)
	}
	for range 5 {
		rest(within(random, time.Second, 3*time.Second)) // the moment is the matter
		n := nodes[random.IntN(2)]
		n.kill()
		rest(within(random, 0, time.Second))
		n.again()
	}
	n := nodes[0]
	for text, m := range made {
		eventually(t, 100*time.Second, text+" has ended", func() bool {
			m = s.sms(n, m.ID)
			return m.State == "SUCCEEDED" || m.State == "FAILED"
		})
		made[text] = m
	}
	ended := time.Now().UnixMilli()
	counts := map[string]int{}
	for text, m := range made {
		counts[m.State]++
		s.holdSMS(c, text, m, ended)
	}
	if counts["SUCCEEDED"] < devices/2 {
		t.Errorf("%v", counts)
	}
	t.Logf("%v; the SMSC: %d accepted, %d refused, %d throttled, %d lost, %d unanswered", counts, len(c.journal("accepted")), len(c.journal("refused")),
		len(c.journal("throttled")), len(c.journal("lost")), len(c.journal("unanswered")))
}

// holdSMS holds what became of an SMS against what happened at the SMSC.
func (s *site) holdSMS(c *smsc, text string, m shortMessage, ended int64) {
	s.Helper()
	var at []seen
	receipts := map[string]bool{}
	for _, one := range c.journal("accepted", "receipt", "permanent") {
		if one.Ev == "receipt" {
			if one.Stat == "DELIVRD" {
				receipts[one.ID] = true
			}
		} else if one.Text == text {
			at = append(at, one)
		}
	}
	permanent := len(at) > 0 && at[len(at)-1].Ev == "permanent"
	wasDelivered := slices.ContainsFunc(at, func(one seen) bool { return receipts[one.ID] })
	switch m.State {
	case "SUCCEEDED":
		if !wasDelivered {
			s.Errorf("%s succeeded, and no receipt said so: %v", text, m.what())
		}
	case "FAILED":
		if permanent != strings.Contains(m.Cause, "ESME_RINVDSTADR") || len(at) == 0 {
			s.Errorf("%s failed: %s; %v", text, m.Cause, at)
		}
	}
	// Each that the SMSC accepted but the last has something behind it in the timeline that says why there was another.
	reasons := 0
	for _, w := range m.what() {
		switch w {
		case "unknown", "undelivered", "expired", "rejected", "temporary":
			reasons++
		}
	}
	if len(at) > reasons+1 {
		s.Errorf("%s was sent %d times, with %d reasons: %v", text, len(at), reasons, m.what())
	}
	// None is begun when it is known to have arrived.
	for _, step := range m.Timeline {
		if step.What != "succeeded" {
			continue
		}
		for _, one := range at {
			if late := one.At - step.At.UnixMilli(); late > 300 && one.At < ended {
				s.Errorf("%s was sent %d ms after it had succeeded", text, late)
			}
		}
	}
}
