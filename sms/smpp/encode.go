package smpp

import (
	"fmt"
	"time"

	"m2mbridge/sms/smpp/pdu"
)

// Bits of esm_class (SMPP 3.4 §5.2.12).
const (
	esmType         = 0x3c // the message type
	esmReceipt      = 0x04 // of an SMSC: delivery receipt
	esmIntermediate = 0x20 // of an SMSC: intermediate notification
	esmUDHI         = 0x40 // the message begins with a user data header
)

// Bits of registered_delivery (SMPP 3.4 §5.2.17).
const (
	wantReceipt      = 0x01
	wantIntermediate = 0x10
)

// encode gives the submit_sm of a message, one for each part. All of them can be written.
func (c *Client) encode(m Submit) ([]*pdu.Message, error) {
	base, err := c.cfg.base(m)
	if err != nil {
		return nil, err
	}
	got, err := c.cfg.content(m)
	if err != nil {
		return nil, err
	}
	if err := c.cfg.checkSize(got); err != nil {
		return nil, err
	}
	base.DataCoding = got.coding
	parts := c.parts(base, got)
	for _, p := range parts {
		if _, err := (pdu.PDU{Command: pdu.SubmitSM, Body: p}).Append(nil); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// base is all of a message but its content.
func (c Config) base(m Submit) (pdu.Message, error) {
	source, err := sourceAddress(m.Source, m.SourceType, c.SourceType)
	if err != nil {
		return pdu.Message{}, err
	}
	destination, err := destinationAddress(m.Destination, m.DestinationType, c.DestinationType)
	if err != nil {
		return pdu.Message{}, err
	}
	validity, err := relative(m.ValidityPeriod)
	if err != nil {
		return pdu.Message{}, err
	}
	base := pdu.Message{ServiceType: c.ServiceType, Source: source, Destination: destination, ValidityPeriod: validity}
	if m.RegisteredDelivery {
		base.RegisteredDelivery |= wantReceipt
	}
	if m.Intermediate {
		base.RegisteredDelivery |= wantIntermediate
	}
	if m.UserMessageReference != 0 {
		base.TLVs = pdu.TLVs{pdu.Uint16(pdu.TagUserMessageReference, m.UserMessageReference)}
	}
	return base, nil
}

// parts puts the content in.
func (c *Client) parts(base pdu.Message, got content) []*pdu.Message {
	if len(got.parts) == 1 {
		base.ShortMessage = c.cfg.pack(got.coding, got.parts[0], 0)
		return []*pdu.Message{&base}
	}
	if c.cfg.Long == Payload {
		base.TLVs = append(base.TLVs, pdu.TLV{Tag: pdu.TagMessagePayload, Value: c.cfg.pack(got.coding, got.all, 0)})
		return []*pdu.Message{&base}
	}
	reference := uint16(c.reference.Add(1))
	parts := make([]*pdu.Message, len(got.parts))
	for i, octets := range got.parts {
		m := base
		if c.cfg.Long == SAR {
			m.TLVs = append(sar(reference, len(parts), i+1), base.TLVs...)
			m.ShortMessage = c.cfg.pack(got.coding, octets, 0)
		} else {
			header := udh(byte(reference), len(parts), i+1)
			m.ESMClass |= esmUDHI
			m.ShortMessage = append(header, c.cfg.pack(got.coding, octets, len(header))...)
		}
		parts[i] = &m
	}
	return parts
}

// udh is the header of a part with a reference of 8 bits (3GPP TS 23.040 §9.2.3.24.1).
func udh(reference byte, parts, part int) []byte {
	return []byte{5, 0, 3, reference, byte(parts), byte(part)}
}

func sar(reference uint16, parts, part int) pdu.TLVs {
	return pdu.TLVs{
		pdu.Uint16(pdu.TagSARMsgRefNum, reference),
		pdu.Octet(pdu.TagSARTotalSegments, byte(parts)),
		pdu.Octet(pdu.TagSARSegmentSeqnum, byte(part)),
	}
}

// maxValidity is the longest validity period that days can express whatever the length of a month.
const maxValidity = 30 * 24 * time.Hour

// relative is a duration as YYMMDDhhmmss000R (SMPP 3.4 §7.1.1.2), in whole seconds, rounded up; empty for none.
func relative(d time.Duration) (string, error) {
	if d == 0 {
		return "", nil
	}
	if d < 0 || d > maxValidity {
		return "", fmt.Errorf("validity period %s is out of bounds", d)
	}
	s := int64((d + time.Second - 1) / time.Second)
	return fmt.Sprintf("0000%02d%02d%02d%02d000R", s/86400, s/3600%24, s/60%60, s%60), nil
}
