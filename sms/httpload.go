package sms

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// Bounds of what an HTTP gateway does.
const (
	defaultTimeout = 15 * time.Second
	defaultWindow  = 8
	maxAnswer      = 64 << 10 // octets that are read of an answer, and of a receipt
	minSecret      = 16       // characters of a webhook's
)

// loadHTTP reads the file of an HTTP gateway, and all that it names. Errors name the key and no secret.
func loadHTTP(file string, o Options) (*httpGateway, error) {
	var f httpFile
	meta, err := toml.DecodeFile(file, &f)
	if err != nil {
		return nil, err
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		var keys []string
		for _, k := range unknown {
			keys = append(keys, k.String())
		}
		return nil, fmt.Errorf("unknown key %s", strings.Join(keys, ", "))
	}
	g := &httpGateway{options: o, answer: f.Answer, refused: f.Refused, timeout: time.Duration(f.Timeout), window: f.Window, rate: f.Rate, own: f.Answer.IDOwn}
	if g.secrets, err = readSecrets(f.Secrets, filepath.Dir(file), o.Getenv); err != nil {
		return nil, err
	}
	if g.receipts, err = newHTTPReceipts(f.Receipts, g); err != nil {
		return nil, fmt.Errorf("receipts: %w", err)
	}
	if f.Text == nil && f.Data == nil {
		return nil, errors.New("it has neither [text] nor [data]")
	}
	for _, r := range []struct {
		name   string
		keys   *httpRequestKeys
		of     **httpRequest
		others []string
	}{{"text", f.Text, &g.text, dataNames}, {"data", f.Data, &g.data, textNames}} {
		if *r.of, err = g.newRequest(r.keys, r.others); err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
	}
	if err := g.check(&f); err != nil {
		return nil, err
	}
	if g.transport, err = newTransport(f.TLS.CA, f.TLS.Cert, f.TLS.Key, filepath.Dir(file)); err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return g, nil
}

func (g *httpGateway) check(f *httpFile) error {
	if g.timeout == 0 {
		g.timeout = defaultTimeout
	}
	if g.window == 0 {
		g.window = defaultWindow
	}
	if len(g.answer.Status) == 0 {
		g.answer.Status = []statusKey{{200, 299}}
	}
	if g.name = f.Name; g.name == "" {
		g.name = "http:" + g.host()
	}
	ways := 0
	for _, there := range []bool{f.Answer.IDJSON != nil, f.Answer.IDHeader != "", f.Answer.IDMatch != nil, f.Answer.IDOwn} {
		if there {
			ways++
		}
	}
	switch {
	case g.timeout < time.Second || g.timeout > MaxTimeout:
		return fmt.Errorf("timeout: it is not 1s to %s", MaxTimeout)
	case g.window < 1 || g.window > 1000:
		return errors.New("window: it is not 1 to 1000")
	case g.rate < 0:
		return errors.New("rate: it is below 0")
	case ways > 1:
		return errors.New("answer: give one of id_json, id_header, id_match, id_own")
	case g.receipts != nil && ways == 0:
		return errors.New("answer: receipts need an id: give id_json, id_header, id_match or id_own")
	case f.Answer.IDMatch != nil && f.Answer.IDMatch.NumSubexp() != 1:
		return errors.New("answer.id_match: it has not one group in brackets, which is the id")
	}
	for i, r := range f.Refused {
		switch {
		case r.Class == "":
			return fmt.Errorf("refused[%d].class: it is missing: temporary, permanent or throttled", i)
		case len(r.Status) == 0 && r.JSON == nil && r.Match == nil:
			return fmt.Errorf("refused[%d]: it names no status, json or match", i)
		case len(r.Value) > 0 && r.JSON == nil:
			return fmt.Errorf("refused[%d].value: it is of json, which is missing", i)
		case r.Code != "" && !codeForm.MatchString(r.Code):
			return fmt.Errorf("refused[%d].code: %q is no code such as E104", i, r.Code)
		}
	}
	return nil
}

// host is that of the address, for the gateway's name.
func (g *httpGateway) host() string {
	for _, r := range []*httpRequest{g.text, g.data} {
		if r != nil {
			if u, err := url.Parse(r.url.renderURL(func(string) string { return "x" })); err == nil {
				return u.Host
			}
		}
	}
	return ""
}

// readSecrets has each from an environment variable, or a file, whose last line end is none of it.
func readSecrets(keys map[string]httpSecret, dir string, getenv func(string) string) (map[string]string, error) {
	secrets := map[string]string{}
	for name, s := range keys {
		var value string
		switch {
		case (s.Env == "") == (s.File == ""):
			return nil, fmt.Errorf("secrets.%s: give either env, the name of a variable, or file", name)
		case s.Env != "":
			if value = getenv(s.Env); value == "" {
				return nil, fmt.Errorf("secrets.%s: the variable %s is not set", name, s.Env)
			}
		default:
			text, err := os.ReadFile(from(dir, s.File))
			if err != nil {
				return nil, fmt.Errorf("secrets.%s: %w", name, err)
			}
			if value = strings.TrimRight(string(text), "\r\n"); value == "" {
				return nil, fmt.Errorf("secrets.%s: the file %s is empty", name, s.File)
			}
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, fmt.Errorf("secrets.%s: it holds a control character", name)
		}
		secrets[name] = value
	}
	return secrets, nil
}

// from is a file's name, where it is relative from where the gateway's file is.
func from(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// rawName are octets as they are, which JSON cannot hold.
const rawName = "data_raw"

// The placeholders.
var (
	textNames     = []string{"text", "coding"}
	dataNames     = []string{"data_hex", "data_base64", rawName}
	messageNames  = []string{"to", "from", "id", "attempt", "reference", "validity_seconds", "validity_minutes"}
	callbackNames = []string{"id", "attempt", "reference"}
)

// known refuses placeholders that are none of names, nor a secret.
func (g *httpGateway) known(names ...string) func(string) error {
	return func(name string) error {
		if secret, ok := strings.CutPrefix(name, "secret."); ok {
			if _, ok := g.secrets[secret]; !ok {
				return fmt.Errorf("{{%s}}: [secrets] has no %q", name, secret)
			}
			return nil
		}
		if !slices.Contains(names, name) {
			return fmt.Errorf("{{%s}}: there is no such placeholder here, but %s and secret.NAME", name, strings.Join(names, ", "))
		}
		return nil
	}
}

func (g *httpGateway) newRequest(k *httpRequestKeys, others []string) (*httpRequest, error) {
	if k == nil {
		return nil, nil
	}
	names := slices.Clone(messageNames)
	if g.receipts != nil && g.receipts.callback != nil {
		names = append(names, "callback")
	}
	inHeader := g.known(names...)
	for _, of := range [][]string{textNames, dataNames} {
		if !slices.Equal(of, others) {
			names = append(names, of...)
		}
	}
	known := g.known(names...)
	r := &httpRequest{method: k.Method}
	if r.method == "" {
		r.method = http.MethodPost
	}
	var err error
	if r.url, err = parseURL(k.URL, known); err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	if r.query, err = parseTemplates(k.Query, known); err != nil {
		return nil, fmt.Errorf("query.%w", err)
	}
	if r.form, err = parseTemplates(k.Form, known); err != nil {
		return nil, fmt.Errorf("form.%w", err)
	}
	// The text of an SMS may hold what a header cannot.
	if r.header, err = parseTemplates(k.Headers, inHeader); err != nil {
		return nil, fmt.Errorf("headers.%w", err)
	}
	if r.basic, err = parseTemplate(k.Basic, inHeader); err != nil {
		return nil, fmt.Errorf("basic: %w", err)
	}
	if k.JSON != "" {
		if r.json, err = parseJSON(k.JSON, known); err != nil {
			return nil, fmt.Errorf("json: %w", err)
		}
	}
	return r, r.check(k)
}

func (r *httpRequest) check(k *httpRequestKeys) error {
	switch {
	case !slices.Contains([]string{http.MethodGet, http.MethodPost, http.MethodPut}, r.method):
		return fmt.Errorf("method: %q is none of GET, POST, PUT", r.method)
	case len(r.form) > 0 && r.json != nil:
		return errors.New("give form or json, not both")
	case r.method == http.MethodGet && (len(r.form) > 0 || r.json != nil):
		return errors.New("method: GET has no body; use query")
	case k.Basic != "" && !strings.Contains(k.Basic, ":"):
		return errors.New("basic: it is not of the form USER:{{secret.NAME}}")
	}
	for name, t := range r.header {
		if !headerName.MatchString(name) || slices.Contains([]string{"host", "content-length", "transfer-encoding", "connection"}, strings.ToLower(name)) {
			return fmt.Errorf("headers.%s: it is no header that may be set", name)
		}
		for _, p := range t {
			if strings.ContainsFunc(p.literal, func(r rune) bool { return r < ' ' || r > '~' }) {
				return fmt.Errorf("headers.%s: it holds what is no printable ASCII", name)
			}
		}
	}
	return nil
}

var headerName = regexp.MustCompile(`^[0-9A-Za-z-]+$`)

// newTransport makes a connection for each message: on one that is kept, nobody could tell whether a message was lost with it, and
// net/http would send a GET of its own accord again, which is a second SMS.
func newTransport(ca, cert, key, dir string) (*http.Transport, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		text, err := os.ReadFile(from(dir, ca))
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("ca: %s holds no certificate in PEM form", ca)
		}
	}
	if (cert == "") != (key == "") {
		return nil, errors.New("cert and key go together")
	}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(from(dir, cert), from(dir, key))
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, DisableKeepAlives: true, DisableCompression: true,
		MaxResponseHeaderBytes: maxAnswer, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1 only
	}, nil
}

// statusCode is how a status is called as a code.
func statusCode(status int) string { return strconv.Itoa(status) }
