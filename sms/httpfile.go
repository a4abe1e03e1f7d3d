package sms

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// httpFile is the TOML file of an HTTP gateway; testdata has two that say what each key does.
type httpFile struct {
	Name     string
	Timeout  tomlDuration
	Window   int
	Rate     float64
	Secrets  map[string]httpSecret
	Text     *httpRequestKeys // how a message of text is sent; none: it is refused
	Data     *httpRequestKeys // and one of octets
	Answer   httpAnswerKeys
	Refused  []httpRule
	Receipts httpReceiptKeys
	TLS      struct{ CA, Cert, Key string }
}

type httpSecret struct{ Env, File string }

// httpAnswerKeys say what an answer is that accepts a message.
type httpAnswerKeys struct {
	Status     []statusKey // none: 2xx
	Match      *tomlRegexp // and the body has this in it
	IDJSON     *tomlPath   `toml:"id_json"`
	IDHeader   string      `toml:"id_header"`
	IDMatch    *tomlRegexp `toml:"id_match"`
	IDOwn      bool        `toml:"id_own"` // {{reference}} is the id that receipts have
	ReasonJSON *tomlPath   `toml:"reason_json"`
}

type httpRequestKeys struct {
	Method, URL          string
	Basic                string
	Headers, Query, Form map[string]string
	JSON                 string
}

// httpRule is a refusal: all that it names has to be so.
type httpRule struct {
	Status []statusKey
	JSON   *tomlPath
	Value  []string // of JSON; none: it is there
	Match  *tomlRegexp
	Class  Class
	Code   string // what it is called; "": the value of JSON, else the status
}

type httpReceiptKeys struct {
	Kind                    string // none, webhook
	Secret, Header, Query   string
	Callback                string
	Fields                  string // query, form, json
	Items                   *tomlPath
	ID, To, State, Code, At *tomlPath
	States                  map[string]stateKey
}

type tomlDuration time.Duration

func (d *tomlDuration) UnmarshalText(text []byte) error {
	parsed, err := parseUnsigned(string(text))
	*d = tomlDuration(parsed)
	return err
}

type tomlRegexp struct{ *regexp.Regexp }

func (r *tomlRegexp) UnmarshalText(text []byte) (err error) {
	if r.Regexp, err = regexp.Compile(string(text)); err != nil {
		return fmt.Errorf("%q is no regular expression: %w", text, err)
	}
	return nil
}

type tomlPath struct{ jsonPath }

func (p *tomlPath) UnmarshalText(text []byte) (err error) {
	if p.jsonPath, err = parsePath(string(text)); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	return nil
}

// path is the path of a key that may be missing, which leads nowhere.
func (p *tomlPath) text(v any) string {
	if p == nil {
		return ""
	}
	return p.jsonPath.text(v)
}

// statusKey is a status, 200, or a hundred of them, "2xx".
type statusKey struct{ from, to int }

func (s *statusKey) UnmarshalTOML(v any) error {
	switch v := v.(type) {
	case int64:
		if v >= 100 && v <= 599 {
			*s = statusKey{int(v), int(v)}
			return nil
		}
	case string:
		if hundred, ok := strings.CutSuffix(v, "xx"); ok && len(hundred) == 1 && hundred >= "1" && hundred <= "5" {
			n := int(hundred[0]-'0') * 100
			*s = statusKey{n, n + 99}
			return nil
		}
	}
	return fmt.Errorf("%v is no status such as 200 or \"2xx\"", v)
}

func hasStatus(list []statusKey, status int) bool {
	return slices.ContainsFunc(list, func(s statusKey) bool { return status >= s.from && status <= s.to })
}

// UnmarshalText reads the class of a rule.
func (c *Class) UnmarshalText(text []byte) (err error) {
	*c, err = parseClass(string(text))
	return err
}

// stateKey is a state of receipts and what it means: "UNDELIVERED", or "REJECTED temporary".
type stateKey struct {
	state ReceiptState
	class Class
}

func (s *stateKey) UnmarshalText(text []byte) (err error) {
	state, class, more := strings.Cut(string(text), " ")
	s.state, s.class = ReceiptState(state), ReceiptState(state).Class()
	if !slices.Contains(receiptStates, s.state) {
		return fmt.Errorf("%q is none of %s", state, joinStates())
	}
	if more {
		s.class, err = parseClass(class)
	}
	return err
}

func joinStates() string {
	var names []string
	for _, s := range receiptStates {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}
