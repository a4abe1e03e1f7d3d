package pdu

// Version34 is the interface_version of SMPP 3.4 (§5.2.4).
const Version34 = 0x34

// Bind is the body of bind_transceiver, bind_receiver and bind_transmitter (SMPP 3.4 §4.1.1 to §4.1.5).
type Bind struct {
	SystemID         string
	Password         string
	SystemType       string
	InterfaceVersion byte
	Range            Address // addr_ton, addr_npi, address_range
}

// nameLimit is the octets of a system_id or password that is written, the NUL counted. The specification has 16 and 9;
// providers hand out longer ones, which their own SMSCs take.
const nameLimit = 65

func (b *Bind) decode(r *reader) {
	b.SystemID = r.cString("system_id")
	b.Password = r.cString("password")
	b.SystemType = r.cString("system_type")
	b.InterfaceVersion = r.octet("interface_version")
	b.Range.decode(r, "addr")
}

func (b *Bind) append(w *writer) {
	w.cString("system_id", b.SystemID, nameLimit)
	w.cString("password", b.Password, nameLimit)
	w.cString("system_type", b.SystemType, 13)
	w.octets(b.InterfaceVersion)
	b.Range.append(w, "address_range", 41)
}

// BindResp is the body of the answers to binds (SMPP 3.4 §4.1.6). It is empty where the SMSC refused, or left it out.
type BindResp struct {
	SystemID string // the SMSC's
	TLVs     TLVs
}

func (b *BindResp) decode(r *reader) {
	b.SystemID = r.cString("system_id")
	b.TLVs = r.tlvs()
}

func (b *BindResp) append(w *writer) {
	w.cString("system_id", b.SystemID, nameLimit)
	w.tlvs(b.TLVs)
}

// OutbindBody is the body of outbind (SMPP 3.4 §4.1.7).
type OutbindBody struct {
	SystemID string
	Password string
}

func (o *OutbindBody) decode(r *reader) {
	o.SystemID = r.cString("system_id")
	o.Password = r.cString("password")
}

func (o *OutbindBody) append(w *writer) {
	w.cString("system_id", o.SystemID, nameLimit)
	w.cString("password", o.Password, nameLimit)
}
