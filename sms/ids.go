package sms

import "m2mbridge/sms/smpp"

// Forms gives how the id of a message may be written elsewhere by the same SMSC, the likeliest first, in the spelling in which ids
// are compared: lower-case, without leading zeros. It is empty for no id.
func Forms(id string) []string { return smpp.IDForms(id) }

// CanonicalID is the spelling in which ids are compared; "" of no id.
func CanonicalID(id string) string {
	if forms := Forms(id); len(forms) > 0 {
		return forms[0]
	}
	return ""
}
