package smpp

import (
	"cmp"
	"math/big"
	"slices"
	"strings"
	"unicode"
)

// idLimit is the longest id, in characters, that is tried as a number.
const idLimit = 64

// IDForms are the spellings by which an id in a receipt and one in an answer may be the same: as it is, but in lower case
// and without leading zeros; then the number in hexadecimal, if it can be read as decimal; then in decimal, if it can be read
// as hexadecimal. There are SMSCs that answer "1A2B" and send receipts for "0000006699", and the reverse.
//
// Two ids may be of the same message if they have a form in common. The first form is the better evidence: another message's
// id may look like the number of this one. No id has no forms.
func IDForms(id string) []string {
	id = strings.ToLower(strings.TrimSpace(id))
	if id == "" {
		return nil
	}
	id = cmp.Or(strings.TrimLeftFunc(id, func(r rune) bool { return r == '0' || unicode.IsSpace(r) }), "0")
	forms := []string{id}
	for _, base := range [][2]int{{10, 16}, {16, 10}} {
		n, ok := number(id, base[0])
		if !ok {
			continue
		}
		if form := n.Text(base[1]); !slices.Contains(forms, form) {
			forms = append(forms, form)
		}
	}
	return forms
}

// SameID reports whether two ids may be of the same message.
func SameID(a, b string) bool {
	forms := IDForms(a)
	return slices.ContainsFunc(IDForms(b), func(form string) bool { return slices.Contains(forms, form) })
}

func number(id string, base int) (*big.Int, bool) {
	if len(id) > idLimit || strings.Trim(id, "0123456789abcdef"[:base]) != "" {
		return nil, false
	}
	return new(big.Int).SetString(id, base)
}
