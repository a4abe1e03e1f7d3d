package cli

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"m2mbridge/auth"
)

// sending is a bridge with a device, to send to.
type sending struct {
	t                   *testing.T
	http, mqtt, api     string
	environ, apiEnviron []string
}

func startSending(t *testing.T) *sending {
	t.Helper()
	s := startServe(t, []string{"M2M_ADMIN_KEY=" + testAdminKey}, "--data", t.TempDir())
	x := &sending{t: t, http: s.url["http"], mqtt: s.url["mqtt"], api: s.url["api"], environ: []string{"M2M_SECRET=" + testSecret}}
	x.apiEnviron = []string{"M2M_API_URL=" + x.api, "M2M_ADMIN_KEY=" + testAdminKey}
	if code, _, errs := run(t, x.apiEnviron, "device", "add", testDevice, "--secret", testSecret); code != 0 {
		t.Fatal(errs)
	}
	t.Cleanup(func() {
		if code, said := s.stop(); code != 0 {
			t.Errorf("serve ended with %d: %s", code, said)
		}
	})
	return x
}

// send runs `send` and checks its exit code, and that it shows the lines.
func (x *sending) send(code int, stdin string, args []string, shows ...string) {
	x.t.Helper()
	got, out, errs := runWith(x.t, stdin, x.environ, append([]string{"send", "--device", testDevice}, args...)...)
	if got != code {
		x.t.Fatalf("%v: code %d, want %d\n%s%s", args, got, code, out, errs)
	}
	for _, want := range shows {
		if !strings.Contains(out+errs, want) {
			x.t.Errorf("%v does not show %q:\n%s%s", args, want, out, errs)
		}
	}
	if strings.Contains(out+errs, testSecret) {
		x.t.Errorf("%v shows the secret", args)
	}
	if stdin != "" && strings.Contains(out+errs, auth.Token([]byte(stdin), testSecret)) {
		x.t.Errorf("%v shows the whole token", args)
	}
}

func TestSend(t *testing.T) {
	x := startSending(t)
	overHTTP, overMQTT := []string{"--to", x.http}, []string{"--to", x.mqtt}
	token := auth.Token([]byte(testPack), testSecret)
	t.Run("HTTP", func(t *testing.T) {
		x.send(0, testPack, overHTTP, "> POST /ingestion/m2m/senml/v1 HTTP/1.1\n", "> Things-Message-Token: "+token[:8]+"…\n", "> "+testPack+"\n",
			"< HTTP/1.1 200 OK\n", "< Content-Length: 0\n")
	})
	t.Run("HTTP refused", func(t *testing.T) {
		x.send(1, testPack, append(overHTTP, "--token", strings.Repeat("0", 64)), "< HTTP/1.1 403 Forbidden\n", "refused: 403")
		x.send(1, testPack, append(overHTTP, "--no-token"), "< HTTP/1.1 401 Unauthorized\n")
		x.send(1, "[", overHTTP, "< HTTP/1.1 400 Bad Request\n")
	})
	t.Run("MQTT", func(t *testing.T) {
		x.send(0, testPack, overMQTT, "> CONNECT MQTT 5, user name urn:dev:IMEI:356726104408422:", "< CONNACK 0x00\n",
			"> PUBLISH things/IMEI/356726104408422/uplink QoS 1, 54 bytes\n", "> "+testPack+"\n", "< PUBACK 0x00\n", "> DISCONNECT\n")
		x.send(0, testPack, append(overMQTT, "--no-token", "--wait=10ms"), "> SUBSCRIBE things/IMEI/356726104408422/downlink", "< PUBACK 0x00\n")
	})
	t.Run("MQTT refused", func(t *testing.T) {
		x.send(1, testPack, append(overMQTT, "--token", strings.Repeat("0", 64)), "< PUBACK 0x87", "refused: PUBACK 0x87")
		x.send(1, "[", overMQTT, "< PUBACK 0x99")
		x.send(1, testPack, append(overMQTT, "--secret", strings.Repeat("x", 30)), "< CONNACK 0x86", "refused: CONNACK 0x86")
	})
	t.Run("measurements", func(t *testing.T) {
		x.send(0, "", append(overHTTP, "temperature,Cel=21.50", "door=true", `note=a "b" <c>`, "zero=0", "word=nullx"),
			`> [{"bn":"urn:dev:IMEI:356726104408422:","n":"temperature","u":"Cel","v":21.50},{"n":"door","vb":true},{"n":"note","vs":"a \"b\" <c>"},{"n":"zero","v":0},{"n":"word","vs":"nullx"}]`+"\n")
		x.send(0, "", append(overMQTT, "--now", "t=1"), `> [{"bn":"urn:dev:IMEI:356726104408422:","bt":`)
	})
	// What was sent is what tail shows.
	r := (&apiServer{t: t, url: x.api}).tail("--after", "0", "--kind", "uplinks")
	if line := r.next(); !strings.Contains(line, testDevice+"  http  t=1") {
		t.Errorf("tail: %s", line)
	}
}

func TestSendTokenOnly(t *testing.T) {
	want := auth.Token([]byte(testPack), testSecret) + "\n"
	code, out, errs := runWith(t, testPack, []string{"M2M_SECRET=" + testSecret}, "send", "--device", testDevice, "--token-only", "--to", "mqtt://127.0.0.1:1")
	if code != 0 || out != want {
		t.Errorf("%d %q %q, want %q", code, out, errs, want)
	}
}

func TestTypedValue(t *testing.T) {
	for value, want := range map[string]string{
		"21.50": `"v":21.50`, "-1e5": `"v":-1e5`, "1E5": `"v":1E5`, "0": `"v":0`, "true": `"vb":true`,
		"": `"vs":""`, "null": `"vs":"null"`, "1.2.3": `"vs":"1.2.3"`, "31 6": `"vs":"31 6"`, "nano": `"vs":"nano"`, "-": `"vs":"-"`,
		`"NaN"`: `"vs":"NaN"`, `"01"`: `"vs":"01"`, `"true"`: `"vs":"true"`, `"1"`: `"vs":"1"`, `"a" b`: `"vs":"\"a\" b"`, `a "b"`: `"vs":"a \"b\""`,
	} {
		if got, err := typedValue(value); got != want || err != nil {
			t.Errorf("%s: %s, %v", value, got, err)
		}
	}
	for _, value := range []string{"NaN", "nan", "Inf", "-Inf", "+Infinity", "+1", "01", "-01", ".5", "5.", "+1e999", "0x10", "0b1"} {
		if got, err := typedValue(value); err == nil {
			t.Errorf("%s: %s", value, got)
		}
	}
}

func TestSendErrors(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() // it accepts nothing, so that nothing answers
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"--device x t=1", 2, "--device"},
		{"t=1", 2, "--device"},
		{"--device %s t", 2, "NAME=VALUE"},
		{"--device %s =1", 2, "NAME=VALUE"},
		{"--device %s a,Cel=NaN", 2, `"a,Cel=NaN": NaN is no number in JSON; as text it is quoted, for the shell too: 'a,Cel="NaN"'`},
		{"--device %s --tokn x", 2, "(see m2mbridge send --help)"},
		{"--device %s --to ftp://x t=1", 2, "--to"},
		{"--device %s --to x t=1", 2, "--to"},
		{"--device %s --token a --no-token t=1", 2, "exclude"},
		{"--device %s --secret= t=1", 2, "M2M_SECRET"},
		{"--device %s --secret= --via mqtt --no-token t=1", 2, "M2M_SECRET"},
		{"--device %s --to http://" + closed.Addr().String() + " t=1", 1, "--to says where"},
		{"--device %s --to mqtt://" + closed.Addr().String() + " t=1", 1, "--to says where"},
		{"--device %s --timeout 200ms --to http://" + ln.Addr().String() + " t=1", 1, "no answer"},
		{"--device %s --timeout 200ms --to mqtt://" + ln.Addr().String() + " t=1", 1, "no answer"},
	} {
		args := c.args
		if strings.Contains(args, "%s") {
			args = fmt.Sprintf(args, testDevice)
		}
		t.Run(args, func(t *testing.T) {
			code, _, errs := run(t, []string{"M2M_SECRET=" + testSecret}, append([]string{"send"}, strings.Fields(args)...)...)
			if code != c.code || !strings.Contains(errs, c.want) {
				t.Errorf("code %d, %q; want %d, %q", code, errs, c.code, c.want)
			}
		})
	}
}
