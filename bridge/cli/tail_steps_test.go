package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/trace"
)

// message is a message of the device that was stored as the v-th.
func (s *apiServer) message(v int) {
	s.trace.Message(&trace.Message{
		Device: testDevice, Standing: trace.Proven, Via: "http", Remote: "192.0.2.7:4711", Bytes: 302, At: time.Now(), Took: time.Millisecond,
		Outcome: "stored", Secret: 2, Records: 1, Measurements: 1, ID: fmt.Sprintf("1700000000000-%d", v),
	})
}

func TestTailShowsSteps(t *testing.T) {
	server := redistest.Start(t)
	s := &apiServer{t: t, client: server.Client(), addr: "127.0.0.1:0"}
	s.start(server)
	s.run(0, "device", "add", testDevice)
	s.message(1)
	r := s.tail("--device", testDevice)
	shows := func(v int) {
		t.Helper()
		for _, want := range []string{
			`received    http 192\.0\.2\.7:4711  302 bytes, no token$`, `verdict     stored, by secret 2  in 1ms$`, `pack        1 record, 1 measurement$`,
			fmt.Sprintf(`stored      1700000000000-%d$`, v),
		} {
			if line := r.next(); !regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{3}  step    IMEI:356726104408422  ` + want).MatchString(line) {
				t.Fatalf("got  %s\nwant %s", line, want)
			}
		}
	}
	shows(1)
	s.message(2)
	shows(2)
	// The bridge comes back: what was shown is not shown again.
	s.stop()
	go io.Copy(io.Discard, r.notes)
	s.start(server)
	s.message(3)
	shows(3)
}

func TestTailLast(t *testing.T) {
	const other = "IMEI:490154203237518"
	s := startAPI(t)
	s.run(0, "device", "add", testDevice)
	s.run(0, "device", "add", other)
	if out, errs := s.run(0, "tail", "--device", testDevice, "--last"); out != "" || !strings.Contains(errs, "nothing is remembered of "+testDevice) {
		t.Errorf("%q, %q", out, errs)
	}
	s.trace.Note(auth.DeviceID(other), trace.Proven, trace.Connection, "connected\x1b[2J")
	// The bridge may not hear of followers yet, at its very start.
	var out string
	for begun := time.Now(); out == "" && time.Since(begun) < 10*time.Second; {
		out, _ = s.run(0, "tail", "--device", other, "--last", "--json")
	}
	var step struct {
		Type, Step, Device, Text, Node string
		N                              uint64
	}
	if err := json.Unmarshal([]byte(out), &step); err != nil || step.Type != "step" || step.Step != "connection" || step.Device != other || step.Node != "here" || step.N == 0 {
		t.Errorf("%s: %v", out, err)
	}
	if out, _ := s.run(0, "tail", "--device", other, "--last"); !strings.HasSuffix(out, "  step    "+other+"  connection  connected.[2J\n") {
		t.Errorf("%q", out)
	}
	for _, args := range [][]string{{"--last"}, {"--last", "--device", other, "--kind", "uplinks"}, {"--last", "--device", other, "--after", "0"}} {
		if _, errs := s.run(2, append([]string{"tail"}, args...)...); !strings.Contains(errs, "--device") {
			t.Errorf("%v: %q", args, errs)
		}
	}
}
