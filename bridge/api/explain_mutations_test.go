package api

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"hash"
	"html"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

// A good request, which the mutations spoil.
const (
	goodBody   = `[{"bn":"urn:dev:IMEI:356726104408422:","bt":1700000000,"n":"temperature","u":"Cel","v":21.50},{"n":"note","vs":"a b & é/<c>"}]`
	goodSecret = "72J3wD2bd4QcKpLzRtYuVbNmAsDfGh42"
	oldSecret  = "oldJ3wD2bd4QcKpLzRtYuVbNmAsDfGh0"
	// Of another device; it can be taken for hex.
	nextSecret = "00112233445566778899aabbccddeeff"
)

func sum(h hash.Hash, parts ...string) string {
	for _, p := range parts {
		_, _ = io.WriteString(h, p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func tokenOf(parts ...string) string { return sum(sha256.New(), parts...) }

func packed(w func(io.Writer) io.WriteCloser) string {
	var b bytes.Buffer
	z := w(&b)
	_, _ = io.WriteString(z, goodBody)
	_ = z.Close()
	return b.String()
}

func utf16Of(text string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(text)) {
		b.WriteByte(byte(u))
		b.WriteByte(byte(u >> 8))
	}
	return b.String()
}

func laidOut(indent string) string {
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(goodBody), "", indent); err != nil {
		panic(err)
	}
	return b.String()
}

func jsonString(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func reencoded(text string) string {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		panic(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// decoded is a base64 or hex text's bytes.
func decoded(b []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(b)
}

const colonless = "urn:dev:IMEI:356726104408422"

var good = tokenOf(goodBody, goodSecret)

// mutations of the good request, each with all that must be found.
var mutations = []struct {
	name, body, token, codes string
}{
	{"the good request", goodBody, good, ""},
	{"the good request in upper case", goodBody, strings.ToUpper(good), "token-upper-case"},

	{"trailing newline sent", goodBody + "\n", good, "body-newline-sent"},
	{"trailing newline hashed", goodBody, tokenOf(goodBody, "\n", goodSecret), "body-newline-hashed"},
	{"trailing CR LF sent", goodBody + "\r\n", good, "body-crlf-sent"},
	{"trailing CR LF hashed", goodBody, tokenOf(goodBody, "\r\n", goodSecret), "body-crlf-hashed"},
	{"trailing NUL sent", goodBody + "\x00", good, "pack body-nul-sent"},
	{"trailing NUL hashed", goodBody, tokenOf(goodBody, "\x00", goodSecret), "body-nul-hashed"},
	{"trailing blank sent", goodBody + " ", good, "body-white-space-sent"},
	{"blank hashed", goodBody, tokenOf(goodBody, " ", goodSecret), "body-blank-hashed"},
	{"CR LF sent, LF hashed", strings.ReplaceAll(laidOut(" "), "\n", "\r\n"), tokenOf(laidOut(" "), goodSecret), "body-crlf"},
	{"LF sent, CR LF hashed", laidOut(" "), tokenOf(strings.ReplaceAll(laidOut(" "), "\n", "\r\n"), goodSecret), "body-crlf"},
	{"line ends stripped by curl -d", strings.ReplaceAll(laidOut("  "), "\n", ""), tokenOf(laidOut("  "), goodSecret), "body-line-ends-stripped"},
	{"pretty-printed after hashing", laidOut("  "), good, "body-white-space"},
	{"minified after hashing", goodBody, tokenOf(laidOut("  "), goodSecret), "body-spaced"},
	{"white space stripped in strings", goodBody, tokenOf(strings.ReplaceAll(goodBody, " ", ""), goodSecret), "body-white-space"},
	{"re-encoded", goodBody, tokenOf(reencoded(goodBody), goodSecret), "body-rewritten"},
	{"BOM sent", "\xef\xbb\xbf" + goodBody, good, "pack body-bom"},
	{"BOM hashed", goodBody, tokenOf("\xef\xbb\xbf", goodBody, goodSecret), "body-bom"},
	{"UTF-16 sent", utf16Of(goodBody), good, "pack body-encoding"},
	{"UTF-16 with BOM sent", "\xff\xfe" + utf16Of(goodBody), good, "pack body-encoding"},
	{"UTF-16 hashed", goodBody, tokenOf(utf16Of(goodBody), goodSecret), "body-encoding"},
	{"Latin-1 hashed", goodBody, tokenOf(strings.ReplaceAll(goodBody, "é", "\xe9"), goodSecret), "body-encoding"},
	{"gzip", packed(func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }), good, "pack body-gzip"},
	{"zlib", packed(func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }), good, "pack body-gzip"},
	{"deflate", packed(func(w io.Writer) io.WriteCloser { f, _ := flate.NewWriter(w, 9); return f }), good, "pack body-gzip"},
	{"base64 sent", base64.StdEncoding.EncodeToString([]byte(goodBody)), good, "pack body-base64"},
	{"base64 hashed", goodBody, tokenOf(base64.StdEncoding.EncodeToString([]byte(goodBody)), goodSecret), "body-base64"},
	{"hex sent", hex.EncodeToString([]byte(goodBody)), good, "pack body-hex"},
	{"hex hashed", goodBody, tokenOf(hex.EncodeToString([]byte(goodBody)), goodSecret), "body-hex"},
	{"JSON in a JSON string sent", jsonString(goodBody), good, "pack body-json-string"},
	{"JSON in a JSON string hashed", goodBody, tokenOf(jsonString(goodBody), goodSecret), "body-json-string"},
	{"escaped for JavaScript", goodBody, tokenOf(strings.NewReplacer("&", `\u0026`, "<", `\u003c`, ">", `\u003e`).Replace(goodBody), goodSecret), "body-escapes"},
	{"escaped to ASCII", goodBody, tokenOf(strings.ReplaceAll(goodBody, "é", `\u00e9`), goodSecret), "body-escapes"},
	{"escaped for HTML, sent", html.EscapeString(goodBody), good, "pack body-html"},
	{"escaped for HTML, hashed", goodBody, tokenOf(html.EscapeString(goodBody), goodSecret), "body-html"},
	{"URL-encoded, sent", url.QueryEscape(goodBody), good, "pack body-url-encoded"},
	{"URL-encoded, hashed", goodBody, tokenOf(url.QueryEscape(goodBody), goodSecret), "body-url-encoded"},
	{"as a form", "pack=" + url.QueryEscape(goodBody), good, "pack body-form"},
	{"in lower case, hashed", goodBody, tokenOf(strings.ToLower(goodBody), goodSecret), "body-case"},
	{"last byte not hashed", goodBody, tokenOf(goodBody[:len(goodBody)-1], goodSecret), "body-cut"},
	{"buffer of 64 hashed", goodBody, tokenOf(goodBody[:64], goodSecret), "body-cut"},
	{"last bracket not sent", goodBody[:len(goodBody)-1], good, "pack body-cut-sent"},
	{"empty body hashed", goodBody, tokenOf(goodSecret), "body-empty-hashed"},
	{"secret in the body", goodBody + goodSecret, good, "pack secret-in-body"},

	{"secret first", goodBody, tokenOf(goodSecret, goodBody), "secret-first"},
	{"HMAC", goodBody, sum(hmac.New(sha256.New, []byte(goodSecret)), goodBody), "hmac"},
	{"HMAC the other way", goodBody, sum(hmac.New(sha256.New, []byte(goodBody)), goodSecret), "hmac-swapped"},
	{"no secret", goodBody, tokenOf(goodBody), "no-secret-hashed"},
	{"separator", goodBody, tokenOf(goodBody, ":", goodSecret), "separator"},
	{"MD5", goodBody, sum(md5.New(), goodBody, goodSecret), "other-hash"},
	{"SHA-1", goodBody, sum(sha1.New(), goodBody, goodSecret), "other-hash"},
	{"SHA-512", goodBody, sum(sha512.New(), goodBody, goodSecret), "other-hash"},
	{"hashed twice", goodBody, tokenOf(good), "hashed-twice"},
	{"token of the login", goodBody, tokenOf(colonless+":", goodSecret), "login-token"},

	{"the old secret", goodBody, tokenOf(goodBody, oldSecret), "secret-retired"},
	{"secret with newline", goodBody, tokenOf(goodBody, goodSecret, "\n"), "secret-newline"},
	{"secret with NUL", goodBody, tokenOf(goodBody, goodSecret, "\x00"), "secret-nul"},
	{"secret in upper case", goodBody, tokenOf(goodBody, strings.ToUpper(goodSecret)), "secret-upper-case"},
	{"secret quoted", goodBody, tokenOf(goodBody, `"`+goodSecret+`"`), "secret-quoted"},
	{"secret cut at 31", goodBody, tokenOf(goodBody, goodSecret[:31]), "secret-cut"},
	{"secret in base64", goodBody, tokenOf(goodBody, base64.StdEncoding.EncodeToString([]byte(goodSecret))), "secret-encoded"},
	{"secret in hex", goodBody, tokenOf(goodBody, hex.EncodeToString([]byte(goodSecret))), "secret-encoded"},
	{"secret decoded from base64", goodBody, tokenOf(goodBody, decoded(base64.RawStdEncoding.DecodeString(goodSecret))), "secret-decoded"},
	{"a secret nobody has", goodBody, tokenOf(goodBody, "x"), "unexplained"},

	{"token in base64", goodBody, base64.StdEncoding.EncodeToString([]byte(decoded(hex.DecodeString(good)))), "token-base64"},
	{"token's hex in base64", goodBody, base64.StdEncoding.EncodeToString([]byte(good)), "token-base64"},
	{"token with the header's name", goodBody, "Things-Message-Token: " + good, "token-header-name"},
	{"token with prefix", goodBody, "sha256=" + good, "token-prefix"},
	{"token quoted", goodBody, `"` + good + `"`, "token-quoted"},
	{"token with newline", goodBody, good + "\n", "token-white-space"},
	{"token cut", goodBody, good[:32], "token-cut"},
	{"token twice", goodBody, good + good, "token-too-long"},
	{"the secret as token", goodBody, goodSecret, "unexplained secret-as-token"},
	{"no token", goodBody, "", "token-missing"},
	{"no hash at all", goodBody, "???", "token-malformed"},
	{"newline sent, secret first, upper case", goodBody + "\n", strings.ToUpper(tokenOf(goodSecret, goodBody)), "token-upper-case body-newline-sent secret-first"},
}

// TestExplainMutations asks the API of a good request that was spoilt in each way
// that devices are known to have: it names that way, and shows no secret.
func TestExplainMutations(t *testing.T) {
	a := startExplain(t)
	reader := a.app("reader", "device.read", imei1, imei2)
	if len(mutations) < 42 {
		t.Errorf("only %d mutations", len(mutations))
	}
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			a.t = t
			got, raw := a.explained(reader, m.body, m.token, "")
			if got.codes != m.codes || got.match != (m.codes == "" || m.codes == "token-upper-case") || got.device != imei1 {
				t.Errorf("got %s, want %s", raw, m.codes)
			}
		})
	}
}

// The message names two devices: the one that the operator named, and another.
func TestExplainOtherDevices(t *testing.T) {
	a := startExplain(t)
	both, one := a.app("both", "device.read", imei1, imei2), a.app("one", "device.read", imei1)
	next := strings.Replace(goodBody, "356726104408422", "490154203237518", 1)
	for _, c := range []struct{ name, key, body, token, device, codes string }{
		{"base name of the next", both, next, tokenOf(next, goodSecret), imei1, "device-differs"},
		{"secret of the next", both, next, tokenOf(next, nextSecret), imei1, "device-differs secret-other-device"},
		{"secret of the next, base name not named", both, goodBody, tokenOf(goodBody, nextSecret), "", "unexplained"},
		{"secret of the next, which is named", both, goodBody, tokenOf(goodBody, nextSecret), imei2, "device-differs"},
		{"secret of one that is not seen", one, next, tokenOf(next, nextSecret), imei1, "device-differs unexplained"},
		{"secret decoded from hex", both, next, tokenOf(next, decoded(hex.DecodeString(nextSecret))), "", "secret-decoded"},
		{"device that is not seen", one, next, tokenOf(next, nextSecret), "", "device-unknown"},
		{"device that is not seen, named", one, goodBody, good, imei2, "device-unknown device-differs"},
		{"device that there is not", both, goodBody, good, uuid1, "device-unknown device-differs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a.t = t
			got, raw := a.explained(c.key, c.body, c.token, c.device)
			if got.codes != c.codes || got.match {
				t.Errorf("got %s, want %s", raw, c.codes)
			}
		})
	}
}

// A secret that was rotated away is named, whether at once or by its window; one
// within its window is as good as the new one.
func TestExplainRotatedSecrets(t *testing.T) {
	a := startExplain(t, func(c *Config) {
		c.PastSecrets = func(ctx context.Context, id auth.DeviceID) ([]string, error) { return c.Registry.PastSecrets(ctx, id) }
	})
	reader := a.app("reader", "device.read", imei1)
	explained := func(secret, codes string) {
		t.Helper()
		if got, raw := a.explained(reader, goodBody, tokenOf(goodBody, secret), ""); got.codes != codes || got.match != (codes == "") {
			t.Errorf("got %s, want %q", raw, codes)
		}
	}
	rotate := func(secret string, window time.Duration) {
		t.Helper()
		if _, _, err := a.registry.Rotate(t.Context(), imei1, auth.AnyRevision, auth.Rotation{Secret: secret, Window: window, Force: true}); err != nil {
			t.Fatal(err)
		}
	}
	explained(oldSecret, "unexplained")
	rotate(oldSecret, time.Hour)
	explained(goodSecret, "")
	explained(oldSecret, "")
	rotate(nextSecret, 0) // which ends the one before it and that before
	explained(nextSecret, "")
	explained(oldSecret, "secret-retired")
	explained(goodSecret, "secret-retired")

	const brief = 50 * time.Millisecond
	rotate(oldSecret, brief)
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(time.Millisecond) {
		if d, err := a.registry.GetDevice(t.Context(), imei1); err != nil || time.Now().After(deadline) {
			t.Fatalf("the window does not end: %v", err)
		} else if d.Secrets == 1 {
			break
		}
	}
	explained(nextSecret, "secret-retired")
	explained(oldSecret, "")
}

// startExplain has the devices that the tests speak of.
func startExplain(t *testing.T, options ...option) *testAPI {
	past := func(_ context.Context, id auth.DeviceID) ([]string, error) {
		if id == imei1 {
			return []string{oldSecret}, nil
		}
		return nil, nil
	}
	a := start(t, redistest.Start(t), append([]option{func(c *Config) { c.PastSecrets = past }}, options...)...)
	for id, secret := range map[string]string{imei1: goodSecret, imei2: nextSecret} {
		a.want(http.StatusCreated, adminKey, "POST", "/v1/devices", `{"id":"`+id+`","secret":"`+secret+`"}`, nil)
	}
	return a
}

type found struct {
	device, codes string
	match         bool
}

// explained asks, and looks for secrets in the answer.
func (a *testAPI) explained(key, body, token, device string) (found, string) {
	a.t.Helper()
	in, err := json.Marshal(ExplainInput{Body: base64.StdEncoding.EncodeToString([]byte(body)), Token: token, Device: device})
	if err != nil {
		a.t.Fatal(err)
	}
	var out Explanation
	got := a.want(http.StatusOK, key, "POST", "/v1/explain", string(in), &out)
	for _, secret := range []string{goodSecret, oldSecret, nextSecret} {
		for _, form := range []string{secret, hex.EncodeToString([]byte(secret)), base64.RawStdEncoding.EncodeToString([]byte(secret))} {
			if bytes.Contains(bytes.ToLower(got.body), []byte(strings.ToLower(form))) {
				a.t.Errorf("a secret is in %s", got.body)
			}
		}
	}
	var codes []string
	for _, f := range out.Findings {
		codes = append(codes, f.Code)
	}
	return found{out.Device, strings.Join(codes, " "), out.Match}, string(got.body)
}
