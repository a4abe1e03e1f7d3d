package sms

import (
	"context"
	"errors"
	"fmt"
	"sync"

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
		if forms := Forms(id); len(forms) > 0 {
			a.IDs = append(a.IDs, forms[0])
		}
	}
	if g.receipts && len(a.IDs) < len(ids) {
		a.Note = "the SMSC gave no id: no receipt can be told to be of it"
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
