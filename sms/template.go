package sms

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// template is a text with placeholders such as {{to}}. There are no conditions, functions or loops: what is put in is escaped for where
// it stands, and can change nothing else of the request.
type template []part

// part is literal text, or the name of what is put in.
type part struct {
	literal, name string
	bare          bool // of a JSON template: it stands outside a string
}

// fill gives a placeholder's value.
type fill func(name string) string

// parseTemplate finds the placeholders, each of which must be known.
func parseTemplate(text string, known func(name string) error) (template, error) {
	var t template
	for text != "" {
		literal, rest, found := strings.Cut(text, "{{")
		if literal != "" {
			t = append(t, part{literal: literal})
		}
		if !found {
			break
		}
		name, after, ends := strings.Cut(rest, "}}")
		if !ends {
			return nil, errors.New("a {{ has no }}")
		}
		name = strings.TrimSpace(name)
		if err := known(name); err != nil {
			return nil, err
		}
		t = append(t, part{name: name})
		text = after
	}
	return t, nil
}

func (t template) render(values fill, escape func(string) string) string {
	var b strings.Builder
	for _, p := range t {
		if p.name == "" {
			b.WriteString(p.literal)
			continue
		}
		b.WriteString(escape(values(p.name)))
	}
	return b.String()
}

func (t template) plain(values fill) string {
	return t.render(values, func(s string) string { return s })
}

// numeric are the placeholders that JSON may have as numbers.
var numeric = []string{"attempt", "validity_seconds", "validity_minutes"}

// parseJSON is parseTemplate of JSON text. A placeholder inside a string is part of that string; one outside is a number where it is
// always one, else a string of its own.
func parseJSON(text string, known func(name string) error) (template, error) {
	t, err := parseTemplate(text, known)
	if err != nil {
		return nil, err
	}
	inString, escaped := false, false
	for i, p := range t {
		if p.name == rawName {
			return nil, fmt.Errorf("{{%s}}: JSON cannot hold octets; use data_hex or data_base64", rawName)
		}
		t[i].bare = !inString
		for _, c := range []byte(p.literal) {
			switch {
			case escaped:
				escaped = false
			case inString && c == '\\':
				escaped = true
			case c == '"':
				inString = !inString
			}
		}
	}
	sample := func(name string) string {
		if slices.Contains(numeric, name) {
			return "1"
		}
		return `x"\`
	}
	if !json.Valid([]byte(t.renderJSON(sample))) {
		return nil, errors.New("it is no JSON once the placeholders are filled in")
	}
	return t, nil
}

func (t template) renderJSON(values fill) string {
	var b strings.Builder
	for _, p := range t {
		value := p.name
		if value != "" {
			value = values(p.name)
		}
		switch {
		case p.name == "":
			b.WriteString(p.literal)
		case p.bare && slices.Contains(numeric, p.name):
			b.WriteString(value)
		case p.bare:
			b.WriteString(jsonString(value))
		default:
			quoted := jsonString(value)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

func jsonString(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // what counts letters counts & as one
	if err := e.Encode(s); err != nil {
		panic(err) // a string is always encoded
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// parseURL is parseTemplate of an http or https address, whose scheme, host and port are fixed.
func parseURL(text string, known func(name string) error) (template, error) {
	t, err := parseTemplate(text, known)
	if err != nil {
		return nil, err
	}
	fixed, _, _ := strings.Cut(text, "{{")
	switch u, err := url.Parse(fixed); {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, errors.New("it is no address such as https://sms.example.net/send with a fixed host")
	case u.User != nil:
		return nil, errors.New("it holds a user: put that into basic, and the password into [secrets]")
	case u.Path == "" && u.RawQuery == "" && !strings.Contains(fixed, "?") && len(fixed) < len(text):
		return nil, errors.New("its host is not fixed: a placeholder may stand after the / only")
	case strings.Contains(text, "#"):
		return nil, errors.New("it has a fragment, which is never sent")
	}
	if _, err := url.Parse(t.renderURL(func(string) string { return "x" })); err != nil {
		return nil, errors.New("it is no address once the placeholders are filled in")
	}
	return t, nil
}

func (t template) renderURL(values fill) string {
	var b strings.Builder
	escape := url.PathEscape
	for _, p := range t {
		if p.name != "" {
			b.WriteString(escape(values(p.name)))
			continue
		}
		b.WriteString(p.literal)
		if strings.Contains(p.literal, "?") {
			escape = url.QueryEscape
		}
	}
	return b.String()
}

// templates are named ones: of a query, a form or headers.
type templates map[string]template

func parseTemplates(texts map[string]string, known func(name string) error) (templates, error) {
	all := templates{}
	for name, text := range texts {
		t, err := parseTemplate(text, known)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all[name] = t
	}
	return all, nil
}

// values are the filled templates, to be encoded as a query or a form.
func (t templates) values(values fill) url.Values {
	all := url.Values{}
	for name, t := range t {
		all.Set(name, t.plain(values))
	}
	return all
}
