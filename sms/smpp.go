package sms

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	"m2mbridge/sms/smpp"
)

// smppGateway is an SMSC over SMPP 3.4.
type smppGateway struct {
	options  Options
	name     string
	client   *smpp.Client
	receipts bool
	window   int
	rate     float64

	mu      sync.Mutex
	state   smpp.State
	changed chan struct{}
	pending map[string]*pending // by reference: under way, or of unknown outcome
	unknown []*pending          // of those the ones of unknown outcome, the oldest first
}

// pending is a message whose answer may come late.
type pending struct {
	Message
	returned chan struct{} // closed when Submit has; then
	ids      []string      // of the parts that were accepted
}

// maxUnknown bounds how many messages of unknown outcome are remembered.
const maxUnknown = 1000

// The ports that are used where the URL names none.
const (
	portSMPP  = "2775" // IANA's
	portSMPPS = "3550" // most operators'; IANA has none
)

// newSMPP reads the URL. No error holds it: it has the password.
func newSMPP(rawURL string, o Options) (*smppGateway, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Opaque != "" || u.Hostname() == "" || u.User == nil || u.Path != "" && u.Path != "/" || u.Fragment != "" {
		return nil, errors.New("it is no URL such as smpp://system_id:password@host:2775?window=10; what is no letter or digit in the password is written as %XX")
	}
	p, err := readParameters(u.RawQuery)
	if err != nil {
		return nil, err
	}
	g := &smppGateway{options: o, changed: make(chan struct{}), state: smpp.State{Reason: smpp.Starting}, pending: map[string]*pending{}}
	cfg := g.config(u, p)
	if err := p.end(); err != nil {
		return nil, err
	}
	g.name = "smpp:" + cfg.SystemID + "@" + cfg.Addr
	g.client, err = smpp.New(cfg)
	return g, err
}

func (g *smppGateway) config(u *url.URL, p *parameters) smpp.Config {
	password, _ := u.User.Password()
	port := u.Port()
	if port == "" {
		port = map[string]string{"smpp": portSMPP, "smpps": portSMPPS}[u.Scheme]
	}
	g.window, g.rate = p.number("window", 10, 1, 1000), p.rate("rate")
	g.receipts = p.choice("receipts", "on", "off") == 0
	cfg := smpp.Config{
		Addr: net.JoinHostPort(u.Hostname(), port), SystemID: u.User.Username(), Password: password,
		SystemType: p.take("systemType", ""), ServiceType: p.take("serviceType", ""), Window: g.window,
		Alphabet:        smpp.Alphabet(p.choice("alphabet", "gsm", "gsm-packed", "latin1", "ascii")),
		Long:            smpp.Long(p.choice("long", "udh", "sar", "payload")),
		ResponseTimeout: p.duration("timeout", 10*time.Second, time.Second, 5*time.Minute),
		Receipt:         g.receipt, Late: g.late, Changed: g.change,
	}
	if u.Scheme == "smpps" {
		cfg.TLS = smppTLS(p)
	}
	return cfg
}

// smppTLS reads the parameters that only smpps has.
func smppTLS(p *parameters) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: p.choice("insecureSkipVerify", "false", "true") == 1}
	if file := p.take("ca", ""); file != "" {
		text, err := os.ReadFile(file)
		if cfg.RootCAs = x509.NewCertPool(); err != nil {
			p.errs = append(p.errs, fmt.Errorf("parameter ca: %w", err))
		} else if !cfg.RootCAs.AppendCertsFromPEM(text) {
			p.fail("ca", "%s holds no certificate in PEM form", file)
		}
	}
	return cfg
}

// Name is of [Gateway].
func (g *smppGateway) Name() string { return g.name }

// Limits is of [Limited].
func (g *smppGateway) Limits() (window int, rate float64) { return g.window, g.rate }

// Run is of [Gateway].
func (g *smppGateway) Run(ctx context.Context) error { return g.client.Run(ctx) }

// Ready is of [Gateway].
func (g *smppGateway) Ready() (bool, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state.Bound, g.changed
}

// Why is the reason why it is not ready, for the log of [Circuit].
func (g *smppGateway) Why() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state.Err == nil {
		return string(g.state.Reason)
	}
	return string(g.state.Reason) + ": " + g.state.Err.Error()
}

func (g *smppGateway) change(s smpp.State) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state = s
	close(g.changed)
	g.changed = make(chan struct{})
}

// Submit is of [Gateway].
func (g *smppGateway) Submit(ctx context.Context, m Message) (Accepted, error) {
	if m.From == "" {
		m.From = g.options.Originator
	}
	key := reference(m)
	p := g.begin(m)
	ids, err := g.client.Submit(ctx, smpp.Submit{
		Key: key, Source: m.From, Destination: m.To, Text: m.Text, Data: m.Data, ValidityPeriod: m.Validity, RegisteredDelivery: g.receipts,
	})
	a, err := g.outcome(ids, err)
	g.end(p, ids, errors.Is(err, ErrUnknown))
	return a, err
}

// begin remembers a message for what may come late.
func (g *smppGateway) begin(m Message) *pending {
	p := &pending{Message: m, returned: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pending[reference(m)] = p
	return p
}

// end forgets it, unless its outcome is unknown; of those there is a bound.
func (g *smppGateway) end(p *pending, ids []string, unknown bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p.ids = ids
	close(p.returned)
	if !unknown {
		g.forget(p)
		return
	}
	g.unknown = append(g.unknown, p)
	if len(g.unknown) > maxUnknown {
		g.forget(g.unknown[0])
		g.unknown[0] = nil
		g.unknown = g.unknown[1:]
	}
}

func (g *smppGateway) forget(p *pending) {
	if key := reference(p.Message); g.pending[key] == p {
		delete(g.pending, key)
	}
}

// outcome makes one of the four of what the client says.
func (g *smppGateway) outcome(ids []string, err error) (Accepted, error) {
	var status *smpp.StatusError
	var partial *smpp.PartialError
	switch {
	case err == nil:
		return g.accepted(ids), nil
	case errors.As(err, &status):
		return Accepted{}, g.refusal(status)
	case errors.As(err, &partial):
		return Accepted{}, g.partial(partial)
	case errors.Is(err, smpp.ErrInvalid):
		return Accepted{}, &Refusal{Class: Permanent, Code: "invalid", Text: "SMPP cannot express the message"}
	case errors.Is(err, smpp.ErrThrottled):
		return Accepted{}, &Refusal{Class: Throttled, Code: "ESME_RTHROTTLED"}
	case errors.Is(err, smpp.ErrNotSent):
		return Accepted{}, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	return Accepted{}, fmt.Errorf("%w: %w", ErrUnknown, err)
}

// accepted has the ids in the form that receipts are looked up by.
func (g *smppGateway) accepted(ids []string) Accepted {
	a := Accepted{Receipts: g.receipts}
	for _, id := range ids {
		if forms := smpp.IDForms(id); len(forms) > 0 {
			a.IDs = append(a.IDs, forms[0])
		}
	}
	if g.receipts && len(a.IDs) < len(ids) {
		a.Receipts, a.Note = false, "the SMSC gave no id: its receipts cannot be told apart"
	}
	return a
}

func (g *smppGateway) refusal(e *smpp.StatusError) *Refusal {
	name, number := e.Status.String(), fmt.Sprintf("0x%08X", uint32(e.Status))
	class, ok := g.options.Classes.Of(name, number)
	if !ok {
		class = Class(e.Class().String()) // the same three words
	}
	return &Refusal{Class: class, Code: name}
}

// partial is of a long message of which some parts were accepted: it was an attempt, and no device can read it. Only if its last part
// may have arrived it may have arrived as a whole.
func (g *smppGateway) partial(e *smpp.PartialError) error {
	text := fmt.Sprintf("%d of %d parts accepted", len(e.IDs), e.Parts)
	var status *smpp.StatusError
	switch {
	case errors.As(e.Err, &status):
		r := g.refusal(status)
		if r.Class == Throttled {
			r.Class = Temporary
		}
		r.Text = text
		return r
	case errors.Is(e.Err, smpp.ErrUnknown) && len(e.IDs) == e.Parts-1:
		return fmt.Errorf("%w: %s", ErrUnknown, text)
	}
	return &Refusal{Class: Temporary, Code: "partial", Text: text}
}

// late takes the answer to a part of a message of unknown outcome.
func (g *smppGateway) late(ctx context.Context, l smpp.Late) {
	g.mu.Lock()
	p := g.pending[l.Key]
	g.mu.Unlock()
	if p == nil || g.options.Receive.Late == nil {
		return
	}
	select {
	case <-p.returned: // the client has given it up: this is a moment at most
	case <-ctx.Done():
		return
	}
	g.mu.Lock()
	g.forget(p)
	g.mu.Unlock()
	a, err := g.outcome(p.whole(l))
	g.options.Receive.Late(ctx, g.name, p.Message, a, err)
}

// whole is what a late answer to one part means for the message: no part behind it was sent.
func (p *pending) whole(l smpp.Late) (ids []string, err error) {
	if l.Err == nil {
		ids = append(p.ids[:len(p.ids):len(p.ids)], l.ID)
	}
	switch {
	case l.Err == nil && l.Part < l.Parts:
		return ids, &smpp.PartialError{IDs: ids, Parts: l.Parts, Err: smpp.ErrNotSent}
	case l.Err != nil && l.Part > 1:
		return p.ids, &smpp.PartialError{IDs: p.ids, Parts: l.Parts, Err: l.Err}
	}
	return ids, l.Err
}

// receipt takes one. The SMSC sends it again if there is an error.
func (g *smppGateway) receipt(ctx context.Context, r smpp.Receipt) error {
	if g.options.Receive.Receipt == nil {
		return nil
	}
	if r.ID == "" {
		g.options.Log.Debug("receipt without an id", "gateway", g.name, "state", r.State.String())
		return nil
	}
	return g.options.Receive.Receipt(ctx, g.name, g.received(r))
}

// smppStates are the states by SMPP's names (3.4 §5.2.28). What a receipt does not say leaves it open.
func smppState(s smpp.MessageState) ReceiptState {
	switch s {
	case smpp.StateDelivered:
		return Delivered
	case smpp.StateExpired:
		return ExpiredSMS
	case smpp.StateDeleted:
		return Deleted
	case smpp.StateUndeliverable:
		return Undelivered
	case smpp.StateAccepted:
		return AcceptedSMS
	case smpp.StateUnknown:
		return Unknown
	case smpp.StateRejected:
		return Rejected
	}
	return Enroute
}

// received has no time: an SMSC's is in a zone that it does not tell.
func (g *smppGateway) received(r smpp.Receipt) Receipt {
	state := smppState(r.State)
	if r.Intermediate {
		state = Enroute
	}
	forms := smpp.IDForms(r.ID)
	if len(forms) == 0 || forms[0] != r.ID {
		forms = append(forms, r.ID)
	}
	code := r.Err
	if r.NetworkError.Network != 0 {
		code = strconv.Itoa(int(r.NetworkError.Code))
	}
	return g.options.classed(Receipt{ID: r.ID, Forms: forms, To: digits(r.Source.Value), State: state, Class: state.Class(), Code: code})
}
