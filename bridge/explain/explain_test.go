package explain

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	secret  = "72J3wD2bd4QcKpLzRtYuVbNmAsDfGh42"
	second  = "ZZZ3wD2bd4QcKpLzRtYuVbNmAsDfGh99"
	retired = "oldJ3wD2bd4QcKpLzRtYuVbNmAsDfGh0"
	other   = "othJ3wD2bd4QcKpLzRtYuVbNmAsDfGh1"
	login   = "urn:dev:IMEI:356726104408422:"
	pack    = `[{"bn":"urn:dev:IMEI:356726104408422:","n":"temperature","u":"Cel","v":21.5},{"n":"note","vs":"a b & é/c"}]`
)

func token(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "")))
	return hex.EncodeToString(sum[:])
}

func digest(parts ...string) []byte {
	sum := sha256.Sum256([]byte(strings.Join(parts, "")))
	return sum[:]
}

// mistakes are what devices do: body sent, token sent, and the names of it.
var mistakes = []struct {
	name, body, token string
	want              []string
	match             bool
	secret            int
}{
	{"right", pack, token(pack, secret), nil, true, 1},
	{"right with the second secret", pack, token(pack, second), nil, true, 2},
	{"upper-case token", pack, strings.ToUpper(token(pack, secret)), []string{"token-upper-case"}, true, 1},

	{"newline sent", pack + "\n", token(pack, secret), []string{"body-newline-sent"}, false, 1},
	{"CR LF sent", pack + "\r\n", token(pack, secret), []string{"body-crlf-sent"}, false, 1},
	{"NUL sent", pack + "\x00", token(pack, secret), []string{"body-nul-sent"}, false, 1},
	{"blanks sent", "  " + pack + "  ", token(pack, secret), []string{"body-white-space-sent"}, false, 1},
	{"newline hashed", pack, token(pack, "\n", secret), []string{"body-newline-hashed"}, false, 1},
	{"CR LF hashed", pack, token(pack, "\r\n", secret), []string{"body-crlf-hashed"}, false, 1},
	{"CR hashed", pack, token(pack, "\r", secret), []string{"body-cr-hashed"}, false, 1},
	{"NUL hashed", pack, token(pack, "\x00", secret), []string{"body-nul-hashed"}, false, 1},
	{"blank hashed", pack, token(pack, " ", secret), []string{"body-blank-hashed"}, false, 1},
	{"line ends CR LF sent", "[\r\n" + pack[1:], token("[\n"+pack[1:], secret), []string{"body-crlf"}, false, 1},
	{"line ends LF sent", "[\n" + pack[1:], token("[\r\n"+pack[1:], secret), []string{"body-crlf"}, false, 1},
	{"hashed stripped", strings.ReplaceAll(pack, ",", ", "), token(pack, secret), []string{"body-white-space"}, false, 1},
	{"hashed stripped in strings", pack, token(strings.ReplaceAll(pack, " ", ""), secret), []string{"body-white-space"}, false, 1},
	{"sent stripped", pack, token(string(spaced([]byte(pack))), secret), []string{"body-spaced"}, false, 1},
	{"hashed indented", pack, token(indented(pack), secret), []string{"body-spaced"}, false, 1},
	{"BOM sent", "\xef\xbb\xbf" + pack, token(pack, secret), []string{"body-bom"}, false, 1},
	{"BOM hashed", pack, token("\xef\xbb\xbf", pack, secret), []string{"body-bom"}, false, 1},
	{"hashed as UTF-16", pack, token(utf16LE(pack), secret), []string{"body-encoding"}, false, 1},
	{"hashed as Latin-1", pack, token(strings.ReplaceAll(pack, "é", "\xe9"), secret), []string{"body-encoding"}, false, 1},
	{"sent as Latin-1", strings.ReplaceAll(pack, "é", "\xe9"), token(pack, secret), []string{"body-encoding"}, false, 1},
	{"gzip", gzipped(pack), token(pack, secret), []string{"body-gzip"}, false, 1},
	{"sent in base64", base64.StdEncoding.EncodeToString([]byte(pack)), token(pack, secret), []string{"body-base64"}, false, 1},
	{"hashed in base64", pack, token(base64.StdEncoding.EncodeToString([]byte(pack)), secret), []string{"body-base64"}, false, 1},
	{"sent in hex", hex.EncodeToString([]byte(pack)), token(pack, secret), []string{"body-hex"}, false, 1},
	{"escaped for HTML", pack, token(strings.ReplaceAll(pack, "&", `\u0026`), secret), []string{"body-escapes"}, false, 1},
	{"escaped slashes", pack, token(strings.ReplaceAll(pack, "/", `\/`), secret), []string{"body-escapes"}, false, 1},
	{"escaped to ASCII", pack, token(strings.ReplaceAll(pack, "é", `\u00e9`), secret), []string{"body-escapes"}, false, 1},
	{"sent as UTF-16", utf16LE(pack), token(pack, secret), []string{"body-encoding"}, false, 1},
	{"sent as UTF-16 with a mark", "\xff\xfe" + utf16LE(pack), token(pack, secret), []string{"body-encoding"}, false, 1},
	{"deflate", deflated(pack), token(pack, secret), []string{"body-gzip"}, false, 1},
	{"sent as a form", "data=" + url.QueryEscape(pack), token(pack, secret), []string{"body-form"}, false, 1},
	{"sent URL-encoded", url.QueryEscape(pack), token(pack, secret), []string{"body-url-encoded"}, false, 1},
	{"hashed URL-encoded", pack, token(url.PathEscape(pack), secret), []string{"body-url-encoded"}, false, 1},
	{"sent escaped for HTML", html.EscapeString(pack), token(pack, secret), []string{"body-html"}, false, 1},
	{"hashed with &quot;", pack, token(strings.ReplaceAll(html.EscapeString(pack), "&#34;", "&quot;"), secret), []string{"body-html"}, false, 1},
	{"secret in the body", pack + secret, token(pack, secret), []string{"secret-in-body"}, false, 1},
	{"secret as token", pack, secret, []string{"unexplained", "secret-as-token"}, false, 0},
	{"another device's secret", pack, token(pack, other), []string{"secret-other-device"}, false, 0},
	{"sent as JSON string", quoted(pack), token(pack, secret), []string{"body-json-string"}, false, 1},
	{"hashed as JSON string", pack, token(quoted(pack), secret), []string{"body-json-string"}, false, 1},
	{"rewritten", `[{"v":1,"n":"a"}]`, token(`[{"n":"a","v":1}]`, secret), []string{"body-rewritten"}, false, 1},
	{"lower-case body", pack, token(strings.ToLower(pack), secret), []string{"body-case"}, false, 1},
	{"last byte missing", pack, token(pack[:len(pack)-1], secret), []string{"body-cut"}, false, 1},
	{"buffer of 64", pack, token(pack[:63], secret), []string{"body-cut"}, false, 1},
	{"sent without last bracket", pack[:len(pack)-1], token(pack, secret), []string{"body-cut-sent"}, false, 1},
	{"empty body hashed", pack, token(secret), []string{"body-empty-hashed"}, false, 1},

	{"secret first", pack, token(secret, pack), []string{"secret-first"}, false, 1},
	{"HMAC", pack, hex.EncodeToString(hmacSum(secret, pack)), []string{"hmac"}, false, 1},
	{"no secret", pack, token(pack), []string{"no-secret-hashed"}, false, 0},
	{"separator", pack, token(pack, ":", secret), []string{"separator"}, false, 1},
	{"braces", pack, token("{", pack, "}{", secret, "}"), []string{"braces"}, false, 1},
	{"hashed twice", pack, token(token(pack, secret)), []string{"hashed-twice"}, false, 1},
	{"body hashed first", pack, token(token(pack), secret), []string{"body-prehashed"}, false, 1},
	{"secret hashed first", pack, token(pack, token(secret)), []string{"secret-prehashed"}, false, 1},
	{"MD5", pack, hexOf(md5.Sum([]byte(pack + secret))), []string{"other-hash"}, false, 1},
	{"SHA-1", pack, hexOf(sha1.Sum([]byte(pack + secret))), []string{"other-hash"}, false, 1},
	{"SHA-512", pack, hexOf(sha512.Sum512([]byte(pack + secret))), []string{"other-hash"}, false, 1},
	{"token of the login", pack, token(login, secret), []string{"login-token"}, false, 1},

	{"secret with newline", pack, token(pack, secret, "\n"), []string{"secret-newline"}, false, 1},
	{"secret with NUL", pack, token(pack, secret, "\x00"), []string{"secret-nul"}, false, 1},
	{"secret quoted", pack, token(pack, `"`, secret, `"`), []string{"secret-quoted"}, false, 1},
	{"secret in upper case", pack, token(pack, strings.ToUpper(secret)), []string{"secret-upper-case"}, false, 1},
	{"secret in lower case", pack, token(pack, strings.ToLower(second)), []string{"secret-lower-case"}, false, 2},
	{"secret cut", pack, token(pack, secret[:31]), []string{"secret-cut"}, false, 1},
	{"old secret", pack, token(pack, retired), []string{"secret-retired"}, false, 0},

	{"token in base64", pack, base64.StdEncoding.EncodeToString(digest(pack, secret)), []string{"token-base64"}, false, 1},
	{"token's hex in base64", pack, base64.StdEncoding.EncodeToString([]byte(token(pack, secret))), []string{"token-base64"}, false, 1},
	{"token in hex twice", pack, hex.EncodeToString([]byte(token(pack, secret))), []string{"token-hex-twice"}, false, 1},
	{"token cut", pack, token(pack, secret)[:63], []string{"token-cut"}, false, 1},
	{"token with more behind it", pack, token(pack, secret) + "00", []string{"token-too-long"}, false, 1},
	{"token with newline", pack, token(pack, secret) + "\n", []string{"token-white-space"}, false, 1},
	{"token quoted", pack, `"` + token(pack, secret) + `"`, []string{"token-quoted"}, false, 1},
	{"token with prefix", pack, "sha256:" + token(pack, secret), []string{"token-prefix"}, false, 1},
	{"token with header's name", pack, "Things-Message-Token: " + token(pack, secret), []string{"token-header-name"}, false, 1},
	{"token with colons", pack, colons(digest(pack, secret)), []string{"token-separators"}, false, 1},
	{"token reversed", pack, reversedHex(digest(pack, secret)), []string{"token-byte-order"}, false, 1},
	{"token with %x", pack, printed(digest(pack, secret), "%x"), []string{"token-zeros-lost"}, false, 1},
	{"token with signed char", pack, signExtended(digest(pack, secret)), []string{"token-sign-extended"}, false, 1},
	{"no token", pack, "", []string{"token-missing"}, false, 0},
	{"not a token", pack, "???", []string{"token-malformed"}, false, 0},

	{"newline sent and secret first", pack + "\n", token(secret, pack), []string{"body-newline-sent", "secret-first"}, false, 1},
	{"HMAC in base64", pack, base64.StdEncoding.EncodeToString(hmacSum(secret, pack)), []string{"token-base64", "hmac"}, false, 1},
	{"stripped, lower-case secret", pack + "\n", token(pack, strings.ToLower(secret)), []string{"body-newline-sent", "secret-lower-case"}, false, 1},
	{"another secret", pack, token(pack, "somethingElse"), []string{"unexplained"}, false, 0},
}

func TestExplainNamesTheMistake(t *testing.T) {
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			r := Explain(Input{
				Body: []byte(m.body), Token: m.token, Secrets: []string{secret, second},
				Retired: []string{retired}, Others: []string{other}, Logins: []string{login},
			})
			var got []string
			for _, f := range r.Findings {
				got = append(got, f.Code)
			}
			if !slices.Equal(got, m.want) || r.Match != m.match || r.Secret != m.secret {
				t.Errorf("got %v match %v secret %d, want %v %v %d", got, r.Match, r.Secret, m.want, m.match, m.secret)
			}
			shown, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range []string{secret, second, retired, other} {
				if bytes.Contains(bytes.ToLower(shown), []byte(strings.ToLower(s))) {
					t.Error("the report shows a secret")
				}
			}
		})
	}
}

// Files that were signed as they are and sent with curl -d, which leaves out CR
// and LF (curl(1), --data).
func TestExplainNamesCurl(t *testing.T) {
	const first = `{"bn":"urn:dev:IMEI:356726104408422:","n":"note, [a]  \"b\"","vs":"x,  {y}"}`
	const records = first + ",\n" + `{"n":"temperature","u":"Cel","v":21.5},` + "\n" + `{"n":"open","vb":false}`
	files := map[string]string{
		"one record a line": "[\n" + records + "\n]\n", "no end": "[\n" + records + "\n]", "brackets beside": "[" + records + "]\n",
		"bare": "[" + records + "]", "comma first": "[" + strings.ReplaceAll(records, ",\n", "\n,") + "\n]\n",
		"indented records":        "[\n  " + strings.ReplaceAll(records, ",\n", ",\n  ") + "\n]\n",
		"records after one blank": "[\n " + strings.ReplaceAll(records, ",\n", ",\n ") + "\n]\n",
		"one record":              "[\n" + first + "\n]\n", "last bracket beside": "[\n" + first + "]",
	}
	for _, indent := range []string{"  ", "    ", "\t"} {
		var b bytes.Buffer
		if err := json.Indent(&b, []byte(files["bare"]), "", indent); err != nil {
			t.Fatal(err)
		}
		files["indented by "+indent] = b.String()
		files["indented, with end, by "+indent] = b.String() + "\n"
		files["indented, without blanks after colons, by "+indent] = strings.ReplaceAll(b.String(), `": `, `":`)
	}
	for name, file := range files {
		for ends, file := range map[string]string{"LF": file, "CRLF": strings.ReplaceAll(file, "\n", "\r\n")} {
			sent := strings.NewReplacer("\r", "", "\n", "").Replace(file)
			r := Explain(Input{Body: []byte(sent), Token: token(file, secret), Secrets: []string{secret}})
			if len(r.Findings) != 1 || r.Findings[0].Code != "body-line-ends-stripped" || !strings.Contains(r.Findings[0].Fix, "--data-binary") || r.Match {
				t.Errorf("%s, %s: %+v", name, ends, r)
			}
		}
	}
	r := Explain(Input{Body: []byte(pack), Token: token(pack, "\n", secret), Secrets: []string{secret}})
	if len(r.Findings) != 1 || !strings.Contains(r.Findings[0].Fix, "--data-binary") {
		t.Errorf("a line end at the end alone: %+v", r)
	}
}

func TestExplainWithoutSecret(t *testing.T) {
	r := Explain(Input{Body: []byte(pack), Token: token(pack, secret)})
	if r.Match || len(r.Findings) != 1 || r.Findings[0].Code != "no-secret" {
		t.Errorf("got %+v", r)
	}
}

// A token check must not stop a node: a large body, with a token nothing
// explains, in every build and on a slow machine.
func TestExplainIsBounded(t *testing.T) {
	body := []byte(`[{"n":"a","vs":"` + strings.Repeat("x", mostBody-32) + `"}]`)
	done := make(chan Report, 1)
	go func() { done <- Explain(Input{Body: body, Token: token("?"), Secrets: []string{secret, second}}) }()
	select {
	case r := <-done:
		if r.Findings[0].Code != "unexplained" {
			t.Errorf("got %+v", r)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("still searching")
	}
}

func BenchmarkExplainNothing(b *testing.B) {
	for b.Loop() {
		Explain(Input{Body: []byte(pack), Token: token("?"), Secrets: []string{secret, second}})
	}
}

func BenchmarkExplainNothingLarge(b *testing.B) {
	body := []byte(`[{"n":"a","vs":"` + strings.Repeat("x", mostBody-32) + `"}]`)
	for b.Loop() {
		Explain(Input{Body: body, Token: token("?"), Secrets: []string{secret, second}})
	}
}

func deflated(text string) string {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, 9)
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err != nil || w.Close() != nil {
		panic(err)
	}
	return b.String()
}

func hexOf[T [16]byte | [20]byte | [64]byte](sum T) string {
	switch s := any(sum).(type) {
	case [16]byte:
		return hex.EncodeToString(s[:])
	case [20]byte:
		return hex.EncodeToString(s[:])
	case [64]byte:
		return hex.EncodeToString(s[:])
	}
	return ""
}

func hmacSum(key, message string) []byte {
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(message))
	return m.Sum(nil)
}

func indented(s string) string {
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(s), "", "  "); err != nil {
		panic(err)
	}
	return b.String()
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(s))
	w.Close()
	return b.String()
}

func utf16LE(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteByte(byte(r))
		b.WriteByte(byte(r >> 8))
	}
	return b.String()
}

func colons(sum []byte) string {
	var parts []string
	for _, c := range sum {
		parts = append(parts, hex.EncodeToString([]byte{c}))
	}
	return strings.Join(parts, ":")
}

func reversedHex(sum []byte) string {
	out := slices.Clone(sum)
	slices.Reverse(out)
	return hex.EncodeToString(out)
}
