package auth

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxText       = 256  // bytes of a name, rate plan or label value
	maxLabels     = 64   // of one device
	maxLabelBytes = 3072 // of one device, names and values
	maxLabelName  = 64
	maxAppName    = 64
	maxAppDevices = 10000
)

// check says which rule a device breaks, and brings its fields into their canonical spelling.
func (d *Device) check() error {
	id, err := ParseDeviceID(string(d.ID))
	if err != nil {
		return err
	}
	d.ID = id
	d.MSISDN = strings.TrimPrefix(d.MSISDN, "+")
	if d.CanSMS() {
		d.SMS = nil
	}
	switch {
	case d.ICCID != "" && (len(d.ICCID) < 19 || len(d.ICCID) > 20 || !allDigits(d.ICCID)):
		return fmt.Errorf("%w iccid: want 19 or 20 digits", ErrInvalid)
	// E.164 §6: at most 15 digits, of which the first, of the country code, is not 0.
	case d.MSISDN != "" && (len(d.MSISDN) < 5 || len(d.MSISDN) > 15 || !allDigits(d.MSISDN) || d.MSISDN[0] == '0'):
		return fmt.Errorf("%w msisdn: want 5 to 15 digits from the country code on", ErrInvalid)
	case !isText(d.Name):
		return fmt.Errorf("%w name: want at most %d bytes of %s", ErrInvalid, maxText, wantText)
	case !isText(d.RatePlan):
		return fmt.Errorf("%w ratePlan: want at most %d bytes of %s", ErrInvalid, maxText, wantText)
	case d.Unsigned && d.Secret != "":
		return fmt.Errorf("%w device: unsigned, and a secret given", ErrInvalid)
	case d.Secret != "":
		if err := CheckSecret(d.Secret); err != nil {
			return err
		}
	}
	return checkLabels(d.Labels)
}

func checkLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return fmt.Errorf("%w labels: more than %d", ErrInvalid, maxLabels)
	}
	size := 0
	for name, value := range labels {
		size += len(name) + len(value) + 2
		if !isLabelName(name) {
			return fmt.Errorf("%w label %.64q: want a name of at most %d letters, digits and _ . / -", ErrInvalid, name, maxLabelName)
		}
		if !isText(value) {
			return fmt.Errorf("%w label %s: want at most %d bytes of %s", ErrInvalid, name, maxText, wantText)
		}
	}
	if size > maxLabelBytes {
		return fmt.Errorf("%w labels: more than %d bytes in all", ErrInvalid, maxLabelBytes)
	}
	return nil
}

// isLabelName leaves out the = that ends a name in an app's filter, and the colon of a device id.
func isLabelName(s string) bool {
	if s == "" || len(s) > maxLabelName {
		return false
	}
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && strings.IndexByte("_./-", s[i]) < 0 {
			return false
		}
	}
	return true
}

// isAppName is ^[a-z0-9][a-z0-9._-]{0,63}$.
func isAppName(s string) bool {
	if s == "" || len(s) > maxAppName {
		return false
	}
	for i := range len(s) {
		c := s[i]
		plain := isAlphanumeric(c) && c == lower(c)
		if !plain && (i == 0 || strings.IndexByte("._-", c) < 0) {
			return false
		}
	}
	return true
}

// isText refuses what one does not see: two texts that look alike are alike. A joiner and a non-joiner (U+200D, U+200C)
// are letters of some scripts.
func isText(s string) bool {
	return isStoredText(s) && strings.IndexFunc(s, isUnseen) < 0
}

const wantText = "UTF-8 without control and invisible characters, line or paragraph separators"

func isUnseen(r rune) bool {
	return r != '\u200c' && r != '\u200d' && unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

// isStoredText is what isText was before: what was written then can still be read.
func isStoredText(s string) bool {
	return len(s) <= maxText && utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

func allDigits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return isDigit(c) || 'a' <= lower(c) && lower(c) <= 'z'
}
