package sms

import (
	"maps"
	"strings"
	"testing"
)

func TestParseClasses(t *testing.T) {
	got, err := ParseClasses("ESME_RINVDSTADR=permanent,0x0B=temporary,404=permanent,5xx=throttled,0x0000000b=temporary")
	want := map[string]Class{"ESME_RINVDSTADR": Permanent, "0x0000000B": Temporary, "404": Permanent, "5xx": Throttled}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := ParseClasses(""); err != nil || len(got) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	for text, says := range map[string]string{
		"404":                          `class "404": it is not of the form CODE=CLASS`,
		"404=permanent,":               `class "": it is not`,
		"404=never":                    `class "404=never": "never" is none of temporary, permanent, throttled`,
		"404=Permanent":                `"Permanent" is none of`,
		"=permanent":                   `class "=permanent": "" is no code such as`,
		"4 4=permanent":                `"4 4" is no code`,
		"404=permanent,404=temporary":  `class "404=temporary": the code is permanent before`,
		"0xB=permanent,0x0b=throttled": `the code is permanent before`,
	} {
		if _, err := ParseClasses(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %s", text, err, says)
		}
	}
}

func TestClassesOf(t *testing.T) {
	own, err := ParseClasses("0x0B=temporary,E7=permanent,404=permanent")
	if err != nil {
		t.Fatal(err)
	}
	c := DefaultClasses().With(own)
	for codes, want := range map[string]Class{
		"400": Permanent, "401": Temporary, "403": Temporary, "404": Permanent, "429": Throttled, "503": Throttled, "301": Temporary,
		"0x0000000B": Temporary, "0xb": Temporary, "E7 404": Permanent, "E8 429": Throttled, "500": "", "4xy": "", "": "",
	} {
		if got, ok := c.Of(strings.Fields(codes)...); got != want || ok != (want != "") {
			t.Errorf("%s: %s, %v", codes, got, ok)
		}
	}
	if DefaultClasses()["404"] != "" || (Classes)(nil).With(own)["E7"] != Permanent {
		t.Error("With changes what it is called on")
	}
}
