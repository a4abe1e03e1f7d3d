package api

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A spreadsheet takes a cell that begins with one of these for a formula, and
// some formulas run programs. An export therefore puts a ' before it, which the
// spreadsheet shows as plain text and an import takes away again. So that an
// import of an export is what was exported, the same is done to a text that
// already has quotes before one of these; one like 's-Hertogenbosch stays as it is.
const formulaStarts = "=+-@\t\r"

func startsFormula(text string) bool {
	return text != "" && strings.IndexByte(formulaStarts, text[0]) >= 0
}

// guardCell keeps a text from being a formula.
func guardCell(text string) string {
	if startsFormula(strings.TrimLeft(text, "'")) {
		return "'" + text
	}
	return text
}

// unguard is guardCell's inverse.
func unguard(cell string) string {
	if rest, ok := strings.CutPrefix(cell, "'"); ok && startsFormula(strings.TrimLeft(rest, "'")) {
		return rest
	}
	return cell
}

// formatLabels writes labels into one cell: name=value, parted by ; in the order
// of the names. A backslash stands before a ; or a backslash in a value.
func formatLabels(labels map[string]string) string {
	var b strings.Builder
	escape := strings.NewReplacer(`\`, `\\`, ";", `\;`)
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if b.Len() > 0 {
			b.WriteByte(';')
		}
		b.WriteString(name + "=" + escape.Replace(labels[name]))
	}
	return b.String()
}

// parseLabels is formatLabels' inverse; blanks around names, and after a ;, do not count.
func parseLabels(cell string) (map[string]string, error) {
	labels := map[string]string{}
	for rest := cell; strings.TrimSpace(rest) != ""; {
		var pair string
		var err error
		if pair, rest, err = cutLabel(rest); err != nil {
			return nil, err
		}
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" {
			return nil, fmt.Errorf("%.64q is not name=value; labels are written a=b;c=d", pair)
		}
		if _, twice := labels[name]; twice {
			return nil, fmt.Errorf("label %.64q is given twice", name)
		}
		labels[name] = value
	}
	return labels, nil
}

// cutLabel takes what stands before the first ; that no backslash is before.
func cutLabel(text string) (pair, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case ';':
			return b.String(), text[i+1:], nil
		case '\\':
			if i++; i == len(text) || text[i] != ';' && text[i] != '\\' {
				return "", "", errors.New(`a backslash stands before ; or another backslash only`)
			}
		}
		b.WriteByte(text[i])
	}
	return b.String(), "", nil
}
