package fleet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// outgoing is a message whose PUBACK is due.
type outgoing struct {
	id     uint16
	number Number
	body   []byte
}

// publisher is one device that publishes numbered messages.
type publisher struct {
	*Numbered
	link    link
	device  Device
	reader  *packetReader
	next    int        // number of the next new message
	lastID  uint16     // packet id of the newest
	pending []outgoing // in the order they were first sent in
}

func (n *Numbered) publishAll(ctx context.Context, d Device) error {
	p := publisher{Numbered: n, link: n.link(), device: d, next: n.cfg.First}
	defer p.link.close()
	var pause time.Duration
	for ctx.Err() == nil && (n.wanted(p.next) || len(p.pending) > 0) {
		before := n.Acked()
		err := p.converse(ctx)
		p.link.close()
		var refused RefusedError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &refused) && refused.Code != 3, errors.Is(err, errProtocol):
			return fmt.Errorf("%s after message %d: %w", d.ID, p.next, err)
		}
		n.breakage()
		if n.Acked() > before {
			pause = 0
		}
		pause = n.pause(pause)
		rest(ctx, pause)
	}
	return nil
}

// converse is one connection: what was not acknowledged on the last one first, then new messages until there are no more.
func (p *publisher) converse(ctx context.Context) (err error) {
	login := Login{ClientID: p.device.ID, Username: p.device.BaseName(), Password: p.device.Secret, Keep: true}
	if p.reader, _, err = handshake(ctx, &p.link, login, 1<<10); err != nil {
		return err
	}
	p.repeat(len(p.pending))
	out := p.append(nil, p.pending, true)
	for {
		out = p.append(out, p.compose(), false)
		if len(p.pending) == 0 {
			_, err = p.link.conn.Write([]byte{packetDisconnect, 0})
			return err
		}
		p.link.extend(time.Now())
		if _, err := p.link.conn.Write(out); err != nil {
			return fmt.Errorf("write publish: %w", err)
		}
		out = out[:0]
		if err := p.settle(); err != nil {
			return err
		}
	}
}

// compose takes as many new messages as the window allows, and returns them.
func (p *publisher) compose() []outgoing {
	old := len(p.pending)
	for len(p.pending) < p.cfg.Window && p.wanted(p.next) {
		if p.lastID++; p.lastID == 0 {
			p.lastID = 1
		}
		number := Number{p.device.ID, p.next}
		p.pending = append(p.pending, outgoing{p.lastID, number, appendNumbered(nil, number, p.cfg.Epoch)})
		p.next++
	}
	return p.pending[old:]
}

func (p *publisher) append(dst []byte, messages []outgoing, dup bool) []byte {
	for _, m := range messages {
		dst = appendPublish(dst, p.device.Topic(), m.id, dup, m.body)
	}
	return dst
}

// settle waits for an acknowledgement and takes all that have come. A PUBACK for a message that is no longer pending is one of
// a repeat, and harmless.
func (p *publisher) settle() error {
	for more := true; more; more = p.reader.buffered() {
		first, rest, err := p.reader.next()
		if err != nil {
			return err
		}
		if first != packetPuback || len(rest) != 2 {
			continue
		}
		id := binary.BigEndian.Uint16(rest)
		for i, m := range p.pending {
			if m.id == id {
				p.ack(m.number)
				p.pending = append(p.pending[:i], p.pending[i+1:]...)
				break
			}
		}
	}
	return nil
}
