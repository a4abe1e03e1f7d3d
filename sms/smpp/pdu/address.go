package pdu

// Address is a number or name with its kind.
type Address struct {
	TON   byte // type of number (SMPP 3.4 §5.2.5)
	NPI   byte // numbering plan indicator (SMPP 3.4 §5.2.6)
	Value string
}

// addressLimit is the octets of an address, its NUL counted (SMPP 3.4 §5.2.8, §5.2.9).
const addressLimit = 21

func (a *Address) decode(r *reader, field string) {
	a.TON, a.NPI = r.octet(field+"_ton"), r.octet(field+"_npi")
	a.Value = r.cString(field)
}

func (a *Address) append(w *writer, field string, limit int) {
	w.octets(a.TON, a.NPI)
	w.cString(field, a.Value, limit)
}
