package flags

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	lineWidth = 80
	leftWidth = 28 // of the column of names; a longer one has its line to itself
)

// WriteHelp writes what a command is for and how it is called. note may add to
// a flag's help; nil adds nothing.
func (c *Command) WriteHelp(w io.Writer, note func(*Flag) string) error {
	h := &helpPage{note: note}
	h.line("Usage: %s", c.usage())
	h.paragraph(c.Help)
	if c.Detail != "" {
		h.line("")
		h.line("%s", strings.TrimSpace(c.Detail))
	}
	h.section("Arguments:", c.Args, func(f *Flag) string { return f.argument() })
	h.commands(c)
	h.line("")
	h.line("Flags:")
	h.row("-h, --help", "Print this text.")
	for _, of := range c.path() {
		h.flags(of, "")
	}
	for _, group := range c.groups() {
		h.line("")
		h.line("%s:", group)
		h.flags(c, group)
	}
	_, err := io.WriteString(w, h.b.String())
	return err
}

func (c *Command) usage() string {
	var words []string
	for _, p := range c.path() {
		words = append([]string{p.Name}, words...)
	}
	if len(c.Commands) > 0 {
		words = append(words, "<command>")
	}
	for _, f := range c.Args {
		words = append(words, f.argument())
	}
	for _, f := range c.Flags {
		if f.Required {
			words = append(words, f.form())
		}
	}
	return strings.Join(append(words, "[flags]"), " ")
}

// argument is how an argument stands in the usage line.
func (f *Flag) argument() string {
	name := "<" + f.Name + ">"
	if f.isList() {
		name += " ..."
	}
	if !f.Required {
		name = "[" + name + "]"
	}
	return name
}

// form is how a flag is given.
func (f *Flag) form() string {
	switch {
	case f.IsBool() && f.Negatable:
		return "--[no-]" + f.Name
	case f.IsBool():
		return "--" + f.Name
	}
	return "--" + f.Name + "=" + f.Placeholder
}

// defaultNote tells the default where its form does not.
func (f *Flag) defaultNote() string {
	shown := f.Default == f.Placeholder // --name=default
	if f.IsBool() {
		shown = f.Default == "false"
	}
	if f.Default == "" || shown {
		return ""
	}
	return " Default: " + f.Default + "."
}

// groups are the headings of the command's flags, in order.
func (c *Command) groups() []string {
	var groups []string
	for _, f := range c.Flags {
		if f.Group != "" && !f.Hidden && (len(groups) == 0 || groups[len(groups)-1] != f.Group) {
			groups = append(groups, f.Group)
		}
	}
	return groups
}

type helpPage struct {
	b    strings.Builder
	note func(*Flag) string
}

func (h *helpPage) line(format string, args ...any) { fmt.Fprintf(&h.b, format+"\n", args...) }

func (h *helpPage) paragraph(text string) {
	h.line("")
	for _, line := range Wrap(text, lineWidth) {
		h.line("%s", line)
	}
}

func (h *helpPage) section(title string, flags []*Flag, left func(*Flag) string) {
	if len(flags) == 0 {
		return
	}
	h.line("")
	h.line("%s", title)
	for _, f := range flags {
		h.row(left(f), f.Help)
	}
}

func (h *helpPage) commands(c *Command) {
	if len(c.Commands) == 0 {
		return
	}
	h.line("")
	h.line("Commands:")
	for _, child := range c.Commands {
		h.row(child.Name, child.Help)
	}
}

func (h *helpPage) flags(c *Command, group string) {
	for _, f := range c.Flags {
		if f.Hidden || f.Group != group {
			continue
		}
		left := "    " + f.form()
		if f.Short != "" {
			left = "-" + f.Short + ", " + f.form()
		}
		help := f.Help + f.defaultNote()
		if h.note != nil {
			help += h.note(f)
		}
		h.row(left, help)
	}
}

// row is a name on the left and its help on the right.
func (h *helpPage) row(left, right string) {
	lines := Wrap(right, lineWidth-leftWidth-4)
	if utf8.RuneCountInString(left) > leftWidth {
		h.line("  %s", left)
		left = ""
	}
	for _, line := range lines {
		h.line("%s", strings.TrimRight(fmt.Sprintf("  %-*s  %s", leftWidth, left, line), " "))
		left = ""
	}
}

// Wrap breaks a text into lines of at most width letters; a longer word has a
// line to itself.
func Wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
