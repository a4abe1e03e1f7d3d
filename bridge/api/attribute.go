package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"m2mbridge/auth"
)

// attribute is what can be changed of a device, whether by a merge patch or by
// a row of an import. Its secret is none: it cannot be read back.
type attribute struct {
	name string
	get  func(*auth.Device) any                   // nil: it is not set
	json func(text json.RawMessage) (edit, error) // null clears
	cell func(text string) (edit, error)          // of CSV; "" clears
	show func(*auth.Device) string                // as a cell of CSV
}

// edit is a change of one device.
type edit func(*auth.Device)

// attributeList are all attributes there are, in the order of an export. It is
// made once for many devices.
type attributeList []attribute

func attributes() attributeList {
	return attributeList{
		textAttribute("name", func(d *auth.Device) *string { return &d.Name }),
		textAttribute("iccid", func(d *auth.Device) *string { return &d.ICCID }),
		textAttribute("msisdn", func(d *auth.Device) *string { return &d.MSISDN }),
		textAttribute("ratePlan", func(d *auth.Device) *string { return &d.RatePlan }),
		smsAttribute(),
		boolAttribute("requireToken", func(d *auth.Device) *bool { return &d.RequireToken }),
		boolAttribute("unsigned", func(d *auth.Device) *bool { return &d.Unsigned }),
		boolAttribute("disabled", func(d *auth.Device) *bool { return &d.Disabled }),
		labelsAttribute(),
	}
}

// named gives nil if there is none of that name.
func (l attributeList) named(name string) *attribute {
	for i := range l {
		if l[i].name == name {
			return &l[i]
		}
	}
	return nil
}

func textAttribute(name string, of func(*auth.Device) *string) attribute {
	set := func(text string) edit {
		// The registry stores no plus either; with one the row would never be as what is stored.
		if name == "msisdn" {
			text = strings.TrimPrefix(text, "+")
		}
		return func(d *auth.Device) { *of(d) = text }
	}
	return attribute{
		name: name,
		get: func(d *auth.Device) any {
			if text := *of(d); text != "" {
				return text
			}
			return nil
		},
		json: func(text json.RawMessage) (edit, error) {
			value, err := read[string](text, "a string")
			return set(value), err
		},
		cell: func(text string) (edit, error) { return set(unguard(text)), nil },
		show: func(d *auth.Device) string { return guardCell(*of(d)) },
	}
}

func boolAttribute(name string, of func(*auth.Device) *bool) attribute {
	set := func(value bool) edit { return func(d *auth.Device) { *of(d) = value } }
	return attribute{
		name: name,
		get:  func(d *auth.Device) any { return *of(d) },
		json: func(text json.RawMessage) (edit, error) {
			value, err := read[bool](text, "true or false")
			return set(value), err
		},
		cell: func(text string) (edit, error) {
			value, err := readBool(text)
			return set(value != nil && *value), err
		},
		show: func(d *auth.Device) string { return showBool(*of(d)) },
	}
}

// smsAttribute has a third state: nothing was said.
func smsAttribute() attribute {
	set := func(value *bool) edit { return func(d *auth.Device) { d.SMS = value } }
	return attribute{
		name: "sms",
		get: func(d *auth.Device) any {
			if d.SMS == nil {
				return nil
			}
			return *d.SMS
		},
		json: func(text json.RawMessage) (edit, error) {
			value, err := read[*bool](text, "true or false")
			return set(value), err
		},
		cell: func(text string) (edit, error) {
			value, err := readBool(text)
			return set(value), err
		},
		show: func(d *auth.Device) string {
			if d.SMS == nil {
				return ""
			}
			return showBool(*d.SMS)
		},
	}
}

// labelsAttribute sets all labels at once; see mergeLabels for some of them.
func labelsAttribute() attribute {
	set := func(labels map[string]string) edit { return func(d *auth.Device) { d.Labels = maps.Clone(labels) } }
	return attribute{
		name: "labels",
		get: func(d *auth.Device) any {
			if len(d.Labels) == 0 {
				return nil
			}
			return d.Labels
		},
		json: func(text json.RawMessage) (edit, error) {
			given, err := read[map[string]*string](text, "an object of strings")
			labels := map[string]string{}
			for name, value := range given {
				if value != nil { // null clears
					labels[name] = *value
				}
			}
			return set(labels), err
		},
		cell: func(text string) (edit, error) {
			labels, err := parseLabels(unguard(text))
			return set(labels), err
		},
		show: func(d *auth.Device) string { return guardCell(formatLabels(d.Labels)) },
	}
}

// mergeLabels sets some labels, removes those that are null, and keeps the
// others (RFC 7396 §2).
func mergeLabels(text json.RawMessage) (edit, error) {
	changes, err := read[map[string]*string](text, "an object of strings and nulls")
	return func(d *auth.Device) {
		labels := maps.Clone(d.Labels)
		if labels == nil || isNull(text) {
			labels = map[string]string{}
		}
		for name, value := range changes {
			delete(labels, name)
			if value != nil {
				labels[name] = *value
			}
		}
		d.Labels = labels
	}, err
}

// read takes a value of one type; null is its zero.
func read[T any](text json.RawMessage, want string) (value T, err error) {
	if json.Unmarshal(text, &value) != nil {
		return value, errors.New("want " + want)
	}
	return value, nil
}

func isNull(text json.RawMessage) bool { return string(bytes.TrimSpace(text)) == "null" }

func showBool(value bool) string {
	if value {
		return "true"
	}
	return "false"
}

// readBool gives nil for "".
func readBool(text string) (*bool, error) {
	var value bool
	switch strings.ToLower(text) {
	case "":
		return nil, nil
	case "true", "yes", "1": // spreadsheets write TRUE
		value = true
	case "false", "no", "0":
	default:
		return nil, fmt.Errorf("%.32q is neither true nor false", text)
	}
	return &value, nil
}
