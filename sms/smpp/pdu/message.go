package pdu

import "fmt"

// Message is the body of submit_sm (SMPP 3.4 §4.4.1) and deliver_sm (§4.6.1).
type Message struct {
	ServiceType        string
	Source             Address
	Destination        Address
	ESMClass           byte // §5.2.12
	ProtocolID         byte
	Priority           byte
	ScheduleTime       string // §7.1.1; empty: at once
	ValidityPeriod     string // §7.1.1; empty: the SMSC's own
	RegisteredDelivery byte   // §5.2.17
	ReplaceIfPresent   byte
	DataCoding         byte // §5.2.19
	DefaultMessage     byte // sm_default_msg_id
	ShortMessage       []byte
	TLVs               TLVs
}

// MaxShortMessage is the most octets of a short_message (SMPP 3.4 §5.2.22).
const MaxShortMessage = 254

func (m *Message) decode(r *reader) {
	m.ServiceType = r.cString("service_type")
	m.Source.decode(r, "source_addr")
	m.Destination.decode(r, "destination_addr")
	m.ESMClass, m.ProtocolID, m.Priority = r.octet("esm_class"), r.octet("protocol_id"), r.octet("priority_flag")
	m.ScheduleTime = r.cString("schedule_delivery_time")
	m.ValidityPeriod = r.cString("validity_period")
	m.RegisteredDelivery, m.ReplaceIfPresent = r.octet("registered_delivery"), r.octet("replace_if_present_flag")
	m.DataCoding, m.DefaultMessage = r.octet("data_coding"), r.octet("sm_default_msg_id")
	m.ShortMessage = r.octets("short_message", int(r.octet("sm_length")), StatusInvMsgLen)
	m.TLVs = r.tlvs()
}

func (m *Message) append(w *writer) {
	w.cString("service_type", m.ServiceType, 6)
	m.Source.append(w, "source_addr", addressLimit)
	m.Destination.append(w, "destination_addr", addressLimit)
	w.octets(m.ESMClass, m.ProtocolID, m.Priority)
	w.cString("schedule_delivery_time", m.ScheduleTime, 17)
	w.cString("validity_period", m.ValidityPeriod, 17)
	w.octets(m.RegisteredDelivery, m.ReplaceIfPresent, m.DataCoding, m.DefaultMessage)
	if len(m.ShortMessage) > MaxShortMessage && w.err == nil {
		w.err = fmt.Errorf("short_message has %d octets, at most %d", len(m.ShortMessage), MaxShortMessage)
	}
	w.octets(byte(len(m.ShortMessage)))
	w.octets(m.ShortMessage...)
	w.tlvs(m.TLVs)
}

// Data is the body of data_sm (SMPP 3.4 §4.7.1). Its text is in the TLV message_payload.
type Data struct {
	ServiceType        string
	Source             Address
	Destination        Address
	ESMClass           byte
	RegisteredDelivery byte
	DataCoding         byte
	TLVs               TLVs
}

func (d *Data) decode(r *reader) {
	d.ServiceType = r.cString("service_type")
	d.Source.decode(r, "source_addr")
	d.Destination.decode(r, "destination_addr")
	d.ESMClass, d.RegisteredDelivery, d.DataCoding = r.octet("esm_class"), r.octet("registered_delivery"), r.octet("data_coding")
	d.TLVs = r.tlvs()
}

func (d *Data) append(w *writer) {
	w.cString("service_type", d.ServiceType, 6)
	d.Source.append(w, "source_addr", 65)
	d.Destination.append(w, "destination_addr", 65)
	w.octets(d.ESMClass, d.RegisteredDelivery, d.DataCoding)
	w.tlvs(d.TLVs)
}

// MessageResp is the body of submit_sm_resp (SMPP 3.4 §4.4.2), deliver_sm_resp (§4.6.2) and data_sm_resp (§4.7.2). It is
// empty where the other side refused, or left it out.
type MessageResp struct {
	MessageID string
	TLVs      TLVs
}

func (m *MessageResp) decode(r *reader) {
	m.MessageID = r.cString("message_id")
	m.TLVs = r.tlvs()
}

func (m *MessageResp) append(w *writer) {
	w.cString("message_id", m.MessageID, 65)
	w.tlvs(m.TLVs)
}

// Alert is the body of alert_notification (SMPP 3.4 §4.12.1).
type Alert struct {
	Source Address
	ESME   Address
	TLVs   TLVs
}

func (a *Alert) decode(r *reader) {
	a.Source.decode(r, "source_addr")
	a.ESME.decode(r, "esme_addr")
	a.TLVs = r.tlvs()
}

func (a *Alert) append(w *writer) {
	a.Source.append(w, "source_addr", 65)
	a.ESME.append(w, "esme_addr", 65)
	w.tlvs(a.TLVs)
}
