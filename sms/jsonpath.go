package sms

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

// jsonPath leads to values in JSON: names and numbers of elements, from 0, parted by dots, * being all elements: messages.0.id,
// results.*.status.code. The empty path leads to the whole.
type jsonPath []string

func parsePath(text string) (jsonPath, error) {
	if text == "" {
		return nil, nil
	}
	p := strings.Split(text, ".")
	for _, name := range p {
		if name == "" {
			return nil, errors.New("it is no path such as messages.0.id")
		}
	}
	return p, nil
}

// readJSON reads one value, its numbers as they are written.
func readJSON(body []byte) (any, bool) {
	var v any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if d.Decode(&v) != nil || d.More() {
		return nil, false
	}
	return v, true
}

// find gives all that the path leads to.
func (p jsonPath) find(v any) []any {
	if len(p) == 0 {
		return []any{v}
	}
	switch v := v.(type) {
	case map[string]any:
		if of, ok := v[p[0]]; ok {
			return p[1:].find(of)
		}
	case []any:
		if p[0] == "*" {
			var all []any
			for _, of := range v {
				all = append(all, p[1:].find(of)...)
			}
			return all
		}
		if i, err := strconv.Atoi(p[0]); err == nil && i >= 0 && i < len(v) {
			return p[1:].find(v[i])
		}
	}
	return nil
}

// texts are those of the values found that are text, number or truth value.
func (p jsonPath) texts(v any) []string {
	var all []string
	for _, found := range p.find(v) {
		switch found := found.(type) {
		case string:
			all = append(all, found)
		case json.Number:
			all = append(all, found.String())
		case bool:
			all = append(all, strconv.FormatBool(found))
		}
	}
	return all
}

// text is the first of texts, or "".
func (p jsonPath) text(v any) string {
	if all := p.texts(v); len(all) > 0 {
		return all[0]
	}
	return ""
}
