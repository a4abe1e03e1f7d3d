package smpp

import (
	"strings"
	"time"
)

// parseReceipt reads the text that SMPP 3.4 Appendix B recommends, and which every SMSC spells a little otherwise:
//
//	id:IIIIIIIIII sub:SSS dlvrd:DDD submit date:YYMMDDhhmm done date:YYMMDDhhmm stat:DDDDDDD err:E text:...
//
// Keys may be in any case and order and may be missing, as may be the text; the first of each counts.
func parseReceipt(text string) Receipt {
	r := Receipt{Text: text}
	seen := make(map[string]bool)
	for rest := text; ; {
		key, value, after := nextField(rest)
		if key == "" {
			return r
		}
		if !seen[key] {
			seen[key] = true
			r.set(key, value)
		}
		rest = after
	}
}

func (r *Receipt) set(key, value string) {
	switch key {
	case "id":
		r.ID = value
	case "submitdate":
		r.Submitted = receiptTime(value)
	case "donedate":
		r.Done = receiptTime(value)
	case "stat":
		r.Stat, r.State = value, parseStat(value)
	case "err":
		r.Err = value
	}
}

// keys of the text, without what parts their words.
var keys = []string{"id", "sub", "dlvrd", "submitdate", "donedate", "stat", "err", "text"}

// nextField gives the first key of a text, its value up to the next key, and what is from there on. No key: empty. Behind
// text: all is the message's own, whatever it looks like.
func nextField(s string) (key, value, after string) {
	key, _, value = findKey(s)
	if key == "" || key == "text" {
		return key, value, ""
	}
	if _, at, _ := findKey(value); at < len(value) {
		value, after = value[:at], value[at:]
	}
	return key, strings.Trim(value, " \t\r\n,;"), after
}

// findKey gives the first key of a text, where it begins, and what is behind its colon; at is len(s) if there is none.
func findKey(s string) (key string, at int, behind string) {
	for i := 0; i < len(s); i++ {
		if i > 0 && !strings.ContainsRune(" \t\r\n,;", rune(s[i-1])) {
			continue
		}
		for _, k := range keys {
			if n := keyLength(s[i:], k); n > 0 {
				return k, i, s[i+n:]
			}
		}
	}
	return "", len(s), ""
}

// keyLength is how many octets a key takes at the beginning of s, with its colon and what parts its words; 0: it is not
// there.
func keyLength(s, key string) int {
	matched := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case matched == len(key) && c == ':':
			return i + 1
		case matched > 0 && (c == ' ' || c == '_'):
		case matched < len(key) && c|0x20 == key[matched]:
			matched++
		default:
			return 0
		}
	}
	return 0
}

// receiptTime reads YYMMDDhhmm, with ss or without, or the same with the century; zero if it is none.
func receiptTime(s string) time.Time {
	for _, layout := range []string{"0601021504", "060102150405", "200601021504", "20060102150405"} {
		if len(s) != len(layout) {
			continue
		}
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	return time.Time{}
}

// stats are the words of the states, each with the prefix that tells all spellings of it.
var stats = []struct {
	state        MessageState
	word, prefix string
}{
	{StateEnroute, "ENROUTE", "ENROU"},
	{StateDelivered, "DELIVRD", "DELIV"}, // DELIVERED
	{StateExpired, "EXPIRED", "EXPIR"},
	{StateDeleted, "DELETED", "DELET"},
	{StateUndeliverable, "UNDELIV", "UNDEL"}, // UNDELIVERABLE
	{StateAccepted, "ACCEPTD", "ACCEP"},      // ACCEPTED
	{StateUnknown, "UNKNOWN", "UNKNO"},
	{StateRejected, "REJECTD", "REJEC"}, // REJECTED
}

func parseStat(word string) MessageState {
	word = strings.ToUpper(word)
	for _, s := range stats {
		if strings.HasPrefix(word, s.prefix) {
			return s.state
		}
	}
	return StateAbsent
}

func stat(state MessageState) string {
	for _, s := range stats {
		if s.state == state {
			return s.word
		}
	}
	return ""
}
