package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"m2mbridge/auth"
)

// row is what one line of an import says of a device.
type row struct {
	line   int
	id     auth.DeviceID
	secret string // "": the device keeps what it has
	edits  []edit
	fault  error // what is wrong with the line; the rest is then of no use
}

// rowReader gives rows; io.EOF after the last. An error is none of a row's.
type rowReader interface{ next() (row, error) }

// errHeader is a fault of a CSV file's first line: no row of it can be read.
var errHeader = errors.New("header")

// set takes an attribute, the id or the secret from one value.
func (r *row) set(known attributeList, name string, given func(*attribute) (edit, error), text func() (string, error)) error {
	switch name {
	case "id":
		value, err := text()
		if err == nil {
			r.id, err = auth.ParseDeviceID(strings.TrimSpace(value))
		}
		return err
	case "secret":
		value, err := text()
		if err == nil && value != "" {
			err = auth.CheckSecret(value)
		}
		r.secret = value
		return err
	}
	a := known.named(name)
	if a == nil {
		return errors.New("there is no such field; there are " + strings.Join(columns(), ", "))
	}
	e, err := given(a)
	r.edits = append(r.edits, e)
	return err
}

// columns are all that a row can say.
func columns() []string {
	names := []string{"id", "secret"}
	for _, a := range attributes() {
		names = append(names, a.name)
	}
	return names
}

// objectRows are JSON objects, one a line.
type objectRows struct {
	lines *lineReader
	known attributeList
}

func (o *objectRows) next() (row, error) {
	text, fault, err := o.lines.next()
	if err != nil {
		return row{}, err
	}
	r := row{line: o.lines.line, fault: fault}
	if fault == nil {
		r.fault = r.readObject(o.known, text)
	}
	return r, nil
}

func (r *row) readObject(known attributeList, text []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil || fields == nil {
		return errors.New("want one JSON object a line")
	}
	if err := strictJSON(text); err != nil {
		return err
	}
	var faults []string
	for name, value := range fields {
		err := r.set(known, name,
			func(a *attribute) (edit, error) { return a.json(value) },
			func() (string, error) { return read[string](value, "a string") })
		if err != nil {
			faults = append(faults, fmt.Sprintf("%.64s: %v", name, err))
		}
	}
	if _, ok := fields["id"]; !ok {
		faults = append(faults, "id: it is missing")
	}
	return joinFaults(faults)
}

func joinFaults(faults []string) error {
	if len(faults) == 0 {
		return nil
	}
	slices.Sort(faults)
	return errors.New(strings.Join(faults, "; "))
}
