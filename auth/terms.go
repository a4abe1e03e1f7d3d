package auth

import (
	"maps"
	"slices"
	"strings"
	"unicode"
)

// A term is what a device is found by: a letter for the kind, a value, a NUL and the device's id. No value has a NUL in it.
const (
	termICCID  = "i"
	termMSISDN = "m"
	termLabel  = "l" // name=value
	termWord   = "n" // of its name, in lower case
	termEnd    = "\x00"

	maxWords = 16 // of a name that it is found by
)

// terms are all of a device's.
func (d *Device) terms() []string {
	var terms []string
	add := func(kind, value string) { terms = append(terms, kind+value+termEnd+string(d.ID)) }
	if d.ICCID != "" {
		add(termICCID, d.ICCID)
	}
	if d.MSISDN != "" {
		add(termMSISDN, d.MSISDN)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Labels)) { // in order: see put.lua
		add(termLabel, name+"="+d.Labels[name])
	}
	for _, word := range words(d.Name) {
		add(termWord, word)
	}
	return terms
}

// words are those of a name, in lower case, each once.
func words(name string) []string {
	apart := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	all := strings.FieldsFunc(strings.ToLower(name), apart)
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), maxWords)]
}

// idOf is the device that a term is of.
func idOf(term string) DeviceID {
	return DeviceID(term[strings.LastIndexByte(term, 0)+1:])
}
