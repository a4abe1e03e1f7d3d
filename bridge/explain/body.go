package explain

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"html"
	"io"
	"net/url"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// bodies collects what the device may have hashed instead of the body it sent.
type bodies struct {
	sent []byte
	all  []variant
}

// bodyVariants lists the body as sent and then each mistaken one. Where two
// mistakes come to the same bytes the first is kept.
func bodyVariants(sent []byte) []variant {
	b := &bodies{sent: sent, all: []variant{{bytes: sent}}}
	b.ends()
	b.lineEnds()
	b.stripped()
	b.whiteSpace()
	b.encodings()
	b.packings()
	b.texts()
	b.cuts()
	return b.all
}

func (b *bodies) add(hashed []byte, code, text, fix string) {
	for i := range b.all {
		if bytes.Equal(b.all[i].bytes, hashed) {
			return
		}
	}
	b.all = append(b.all, variant{bytes: hashed, finding: &Finding{code, text, fix}})
}

// addRare adds one of many, which is not tried together with another mistake.
func (b *bodies) addRare(hashed []byte, code, text, fix string) {
	before := len(b.all)
	b.add(hashed, code, text, fix)
	for i := before; i < len(b.all); i++ {
		b.all[i].rare = true
	}
}

func (b *bodies) plus(suffix string) []byte {
	return append(bytes.Clone(b.sent), suffix...)
}

const (
	fixSame     = "hash exactly the bytes that are sent"
	fixStripped = fixSame + "; of a file curl -d strips the line ends: use --data-binary"
)

func (b *bodies) ends() {
	trimmed := func(set string) []byte { return bytes.TrimRight(b.sent, set) }
	b.add(trimmed("\n"), "body-newline-sent", "a line feed at the end of the body was sent but not hashed", fixSame)
	b.add(trimmed("\r\n"), "body-crlf-sent", "a CR LF at the end of the body was sent but not hashed", fixSame)
	b.add(trimmed("\x00"), "body-nul-sent", "a NUL at the end of the body was sent but not hashed", "send strlen(body) bytes, not sizeof; the m2m path takes it all the same")
	b.add(trimmed(" \t\r\n\x00"), "body-white-space-sent", "white space at the end of the body was sent but not hashed", fixSame)
	b.add(bytes.TrimSpace(b.sent), "body-white-space-sent", "white space around the body was sent but not hashed", fixSame)
	b.add(b.plus("\n"), "body-newline-hashed", "a line feed after the body was hashed but not sent", fixStripped)
	b.add(b.plus("\r\n"), "body-crlf-hashed", "a CR LF after the body was hashed but not sent", fixStripped)
	b.add(b.plus("\r"), "body-cr-hashed", "a CR after the body was hashed but not sent", fixSame)
	b.add(b.plus("\x00"), "body-nul-hashed", "a NUL after the body was hashed but not sent", "hash strlen(body) bytes, not sizeof")
	b.add(b.plus(" "), "body-blank-hashed", "a blank between body and secret was hashed", fixSame)
	b.add(nil, "body-empty-hashed", "an empty body was hashed", "make the token when the body is complete")
}

func (b *bodies) lineEnds() {
	lf := bytes.ReplaceAll(b.sent, []byte("\r\n"), []byte("\n"))
	b.add(lf, "body-crlf", "the body was sent with CR LF and hashed with LF line ends", fixSame)
	b.add(bytes.ReplaceAll(lf, []byte("\n"), []byte("\r\n")), "body-crlf", "the body was sent with LF and hashed with CR LF line ends", fixSame)
}

func (b *bodies) whiteSpace() {
	const sentWith = "the body was hashed without the white space it was sent with"
	const hashedWith = "the body was hashed with white space that was stripped before it was sent"
	var out bytes.Buffer
	if json.Compact(&out, b.sent) == nil {
		b.add(bytes.Clone(out.Bytes()), "body-white-space", sentWith, fixSame)
	}
	b.add(bytes.Join(bytes.Fields(b.sent), nil), "body-white-space", sentWith+", within strings too", fixSame)
	b.add(spaced(b.sent), "body-spaced", hashedWith, fixSame)
	for _, indent := range []string{"  ", "    ", "\t"} {
		out.Reset()
		if json.Indent(&out, b.sent, "", indent) == nil {
			b.add(bytes.Clone(out.Bytes()), "body-spaced", hashedWith, fixSame)
		}
	}
}

// spaced is compact JSON as Python's json.dumps writes it: a blank after each
// comma and colon outside of strings.
func spaced(body []byte) []byte {
	var out []byte
	inString, escaped := false, false
	for _, c := range body {
		out = append(out, c)
		switch {
		case escaped:
			escaped = false
		case inString && c == '\\':
			escaped = true
		case c == '"':
			inString = !inString
		case !inString && (c == ',' || c == ':'):
			out = append(out, ' ')
		}
	}
	return out
}

func (b *bodies) encodings() {
	bom := []byte("\xef\xbb\xbf")
	b.add(bytes.TrimPrefix(b.sent, bom), "body-bom", "a byte order mark was sent but not hashed", "send no byte order mark")
	b.add(append(bom, b.sent...), "body-bom", "a byte order mark was hashed but not sent", "hash no byte order mark")
	const text, fix = "the body was hashed in another character encoding than it was sent in", "hash and send UTF-8"
	if inner := fromUTF16(b.sent); inner != nil {
		b.add(inner, "body-encoding", text+": sent as UTF-16", fix)
	}
	if utf8.Valid(b.sent) {
		units := utf16.Encode([]rune(string(b.sent)))
		b.add(utf16Bytes(units, 0, 1), "body-encoding", text+": UTF-16", fix)
		b.add(utf16Bytes(units, 1, 0), "body-encoding", text+": UTF-16", fix)
		if latin, ok := latin1(b.sent); ok {
			b.add(latin, "body-encoding", text+": Latin-1", fix)
		}
	} else {
		b.add(fromLatin1(b.sent), "body-encoding", text+": sent as Latin-1", fix)
	}
}

func utf16Bytes(units []uint16, low, high int) []byte {
	out := make([]byte, 2*len(units))
	for i, u := range units {
		out[2*i+low], out[2*i+high] = byte(u), byte(u>>8)
	}
	return out
}

// fromUTF16 is a body of UTF-16 as UTF-8, without its byte order mark; nil: it is
// none, as every second byte of ASCII is zero there.
func fromUTF16(body []byte) []byte {
	if len(body) < 2 || len(body)%2 != 0 {
		return nil
	}
	low, high := 0, 1
	if body[0] == 0 || body[0] == 0xfe {
		low, high = 1, 0
	}
	units := make([]uint16, 0, len(body)/2)
	for pair := range slices.Chunk(body, 2) {
		units = append(units, uint16(pair[low])|uint16(pair[high])<<8)
	}
	if units[0] == 0xfeff {
		units = units[1:]
	}
	if len(units) == 0 || units[0] > 0x7f { // a pack begins with a bracket
		return nil
	}
	return []byte(string(utf16.Decode(units)))
}

func latin1(utf []byte) ([]byte, bool) {
	var out []byte
	for _, r := range string(utf) {
		if r > 0xff {
			return nil, false
		}
		out = append(out, byte(r))
	}
	return out, true
}

func fromLatin1(latin []byte) []byte {
	var out []byte
	for _, c := range latin {
		out = utf8.AppendRune(out, rune(c))
	}
	return out
}

// packings are bodies that were wrapped before sending, or before hashing.
func (b *bodies) packings() {
	const hashedInner = "hash the bytes as they are sent, or send them as they are"
	if inner := decompressed(b.sent); inner != nil {
		b.add(inner, "body-gzip", "the body was compressed after it was hashed", "send the body uncompressed")
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if inner, err := enc.DecodeString(string(bytes.TrimSpace(b.sent))); err == nil {
			b.add(inner, "body-base64", "the body was put in base64 after it was hashed", hashedInner)
		}
		b.add([]byte(enc.EncodeToString(b.sent)), "body-base64", "the body was hashed in base64", hashedInner)
	}
	if inner, err := hex.DecodeString(string(bytes.TrimSpace(b.sent))); err == nil {
		b.add(inner, "body-hex", "the body was put in hex after it was hashed", hashedInner)
	}
	b.add([]byte(hex.EncodeToString(b.sent)), "body-hex", "the body was hashed in hex", hashedInner)
	b.add([]byte(hex.EncodeToString(sha(b.sent))), "body-prehashed", "the body was hashed before the secret was appended", "hash once: sha256(body followed by secret)")
}

// decompressed is what a body holds as gzip, zlib or bare deflate; nil: it is
// none of them.
func decompressed(body []byte) []byte {
	if r, err := gzip.NewReader(bytes.NewReader(body)); err == nil {
		return unpacked(r)
	}
	if r, err := zlib.NewReader(bytes.NewReader(body)); err == nil {
		return unpacked(r)
	}
	if len(body) == 0 || body[0] == '[' || body[0] == '{' {
		return nil
	}
	return unpacked(flate.NewReader(bytes.NewReader(body)))
}

func unpacked(r io.Reader) []byte {
	out, err := io.ReadAll(io.LimitReader(r, mostBody))
	if err != nil {
		return nil
	}
	return out
}

// texts are the JSON texts that say the same, or nearly so.
func (b *bodies) texts() {
	const escapes = "the body was hashed with other escapes in its strings than it was sent with"
	var escaped bytes.Buffer
	json.HTMLEscape(&escaped, b.sent)
	b.add(escaped.Bytes(), "body-escapes", escapes, fixSame)
	for _, pair := range [][2]string{{`\u003c`, "<"}, {`\u003e`, ">"}, {`\u0026`, "&"}, {`\/`, "/"}, {"/", `\/`}} {
		b.add(bytes.ReplaceAll(b.sent, []byte(pair[0]), []byte(pair[1])), "body-escapes", escapes, fixSame)
	}
	b.add(asciiJSON(b.sent), "body-escapes", escapes, fixSame)
	var inner string
	if json.Unmarshal(b.sent, &inner) == nil {
		b.add([]byte(inner), "body-json-string", "the body was wrapped in a JSON string after it was hashed", fixSame)
	}
	if quoted, err := json.Marshal(string(b.sent)); err == nil {
		b.add(quoted, "body-json-string", "the body was hashed as a JSON string, with quotation marks and escapes", fixSame)
	}
	b.webTexts()
	var value any
	if json.Unmarshal(b.sent, &value) == nil {
		const rewritten = "the body was parsed and written again between hashing and sending: labels in another order, or numbers in another form"
		if sorted, err := json.Marshal(value); err == nil {
			b.add(sorted, "body-rewritten", rewritten, fixSame)
			b.add(spaced(sorted), "body-rewritten", rewritten, fixSame)
		}
	}
	b.add(bytes.ToLower(b.sent), "body-case", "the body was hashed in lower case", fixSame)
	b.add(bytes.ToUpper(b.sent), "body-case", "the body was hashed in upper case", fixSame)
}

// webTexts are what forms and pages make of a text.
func (b *bodies) webTexts() {
	if plain, err := url.QueryUnescape(string(b.sent)); err == nil {
		b.add([]byte(plain), "body-url-encoded", "the body was URL-encoded after it was hashed", fixSame)
	}
	if value, ok := formValue(b.sent); ok {
		b.add(value, "body-form", "the body was put into a form after it was hashed", "send the pack alone, not as a field of a form")
	}
	sent := string(b.sent)
	b.add([]byte(url.QueryEscape(sent)), "body-url-encoded", "the body was hashed URL-encoded", fixSame)
	b.add([]byte(url.PathEscape(sent)), "body-url-encoded", "the body was hashed URL-encoded", fixSame)
	b.add([]byte(html.UnescapeString(sent)), "body-html", "the body was escaped for HTML after it was hashed", fixSame)
	for _, quote := range []string{"&#34;", "&quot;"} {
		b.add([]byte(strings.ReplaceAll(html.EscapeString(sent), "&#34;", quote)), "body-html", "the body was hashed escaped for HTML", fixSame)
	}
}

// formValue is the one field of a form.
func formValue(body []byte) ([]byte, bool) {
	name, value, ok := bytes.Cut(body, []byte("="))
	if !ok || len(name) == 0 || bytes.ContainsAny(name, "[{\"") || bytes.Contains(value, []byte("&")) {
		return nil, false
	}
	plain, err := url.QueryUnescape(string(value))
	return []byte(plain), err == nil
}

// asciiJSON writes every character outside ASCII as \uXXXX, as Python's
// json.dumps does.
func asciiJSON(body []byte) []byte {
	var out []byte
	for _, r := range string(body) {
		if r < utf8.RuneSelf {
			out = append(out, byte(r))
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			out = append(out, '\\', 'u')
			out = hex.AppendEncode(out, []byte{byte(u >> 8), byte(u)})
		}
	}
	return out
}

// cuts are bodies whose length was miscounted.
func (b *bodies) cuts() {
	n := len(b.sent)
	const text, fix = "only a part of the body was hashed", "hash as many bytes as are sent"
	if n > 2 {
		b.add(b.sent[1:n-1], "body-cut", text+": the brackets around it are missing", fix)
		b.add(b.sent[1:], "body-cut", text+": the first byte is missing", fix)
		b.add(b.sent[:n-1], "body-cut", text+": the last byte is missing", fix)
	}
	b.add(b.plus("]"), "body-cut-sent", "the body was sent without its last bracket", "send as many bytes as are hashed")
	b.add(append([]byte("["), b.plus("]")...), "body-cut-sent", "the body was sent without the brackets around it", "send as many bytes as are hashed")
	for _, size := range []int{64, 128, 256, 512, 1024, 2048, 4096} {
		for _, cut := range []int{size, size - 1} {
			if n > cut {
				b.add(b.sent[:cut], "body-cut", text+": the buffer was full", "make the device's buffer for the body larger")
			}
		}
	}
}
