package smpp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"m2mbridge/sms/smpp/pdu"
)

// Config is what a client is made of. Zero means the default where one is named.
type Config struct {
	Addr       string      // host:port of the SMSC
	TLS        *tls.Config // nil: plain TCP. An empty ServerName is taken from Addr
	SystemID   string      // at most 64 octets; the specification has 15
	Password   string      // at most 64 octets; the specification has 8
	SystemType string      // at most 12 octets

	// Dial replaces net.Dialer.DialContext. TLS goes on top of what it gives. A Write of its connections that gives 0 and an
	// error must have sent nothing, as TCP's does: ErrNotSent rests on that.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	Window int // submits without an answer at once; 10
	MaxPDU int // octets of the longest PDU that is read; 64 KiB

	ServiceType     string       // of all messages, as CMT; at most 5 octets
	Alphabet        Alphabet     // what the SMSC takes data_coding 0 for
	Long            Long         // how long messages are cut
	SourceType      *AddressType // of all sources; nil: chosen for each
	DestinationType *AddressType // of all destinations; nil: chosen for each

	ConnectTimeout  time.Duration // for connection, TLS and bind together; 15 s
	ResponseTimeout time.Duration // for an answer, for a write, and for what is under way at the end; 10 s
	EnquireLink     time.Duration // between two enquire_link; 30 s
	CallbackTimeout time.Duration // of the contexts of Receipt, Message and Late; 10 s, which SMSCs wait for an answer

	Backoff        time.Duration // before the second attempt to bind, then doubled each time; 1 s
	BackoffMax     time.Duration // which it grows to, and a session must outlast to begin anew; 1 min
	RefusedBackoff time.Duration // as Backoff, when system_id, password or bind were refused; 5 min
	RefusedMax     time.Duration // which that grows to; 1 h

	Pause    time.Duration // of submits after the SMSC throttles, then doubled each time; 1 s
	PauseMax time.Duration // which it grows to; 1 min

	// Receipt is given delivery receipts, one after the other. The SMSC is told that a receipt was taken only when it returns
	// nil, and to send it again when it does not. nil: receipts are taken and forgotten.
	Receipt func(context.Context, Receipt) error
	// Message is given messages from phones, in turn with receipts and in the same manner.
	Message func(context.Context, Inbound) error
	// Late is given answers that came after Submit had given up, one after the other, as long as the session lasts and the
	// submit is among the last 1000 without an answer. While a call takes so long that 1000 more wait, further ones are dropped.
	Late func(context.Context, Late)
	// Changed is told of each change of state, one after the other. It must not block: the session waits for it.
	Changed func(State)
}

// withDefaults is the configuration with a value in place of each zero.
func (c Config) withDefaults() Config {
	ints := map[*int]int{&c.Window: 10, &c.MaxPDU: pdu.DefaultLimit}
	for at, value := range ints {
		if *at == 0 {
			*at = value
		}
	}
	durations := map[*time.Duration]time.Duration{
		&c.ConnectTimeout: 15 * time.Second, &c.ResponseTimeout: 10 * time.Second, &c.EnquireLink: 30 * time.Second,
		&c.CallbackTimeout: 10 * time.Second,
		&c.Backoff:         time.Second, &c.BackoffMax: time.Minute, &c.RefusedBackoff: 5 * time.Minute, &c.RefusedMax: time.Hour,
		&c.Pause: time.Second, &c.PauseMax: time.Minute,
	}
	for at, value := range durations {
		if *at == 0 {
			*at = value
		}
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{}).DialContext
	}
	return c
}

// minPDU is the least MaxPDU: any deliver_sm without message_payload fits.
const minPDU = 1024

// check is of a configuration with its defaults.
func (c Config) check() error {
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return fmt.Errorf("address: %w", err)
	}
	if c.SystemID == "" {
		return errors.New("no system_id")
	}
	if _, err := c.bind(1).Append(nil); err != nil {
		return err // it names the field and its length, never its value
	}
	if len(c.ServiceType) > 5 {
		return errors.New("service_type is longer than 5 octets")
	}
	if c.Window < 0 || c.MaxPDU < minPDU {
		return fmt.Errorf("window %d, longest PDU %d octets: out of bounds", c.Window, c.MaxPDU)
	}
	for _, d := range []time.Duration{
		c.ConnectTimeout, c.ResponseTimeout, c.EnquireLink, c.CallbackTimeout, c.Backoff, c.RefusedBackoff, c.Pause,
		c.BackoffMax - c.Backoff + 1, c.RefusedMax - c.RefusedBackoff + 1, c.PauseMax - c.Pause + 1,
	} {
		if d <= 0 {
			return errors.New("a duration is negative, or its maximum below it")
		}
	}
	return c.checkForms()
}

func (c Config) checkForms() error {
	if c.Alphabet < GSM7 || c.Alphabet > ASCII {
		return fmt.Errorf("unknown alphabet %d", c.Alphabet)
	}
	if c.Long < UDH || c.Long > Payload {
		return fmt.Errorf("unknown form %d of long messages", c.Long)
	}
	return nil
}

// bind is the request that opens a session (SMPP 3.4 §4.1.5).
func (c Config) bind(sequence uint32) pdu.PDU {
	return pdu.PDU{Command: pdu.BindTransceiver, Sequence: sequence, Body: &pdu.Bind{
		SystemID: c.SystemID, Password: c.Password, SystemType: c.SystemType, InterfaceVersion: pdu.Version34,
	}}
}
