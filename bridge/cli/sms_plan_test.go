package cli

import (
	"strings"
	"testing"
	"time"
)

func TestSMSPlan(t *testing.T) {
	code, out, errs := run(t, nil, "sms", "plan", "--start", "2026-03-01T12:00:00Z", "--zone", "UTC", "--sms-limit", "3h",
		"--sms-schedule", "2m/1m,2h/1h", "--awake", "12:00:30/20s", "--awake", "12:02/1m,13:10/1m", "--awake=14:59/1m")
	want := `ATTEMPT  AFTER  AT                       HELD UNTIL               AWAKE  HEARD
1        0s     Sun 2026-03-01 12:00:00  Sun 2026-03-01 12:00:54  no     Sun 2026-03-01 12:00:30
2        1m     Sun 2026-03-01 12:01:00  Sun 2026-03-01 12:01:54  no     no
3        2m     Sun 2026-03-01 12:02:00  Sun 2026-03-01 12:57:00  yes    at once
4        1h2m   Sun 2026-03-01 13:02:00  Sun 2026-03-01 13:57:00  no     Sun 2026-03-01 13:10:00
5        2h2m   Sun 2026-03-01 14:02:00  Sun 2026-03-01 14:55:00  no     no

FAILED Sun 2026-03-01 15:00:00, 3h after the first attempt, unless it was heard
heard  Sun 2026-03-01 12:00:30, 30s after the first attempt, by attempt 1; none is made after it
`
	if code != exitOK || out != want {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	_, out, _ = run(t, nil, "sms", "plan", "--start", "2026-03-01T12:00:00Z", "--zone", "UTC", "--awake", "12:00:57/1s")
	if !strings.Contains(out, "heard  Mon 2026-03-02 12:00:57, 24h0m57s after the first attempt, by attempt 26") {
		t.Error(out)
	}
	_, out, _ = run(t, nil, "sms", "plan", "--start", "2026-03-01T12:00:00Z", "--zone", "UTC", "--sms-limit", "24h", "--awake", "12:00:57/1s")
	if !strings.HasSuffix(out, "heard  never: whenever the device is awake, the SMSC holds no attempt\n") {
		t.Error(out)
	}
	_, out, _ = run(t, nil, "sms", "plan", "--zone", "UTC")
	if strings.Contains(out, "AWAKE") || strings.Contains(out, "heard  ") || strings.Count(out, "\n") != 1+32+2 {
		t.Error(out)
	}
}

func TestSMSPlanJSON(t *testing.T) {
	environ := []string{"M2M_SMS_SCHEDULE=2m/1m", "M2M_SMS_LIMIT=1h"}
	args := []string{"sms", "plan", "--json", "--start", "2026-03-01T12:00:00+01:00", "--zone", "UTC"}
	code, out, errs := run(t, environ, append(args, "--awake", "11:30/1m")...)
	v := object(t, out)
	attempts, _ := v["attempts"].([]any)
	if code != exitOK || v["schedule"] != "2m/1m" || v["limit"] != "1h" || v["start"] != "2026-03-01T11:00:00Z" || v["failedAt"] != "2026-03-01T12:00:00Z" || len(attempts) != 3 {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	third := attempts[2].(map[string]any)
	if third["attempt"] != 3.0 || third["after"] != "2m" || third["validity"] != "53m" || third["heldUntil"] != "2026-03-01T11:55:00Z" || third["awake"] != false || third["heardAt"] != "2026-03-01T11:30:00Z" {
		t.Errorf("%v", third)
	}
	if h := v["heard"].(map[string]any); h["attempt"] != 3.0 || h["at"] != "2026-03-01T11:30:00Z" || h["after"] != "30m" {
		t.Errorf("%v", h)
	}
	_, out, _ = run(t, environ, args...)
	if v := object(t, out); v["heard"] != nil || strings.Contains(out, "awake") {
		t.Error(out)
	}
	// Without a start it is now, to the second.
	_, out, _ = run(t, environ, "sms", "plan", "--json", "--zone", "UTC")
	start, err := time.Parse(time.RFC3339, object(t, out)["start"].(string))
	if err != nil || time.Since(start) < 0 || time.Since(start) > time.Minute {
		t.Errorf("%s, %v", start, err)
	}
}

func TestSMSPlanUsage(t *testing.T) {
	for args, says := range map[string]string{
		"--sms-schedule=5m/1m,1h": `phase 2 of the schedule, "1h"`, "--sms-limit=0s": "the limit of the schedule, 0s",
		"--start=tomorrow": `--start "tomorrow" is no instant such as`, "--zone=Nowhere": `--zone "Nowhere": unknown time zone`, "--awake=6:0": `--awake: "6:0" is no time of day`,
	} {
		code, _, errs := run(t, nil, "sms", "plan", args)
		if code != exitUsage || !strings.Contains(errs, says) {
			t.Errorf("%s: exit %d: %s", args, code, errs)
		}
	}
}

func TestSimSMS(t *testing.T) {
	args := []string{"sim", "--sms", "--virtual", "48h", "--devices", "1000"}
	code, out, errs := run(t, nil, args...)
	if code != exitOK || !strings.Contains(out, "devices    1000, one SMS each, by 5m/1m,1h/10m,12h/1h,36h/4h within 48h\n") || !strings.Contains(out, "\n32       45h5m  ") || !strings.Contains(errs, "48h of virtual time in ") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if _, again, _ := run(t, nil, args...); again != out {
		t.Errorf("the same seed, another outcome:\n%s", again)
	}
	if _, other, _ := run(t, nil, append(args, "--seed", "other")...); other == out {
		t.Error("another seed, the same outcome")
	}
	code, out, _ = run(t, []string{"M2M_SMS_SCHEDULE=10m/5m"}, append(args, "--json")...)
	v := object(t, out)
	delivered, failed := v["delivered"].(float64), v["failed"].(float64)
	if code != exitOK || v["devices"] != 1000.0 || v["schedule"] != "10m/5m" || len(v["byAttempt"].([]any)) != 3 || delivered+failed != 1000 || failed == 0 || v["latency"].(map[string]any)["p50"] == nil || len(v["kinds"].([]any)) != 7 {
		t.Errorf("exit %d: %s", code, out)
	}
	for _, args := range [][]string{{"--sms", "--rate=3"}, {"--sms", "--via=http"}, {"--virtual=2h"}, {"--sms-limit=2h"}, {"--sms", "--devices=-1"}, {"--sms", "--virtual=-1h"}, {"--sms", "--sms-schedule=1"}} {
		if code, _, errs := run(t, nil, append([]string{"sim"}, args...)...); code != exitUsage {
			t.Errorf("%v: exit %d: %s", args, code, errs)
		}
	}
}
