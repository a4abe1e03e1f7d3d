package smpp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"m2mbridge/sms/smpp/pdu"
)

// connect gives a session that is bound, and the SMSC's name of itself. The error is a *StatusError if the SMSC refused.
func (c *Client) connect(ctx context.Context) (s *session, smsc string, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ConnectTimeout)
	defer cancel()
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	s = newSession(c, conn)
	smsc, err = s.bind()
	if !stop() {
		err = errors.Join(err, ctx.Err()) // which closed the connection
	}
	if err != nil {
		_ = conn.Close()
		return nil, "", err
	}
	return s, smsc, nil
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	conn, err := c.cfg.Dial(ctx, "tcp", c.cfg.Addr)
	if err != nil || c.cfg.TLS == nil {
		return conn, err
	}
	cfg := c.cfg.TLS.Clone()
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(c.cfg.Addr)
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return secure, nil
}

// bind sends bind_transceiver and reads up to its answer (SMPP 3.4 §4.1.5, §4.1.6). Of what an SMSC may send before, an
// enquire_link is answered; the rest, as an outbind, is of no meaning here.
func (s *session) bind() (smsc string, err error) {
	request := s.cfg.bind(s.table.next())
	if _, err := s.write(request); err != nil {
		return "", fmt.Errorf("send bind: %w", err)
	}
	for {
		f, err := pdu.Read(s.in, s.cfg.MaxPDU)
		if err != nil {
			return "", fmt.Errorf("await answer to bind: %w", err)
		}
		switch {
		case f.Command == pdu.EnquireLink:
			s.respond(f, pdu.StatusOK, nil)
		case f.Sequence == request.Sequence && (f.Command == request.Command.Response() || f.Command == pdu.GenericNack):
			return bindAnswer(f)
		}
	}
}

func bindAnswer(f pdu.Frame) (smsc string, err error) {
	if f.Status != pdu.StatusOK || f.Command == pdu.GenericNack {
		return "", &StatusError{Command: pdu.BindTransceiver, Status: f.Status}
	}
	p, err := f.Decode()
	if err != nil {
		return "", fmt.Errorf("answer to bind: %w", err)
	}
	return p.Body.(*pdu.BindResp).SystemID, nil
}

// readBuffer is the octets that are read from a connection at once.
const readBuffer = 8 << 10

func newSession(c *Client, conn net.Conn) *session {
	_, secure := conn.(*tls.Conn)
	return &session{
		cfg: &c.cfg, throttle: &c.throttle, conn: conn, secure: secure, in: bufio.NewReaderSize(conn, readBuffer),
		table:   table{open: make(map[uint32]*request), late: make(map[uint32]*request)},
		slots:   make(chan struct{}, c.cfg.Window),
		rooms:   make(chan struct{}, queueLimit),
		queue:   make(chan delivery, queueLimit),
		lates:   make(chan Late, lateLimit),
		unbinds: make(chan pdu.Frame, 1),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
}
