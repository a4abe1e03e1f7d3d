package sms

import (
	"math/big"
	"strings"
)

// maxID is how long an id of an SMSC may be, in octets: SMPP 3.4 §5.2.23 has 65.
const maxID = 65

// Forms gives how the id of a message may be written elsewhere by the same SMSC, the likeliest first, in the spelling in which ids
// are compared: lower-case, without leading zeros. Many an SMSC gives its answer in hex and its receipt in decimal digits, or the
// other way round. It is empty for what can be no id.
func Forms(id string) []string {
	id = CanonicalID(id)
	if id == "" || len(id) > maxID {
		return nil
	}
	forms := []string{id}
	for _, base := range [...][2]int{{10, 16}, {16, 10}} {
		if n, ok := new(big.Int).SetString(id, base[0]); ok && id[0] != '-' && id[0] != '+' && !strings.Contains(id, "_") {
			if other := n.Text(base[1]); other != id {
				forms = append(forms, other)
			}
		}
	}
	return forms
}

// CanonicalID is the spelling in which ids are compared.
func CanonicalID(id string) string {
	id = strings.ToLower(strings.TrimSpace(id))
	if cut := strings.TrimLeft(id, "0"); cut != "" || id == "" {
		return cut
	}
	return "0"
}
