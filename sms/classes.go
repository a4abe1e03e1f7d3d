package sms

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"m2mbridge/sms/smpp"
)

// Classes says what refusals mean, by their codes as gateways name them: a name (ESME_RTHROTTLED), a number (0x0000000B or 404), or a
// pattern: 4xx for all HTTP statuses from 400 to 499. err:001 is what receipts have as the network's error.
type Classes map[string]Class

// DefaultClasses are those of HTTP statuses, where neither the gateway's file nor the user says otherwise. What is wrong with one
// message is permanent; what is wrong with the account or the address of the API is not the message's fault and may be mended within
// its 48 hours. SMPP's have their own table in package smpp.
func DefaultClasses() Classes {
	return Classes{
		"400": Permanent, "413": Permanent, "414": Permanent, "415": Permanent, "422": Permanent, // RFC 9110 §15.5
		"429": Throttled, // RFC 6585 §4
		"503": Throttled, // RFC 9110 §15.6.4: for now it cannot; Retry-After says how long
		"4xx": Temporary,
		"3xx": Temporary, // no redirect is followed: the address is wrong
	}
}

// Of is the class of a refusal, the first of its codes that is found; then of the patterns that fit one of them.
func (c Classes) Of(codes ...string) (Class, bool) {
	for _, code := range codes {
		if class, ok := c[plainCode(code)]; ok {
			return class, true
		}
	}
	for _, code := range codes {
		if len(code) == 3 {
			if class, ok := c[code[:1]+"xx"]; ok && isDigits(code) {
				return class, true
			}
		}
	}
	return "", false
}

// With are these classes with those of over in their place where both have one.
func (c Classes) With(over Classes) Classes {
	all := maps.Clone(c)
	if all == nil {
		all = Classes{}
	}
	maps.Copy(all, over)
	return all
}

var codeForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_.:-]{0,63}$`)

// ParseClasses reads CODE=CLASS,…, such as ESME_RINVDSTADR=permanent,0x0B=temporary,404=permanent. A number that begins with 0x is the
// same however many zeros it has; all else is compared as it stands. An error names the part at fault.
func ParseClasses(text string) (map[string]Class, error) {
	classes := map[string]Class{}
	if text == "" {
		return classes, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		code, class, ok := strings.Cut(part, "=")
		switch {
		case !ok:
			return nil, fmt.Errorf("class %q: it is not of the form CODE=CLASS, such as 404=permanent", part)
		case !codeForm.MatchString(code):
			return nil, fmt.Errorf("class %q: %q is no code such as ESME_RINVDSTADR, 0x0B, 404 or 4xx", part, code)
		}
		if _, known := smpp.ParseStatus(code); strings.HasPrefix(strings.ToUpper(code), "ESME_") && !known {
			return nil, fmt.Errorf("class %q: SMPP has no %s", part, code)
		}
		parsed, err := parseClass(class)
		if err != nil {
			return nil, fmt.Errorf("class %q: %w", part, err)
		}
		code = plainCode(code)
		if was, twice := classes[code]; twice && was != parsed {
			return nil, fmt.Errorf("class %q: the code is %s before", part, was)
		}
		classes[code] = parsed
	}
	return classes, nil
}

func parseClass(text string) (Class, error) {
	c := Class(text)
	if !slices.Contains([]Class{Temporary, Permanent, Throttled}, c) {
		return "", fmt.Errorf("%q is none of %s, %s, %s", text, Temporary, Permanent, Throttled)
	}
	return c, nil
}

// plainCode writes a number that begins with 0x with eight digits, as SMPP's command_status has them (SMPP 3.4 §5.1.3).
func plainCode(code string) string {
	digits, ok := strings.CutPrefix(strings.ToLower(code), "0x")
	if !ok {
		return code
	}
	n, err := strconv.ParseUint(digits, 16, 32)
	if err != nil {
		return code
	}
	return fmt.Sprintf("0x%08X", n)
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
