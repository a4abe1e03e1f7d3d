package sms

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DefaultOriginator is whom the device sees as the sender, by the seed document.
const DefaultOriginator = "5277"

// MaxTimeout is how long a gateway may wait for an answer: who submits claims a message for little more.
const MaxTimeout = 20 * time.Second

// Options are what gateways of all kinds need. The zero value is of use.
type Options struct {
	Originator string                   // of messages that name none; "": DefaultOriginator
	Classes    Classes                  // over the defaults, of ParseClasses
	Log        *slog.Logger             // nil: nothing is logged
	Receive    Receive                  // what it tells by itself; a nil function is not called
	OnSMS      func(Message)            // what a loopback gateway shows; it is called before the SMS is accepted, and must not wait
	Now        func() time.Time         // nil: time.Now
	Getenv     func(name string) string // of the secrets that a file names; nil: os.Getenv
}

func (o Options) withDefaults() Options {
	if o.Originator == "" {
		o.Originator = DefaultOriginator
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	return o
}

// classed is a receipt with the class that the user gave its code, as err:001.
func (o Options) classed(r Receipt) Receipt {
	if class, ok := o.Classes.Of("err:" + r.Code); ok && r.Class != "" {
		r.Class = class
	}
	return r
}

// CheckOriginator tells whether a device can be shown it as the sender: 3 to 15 digits, or up to 11 letters and digits of the GSM
// alphabet that ASCII has too, not only digits (3GPP TS 23.040 §9.1.2.5).
func CheckOriginator(text string) error {
	plain := strings.ContainsFunc(text, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == ' ' || r == '-' || r == '.')
	})
	switch {
	case isDigits(text) && len(text) >= 3 && len(text) <= 15:
		return nil
	case isDigits(text) || plain || text == "" || len(text) > 11 || strings.TrimSpace(text) != text:
		return fmt.Errorf("originator %q: it is neither 3 to 15 digits nor up to 11 letters and digits", text)
	}
	return nil
}

// Open makes the gateway that a URL names:
//
//	loopback:?receipt=delivered&after=2s   shows the SMS in the log, and makes a receipt (delivered, undelivered, expired, rejected, none)
//	http:FILE.toml                         an operator's HTTP API, as the file says (see testdata/kannel.toml and testdata/rest.toml)
//	smpp://system_id:password@host:2775?…  an SMSC over SMPP 3.4; smpps:// for TLS
//
// The parameters of SMPP, all of which may be left out:
//
//	window=10                   submits without an answer at once, 1 to 1000
//	rate=0                      submits each second; 0: no limit
//	receipts=on                 off: none are asked for, and an SMS that the SMSC took is all that there is to know
//	alphabet=gsm                what the SMSC takes data_coding 0 for: gsm, gsm-packed, latin1, ascii
//	long=udh                    how long messages are cut: udh, sar, payload
//	systemType= serviceType=    as the operator says
//	timeout=10s                 for an answer, 1s to 5m
//	ca=FILE                     of smpps: PEM file of the certificates to trust instead of the system's
//	insecureSkipVerify=false    of smpps: true takes any certificate, and so anybody
//
// All but loopback are behind a [Circuit]. An error names what is wrong in the URL or file, and holds no password.
func Open(rawURL string, o Options) (Gateway, error) {
	o = o.withDefaults()
	if err := CheckOriginator(o.Originator); err != nil {
		return nil, err
	}
	scheme, rest, ok := strings.Cut(rawURL, ":")
	if !ok {
		return nil, errors.New("sms gateway: it is no URL such as loopback:, http:FILE.toml or smpp://system_id:password@host:2775")
	}
	switch scheme {
	case "loopback":
		g, err := newLoopback(strings.TrimPrefix(rest, "?"), o)
		if err != nil {
			return nil, fmt.Errorf("sms gateway loopback: %w", err)
		}
		return g, nil
	case "http":
		if strings.HasPrefix(rest, "//") || rest == "" {
			return nil, errors.New("sms gateway http: it is not an address that follows, but a file: http:FILE.toml")
		}
		g, err := loadHTTP(rest, o)
		if err != nil {
			return nil, fmt.Errorf("sms gateway http:%s: %w", rest, err)
		}
		return NewCircuit(g, o.Log), nil
	case "smpp", "smpps":
		g, err := newSMPP(rawURL, o)
		if err != nil {
			return nil, fmt.Errorf("sms gateway %s: %w", scheme, err)
		}
		return NewCircuit(g, o.Log), nil
	}
	return nil, fmt.Errorf("sms gateway %.20q: it is none of loopback, http, smpp, smpps", scheme)
}

// parameters are those of a gateway's URL; whoever reads one takes it out.
type parameters struct {
	values url.Values
	errs   []error
}

func readParameters(query string) (*parameters, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, errors.New("what follows the ? is no list such as a=b&c=d") // the error itself would quote it
	}
	return &parameters{values: values}, nil
}

// take is the parameter's value, or what it is without.
func (p *parameters) take(name, without string) string {
	values, ok := p.values[name]
	delete(p.values, name)
	switch {
	case !ok:
		return without
	case len(values) > 1:
		p.fail(name, "it is given twice")
	}
	return values[0]
}

func (p *parameters) fail(name, format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf("parameter %s: "+format, append([]any{name}, args...)...))
}

// duration takes one from least to most.
func (p *parameters) duration(name string, without, least, most time.Duration) time.Duration {
	text := p.take(name, without.String())
	d, err := parseUnsigned(text)
	if err != nil || d < least || d > most {
		p.fail(name, "%.40q is no duration from %s to %s", text, shortDuration(least), shortDuration(most))
	}
	return d
}

// number takes a whole number from least to most.
func (p *parameters) number(name string, without, least, most int) int {
	text := p.take(name, strconv.Itoa(without))
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		p.fail(name, "%.40q is no whole number from %d to %d", text, least, most)
	}
	return n
}

// rate takes how often a second something may be; 0: there is no limit.
func (p *parameters) rate(name string) float64 {
	text := p.take(name, "0")
	rate, err := strconv.ParseFloat(text, 64)
	if err != nil || !(rate >= 0 && rate <= 100_000) {
		p.fail(name, "%.40q is no number from 0 to 100000", text)
	}
	return rate
}

// choice takes one of some words, the first being what it is without, and gives its place.
func (p *parameters) choice(name string, words ...string) int {
	text := p.take(name, words[0])
	i := slices.Index(words, text)
	if i < 0 {
		p.fail(name, "%.40q is none of %s", text, strings.Join(words, ", "))
		return 0
	}
	return i
}

// end is what was wrong, parameters that nobody took included.
func (p *parameters) end() error {
	for name := range p.values {
		p.errs = append(p.errs, fmt.Errorf("unknown parameter %.40q", name))
	}
	return errors.Join(p.errs...)
}

// Limited is what a gateway is besides that knows how much it may be given at once; find out with [As].
type Limited interface {
	// Limits are how many messages may be unanswered at once, 0 meaning any number, and how many may be submitted each second, 0
	// meaning no limit. Who calls Submit keeps them.
	Limits() (window int, rate float64)
}

// As finds what else a gateway is, looking through what it is wrapped in.
func As[T any](g Gateway) (T, bool) {
	for {
		if t, ok := g.(T); ok {
			return t, true
		}
		wrapped, ok := g.(interface{ Unwrap() Gateway })
		if !ok {
			var none T
			return none, false
		}
		g = wrapped.Unwrap()
	}
}
