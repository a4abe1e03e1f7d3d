package sms

import (
	"errors"
	"unicode/utf16"

	"m2mbridge/sms/smpp/gsm7"
)

// What one SMS holds, and one part of a longer one behind its header of concatenation: GSM septets and octets by 3GPP TS 23.040
// §9.2.3.24.1, UCS-2 units by 23.038 §6.2.3.
const (
	septetsAlone, septetsOfPart = 160, 153
	unitsAlone, unitsOfPart     = 70, 67
	octetsAlone, octetsOfPart   = 140, 134
)

// Parts is how many SMS a message takes: text in the GSM alphabet if it has all of it, else in UCS-2; or data. An SMSC with an
// alphabet of its own may take one more or less.
func Parts(text string, data []byte) (int, error) {
	if text == "" && len(data) == 0 {
		return 0, errors.New("it is empty")
	}
	if text == "" {
		return parts(len(data), octetsAlone, octetsOfPart), nil
	}
	if septets, ok := gsm7.Encode(text); ok {
		return parts(len(septets), septetsAlone, septetsOfPart), nil
	}
	return parts(len(utf16.Encode([]rune(text))), unitsAlone, unitsOfPart), nil
}

func parts(n, alone, part int) int {
	if n <= alone {
		return 1
	}
	return (n + part - 1) / part
}
