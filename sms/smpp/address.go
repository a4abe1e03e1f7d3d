package smpp

import (
	"errors"
	"fmt"
	"strings"

	"m2mbridge/sms/smpp/gsm7"
	"m2mbridge/sms/smpp/pdu"
)

// Address is a number or name with its kind.
type Address = pdu.Address

// AddressType is the kind of an address.
type AddressType struct {
	TON byte // type of number (SMPP 3.4 §5.2.5)
	NPI byte // numbering plan indicator (SMPP 3.4 §5.2.6)
}

// Kinds of address that are chosen where the caller does not choose.
var (
	typeUnknown       = AddressType{0, 1} // a number in national spelling: the SMSC is to know
	typeInternational = AddressType{1, 1} // E.164
	typeNetwork       = AddressType{3, 0} // a short code
	typeAlphanumeric  = AddressType{5, 0}
)

const (
	shortCode = 6  // digits of the longest short code
	longest   = 15 // digits of the longest number (E.164 §6)
	letters   = 11 // characters of the longest alphanumeric source: 10 octets of septets (3GPP TS 23.040 §9.1.2.5)
)

// sourceAddress is digits, with + or without, or a name.
func sourceAddress(s string, as ...*AddressType) (Address, error) {
	number, plus := strings.CutPrefix(s, "+")
	switch {
	case s == "":
		return chosen(AddressType{}, "", as), nil // the SMSC's default (SMPP 3.4 §5.2.8)
	case isDigits(number):
		if len(number) > longest {
			return Address{}, fmt.Errorf("source has %d digits", len(number))
		}
		return chosen(numberType(number, plus), number, as), nil
	}
	septets, ok := gsm7.Encode(s)
	if !ok || len(septets) > letters || !isPrintable(s) {
		return Address{}, errors.New("source is no number, and no name of up to 11 characters")
	}
	return chosen(typeAlphanumeric, s, as), nil
}

// destinationAddress is digits, with + or without.
func destinationAddress(s string, as ...*AddressType) (Address, error) {
	number, plus := strings.CutPrefix(s, "+")
	if !isDigits(number) || len(number) > longest {
		return Address{}, fmt.Errorf("destination is not 1 to %d digits", longest)
	}
	return chosen(numberType(number, plus), number, as), nil
}

func numberType(number string, plus bool) AddressType {
	switch {
	case plus:
		return typeInternational
	case len(number) <= shortCode:
		return typeNetwork
	case number[0] == '0':
		return typeUnknown
	}
	return typeInternational
}

// chosen has the first kind that the caller chose, or else the default.
func chosen(t AddressType, value string, as []*AddressType) Address {
	for _, a := range as {
		if a != nil {
			t = *a
			break
		}
	}
	return Address{TON: t.TON, NPI: t.NPI, Value: value}
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// isPrintable is of ASCII only: an address has no data_coding, and SMSCs differ on all else.
func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
