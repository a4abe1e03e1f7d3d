package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"m2mbridge/auth"
	"m2mbridge/bridge/explain"
)

const testPack = `[{"bn":"urn:dev:IMEI:356726104408422:","n":"t","v":1}]`

// runWith is run with a standard input.
func runWith(t *testing.T, stdin string, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Run(t.Context(), args, environ, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

func TestTokenIsOfTheBytesRead(t *testing.T) {
	// printf '%s%s' "$body" "$secret" | sha256sum
	for body, want := range map[string]string{
		"":          "d57d91080bd9a08a61826d13123b3a2322da68c4997933746b31dcac31fede2b",
		"[{}]":      "e754bf12c3adb046810935b7846fa08b8ad80ba97533797ec7b0d3c9f393ad91",
		"[{}]\n":    "9fdcfa712e139834a66adeddf5f5ac8283b5711fef1aaaf62331e5f53e0c39c1",
		"\x00\xff ": "81956289b2841e571f95f91048ab076b365f940e5cf85945d060262eac331725",
	} {
		code, out, errs := runWith(t, body, []string{"M2M_SECRET=" + testSecret}, "token")
		if code != 0 || out != want+"\n" {
			t.Errorf("%q: %d %q %q", body, code, out, errs)
		}
	}
}

func TestTokenExplain(t *testing.T) {
	right := auth.Token([]byte(testPack), testSecret)
	for _, c := range []struct {
		name, body, token string
		code              int
		want              string
	}{
		{"right", testPack, right, 0, "the token matches the body"},
		{"newline", testPack + "\n", right, 1, "body-newline-sent"},
		{"login", testPack, auth.Token([]byte("urn:dev:IMEI:356726104408422:"), testSecret), 1, "login-token"},
		{"no pack", "x", auth.Token([]byte("x"), testSecret), 0, "pack: the body is no SenML pack"},
		{"nothing", testPack, auth.Token(nil, "x"), 1, "unexplained"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := runWith(t, c.body, []string{"M2M_SECRET=" + testSecret}, "token", "--explain", "--token", c.token)
			if code != c.code || !strings.Contains(out, c.want) {
				t.Errorf("%d %q %q", code, out, errs)
			}
			if strings.Contains(out+errs, testSecret) {
				t.Error("the secret is shown")
			}
		})
	}
	code, out, _ := runWith(t, testPack+"\r\n", nil, "token", "--explain", "--json", "--secret", testSecret, "--token", right)
	var r explain.Report
	if err := json.Unmarshal([]byte(out), &r); code != 1 || err != nil || len(r.Findings) != 1 || r.Findings[0].Code != "body-crlf-sent" {
		t.Errorf("%d %s", code, out)
	}
	if code, _, errs := runWith(t, "", nil, "token", "--explain", "--secret", testSecret); code != 2 || !strings.Contains(errs, "--token") {
		t.Errorf("%d %s", code, errs)
	}
}
