package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// cellRows are the lines of a CSV file behind its header (RFC 4180, but that a
// cell has no line ends: nothing of a device does).
type cellRows struct {
	lines  *lineReader
	known  attributeList
	names  []string // of the columns; nil: the header is still to be read
	comma  byte
	cells  []string
	header error
}

func (c *cellRows) next() (row, error) {
	if c.names == nil {
		if err := c.readHeader(); err != nil || c.header != nil {
			return row{line: c.lines.line, fault: c.header}, err
		}
	}
	text, fault, err := c.lines.next()
	if err != nil {
		return row{}, err
	}
	r := row{line: c.lines.line, fault: fault}
	if fault == nil {
		r.fault = c.readCells(&r, string(text))
	}
	return r, nil
}

func (c *cellRows) readCells(r *row, text string) (err error) {
	if c.cells, err = splitCells(c.cells[:0], text, c.comma); err != nil {
		return err
	}
	if len(c.cells) != len(c.names) {
		return fmt.Errorf("it has %d cells, the header has %d", len(c.cells), len(c.names))
	}
	var faults []string
	for i, name := range c.names {
		cell := c.cells[i]
		err := r.set(c.known, name,
			func(a *attribute) (edit, error) { return a.cell(cell) },
			func() (string, error) { return cell, nil })
		if err != nil {
			faults = append(faults, name+": "+err.Error())
		}
	}
	return joinFaults(faults)
}

// readHeader reads the names of the columns; c.header is what is wrong with them.
func (c *cellRows) readHeader() error {
	text, fault, err := c.lines.next()
	if comma, ok := spreadsheetComma(text); ok && err == nil && c.lines.line == 1 {
		c.comma = comma
		text, fault, err = c.lines.next()
	}
	switch {
	case errors.Is(err, io.EOF):
		fault, c.lines.line = errors.New("there is none, the file is empty: its first line names the columns"), 1
	case err != nil:
		return err
	case bytes.IndexByte(text, '\r') >= 0:
		fault = errOnlyCR
	}
	if fault == nil {
		if c.comma == 0 {
			c.comma = commaOf(string(text))
		}
		c.cells, fault = splitCells(nil, string(text), c.comma)
	}
	if fault == nil {
		c.names, fault = readNames(c.cells)
	}
	if fault != nil {
		c.header = fmt.Errorf("%w: %w", errHeader, fault)
	}
	return nil
}

// spreadsheetComma reads the line that a spreadsheet may write before the header
// to tell what parts the cells: sep=;
func spreadsheetComma(line []byte) (comma byte, ok bool) {
	text := strings.Trim(string(line), `"`)
	if len(text) == 5 && strings.EqualFold(text[:4], "sep=") && strings.IndexByte(",;\t", text[4]) >= 0 {
		return text[4], true
	}
	return 0, false
}

// commaOf is what parts the cells: where the comma is the decimal point,
// spreadsheets write semicolons.
func commaOf(header string) byte {
	for _, comma := range []byte{',', ';', '\t'} {
		if strings.IndexByte(header, comma) >= 0 {
			return comma
		}
	}
	return ','
}

func readNames(cells []string) ([]string, error) {
	known, seen := columns(), map[string]bool{}
	var names, faults []string
	for _, cell := range cells {
		name := columnOf(known, cell)
		switch {
		case name == "":
			faults = append(faults, fmt.Sprintf("unknown column %.64q", cell))
		case seen[name]:
			faults = append(faults, "column "+name+" twice")
		}
		seen[name] = true
		names = append(names, name)
	}
	if !seen["id"] {
		faults = append(faults, "no column id")
	}
	if len(faults) > 0 {
		faults = append(faults, "there are "+strings.Join(known, ", "))
		return nil, errors.New(strings.Join(faults, "; "))
	}
	return names, nil
}

func columnOf(known []string, cell string) string {
	for _, name := range known {
		if strings.EqualFold(name, strings.TrimSpace(cell)) {
			return name
		}
	}
	return ""
}

// splitCells parts a line into its cells and takes the quotes off.
func splitCells(cells []string, line string, comma byte) ([]string, error) {
	for {
		if !strings.HasPrefix(line, `"`) {
			cell, rest, more := strings.Cut(line, string(comma))
			cells = append(cells, cell)
			if !more {
				return cells, nil
			}
			line = rest
			continue
		}
		cell, rest, err := cutQuoted(line[1:])
		if err != nil {
			return cells, err
		}
		cells = append(cells, cell)
		switch {
		case rest == "":
			return cells, nil
		case rest[0] != comma:
			return cells, fmt.Errorf("cell %d goes on behind its closing quote", len(cells))
		}
		line = rest[1:]
	}
}

// cutQuoted reads up to the closing quote; two quotes stand for one.
func cutQuoted(text string) (cell, rest string, err error) {
	var b strings.Builder
	for {
		part, after, ok := strings.Cut(text, `"`)
		b.WriteString(part)
		if !ok {
			return "", "", errors.New("a quoted cell does not end on its line")
		}
		if !strings.HasPrefix(after, `"`) {
			return b.String(), after, nil
		}
		b.WriteByte('"')
		text = after[1:]
	}
}
