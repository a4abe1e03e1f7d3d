package sms

import "m2mbridge/sms/smpp/gsm7"

// coding is what HTTP APIs call the alphabet of a text: "0" the default one (GSM 03.38), "2" UCS-2, as [Parts] reckons it.
func coding(text string) string {
	if _, ok := gsm7.Encode(text); ok {
		return "0"
	}
	return "2"
}
