package smpptest

import (
	"net"
	"strconv"
	"sync"

	"m2mbridge/sms/smpp/pdu"
)

// Handler is given each PDU of a connection in turn.
type Handler func(c *Conn, p pdu.PDU)

// Conn is one client's connection.
type Conn struct {
	Answers chan pdu.PDU // the responses of the client, if Serve got them: the first 1000 that wait

	smsc *SMSC
	conn net.Conn
	out  chan []byte // written in turn: the handler does not wait for the client
	shut sync.Once
	done chan struct{}

	mu       sync.Mutex
	id       int    // the last message id
	sequence uint32 // the last sequence_number
}

func newConn(s *SMSC, conn net.Conn) *Conn {
	return &Conn{smsc: s, conn: conn, Answers: make(chan pdu.PDU, 1000), out: make(chan []byte, 10000), done: make(chan struct{})}
}

// Serve is the handler that does what all want: binds are welcome, submits get the ids 1, 2, …, an unbind ends the
// connection.
func Serve(c *Conn, p pdu.PDU) {
	switch p.Command {
	case pdu.BindTransceiver:
		c.Answer(p, pdu.StatusOK, &pdu.BindResp{SystemID: "smpptest"})
		c.smsc.wasBound(c)
	case pdu.SubmitSM:
		c.Answer(p, pdu.StatusOK, &pdu.MessageResp{MessageID: c.NextID()})
	case pdu.EnquireLink:
		c.Answer(p, pdu.StatusOK, nil)
	case pdu.Unbind:
		c.Answer(p, pdu.StatusOK, nil)
		c.Raw(nil)
	default:
		c.answered(p)
	}
}

// answered keeps a response; beyond 1000 that no test takes they are dropped.
func (c *Conn) answered(p pdu.PDU) {
	select {
	case c.Answers <- p:
	default:
	}
}

// NextID is a message id that no other submit of the connection had.
func (c *Conn) NextID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.id++
	return strconv.Itoa(c.id)
}

// Answer responds to a request of the client.
func (c *Conn) Answer(p pdu.PDU, status pdu.Status, body pdu.Body) {
	c.Send(pdu.PDU{Command: p.Command.Response(), Status: status, Sequence: p.Sequence, Body: body})
}

// Request sends a request with a sequence_number of its own, which it gives.
func (c *Conn) Request(command pdu.Command, body pdu.Body) (sequence uint32) {
	c.mu.Lock()
	c.sequence++
	sequence = c.sequence
	c.mu.Unlock()
	c.Send(pdu.PDU{Command: command, Sequence: sequence, Body: body})
	return sequence
}

// Send sends a PDU as it is.
func (c *Conn) Send(p pdu.PDU) {
	b, err := p.Append(nil)
	if err != nil {
		c.smsc.t.Errorf("SMSC: %v", err)
		return
	}
	c.Raw(b)
}

// Raw sends octets; nil ends the connection behind what was sent before.
func (c *Conn) Raw(b []byte) {
	select {
	case c.out <- b:
	case <-c.done:
	}
}

// Close ends the connection at once, whatever waits to be sent.
func (c *Conn) Close() {
	c.shut.Do(func() {
		close(c.done)
		_ = c.conn.Close()
	})
}

// Done is closed when the connection has ended, from either side.
func (c *Conn) Done() <-chan struct{} { return c.done }

func (c *Conn) read() {
	defer c.Close()
	for {
		f, err := pdu.Read(c.conn, pdu.DefaultLimit)
		if err != nil {
			return
		}
		p, err := f.Decode()
		if err != nil {
			c.smsc.t.Errorf("SMSC: %v", err)
		}
		c.smsc.handle(c, p)
	}
}

func (c *Conn) write() {
	defer c.Close()
	for {
		select {
		case b := <-c.out:
			if b == nil {
				return
			}
			if _, err := c.conn.Write(b); err != nil {
				return
			}
		case <-c.done:
			return
		}
	}
}
