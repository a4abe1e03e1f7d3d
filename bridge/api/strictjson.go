package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
)

// strictJSON refuses what encoding/json takes in silence from a valid text, and
// what is meant by cannot be told: a name twice in an object, half a character.
func strictJSON(text []byte) error {
	if err := wholeCharacters(text); err != nil {
		return err
	}
	return namedOnce(json.NewDecoder(bytes.NewReader(text)))
}

// namedOnce reads a value with all in it.
func namedOnce(d *json.Decoder) error {
	token, err := d.Token()
	open, _ := token.(json.Delim)
	if err != nil || open == 0 {
		return err
	}
	for seen := map[any]bool{}; d.More(); {
		if open == '{' {
			name, err := d.Token()
			if err != nil {
				return err
			}
			if seen[name] {
				return fmt.Errorf("%.64q is given twice", name)
			}
			seen[name] = true
		}
		if err := namedOnce(d); err != nil {
			return err
		}
	}
	_, err = d.Token() // the closing one
	return err
}

// wholeCharacters refuses a \u escape of one half of a pair without the other.
func wholeCharacters(text []byte) error {
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++ // to what is escaped
		first, ok := escaped(text, i-1)
		if !ok || !utf16.IsSurrogate(first) {
			continue
		}
		second, ok := escaped(text, i+5)
		if !ok || utf16.DecodeRune(first, second) == '\ufffd' {
			return errors.New(`half of a character: \` + string(text[i:i+5]) + " stands without its other half")
		}
		i += 10
	}
	return nil
}

// escaped reads a \u escape.
func escaped(text []byte, at int) (rune, bool) {
	if at+6 > len(text) || text[at] != '\\' || text[at+1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(text[at+2:at+6]), 16, 32)
	return rune(n), err == nil
}
