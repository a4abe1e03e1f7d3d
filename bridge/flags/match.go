package flags

import (
	"fmt"
	"slices"
	"strings"
)

// Invocation is a command line that fits: which command, and what was said.
type Invocation struct {
	Command *Command
	Alone   string // name of a flag that wants nothing else, "help" among them; empty: none
	given   map[*Flag][]string
	origin  map[*Flag]string
}

// Match finds the command that args mean, and the flags they give. It sets
// nothing: see [Invocation.Bind]. Beside an error the invocation tells the command
// as far as it was understood.
func (c *Command) Match(args []string) (*Invocation, error) {
	m := &matcher{Invocation: Invocation{Command: c, given: map[*Flag][]string{}, origin: map[*Flag]string{}}, rest: args}
	for len(m.rest) > 0 && m.Alone == "" {
		if err := m.next(); err != nil {
			return &m.Invocation, err
		}
	}
	if m.Alone == "" && len(m.Command.Commands) > 0 {
		return &m.Invocation, fmt.Errorf("expected one of %s", quoteNames(m.Command.Commands))
	}
	return &m.Invocation, nil
}

type matcher struct {
	Invocation
	rest    []string
	literal bool // after --: no more flags
	args    int  // arguments taken so far
}

func (m *matcher) next() error {
	word := m.rest[0]
	m.rest = m.rest[1:]
	switch {
	case m.literal || len(word) < 2 || word[0] != '-':
		return m.word(word)
	case word == "--":
		m.literal = true
		return nil
	case word == "-h" || word == "--help":
		m.Alone = "help"
		return nil
	case word[1] == '-':
		name, value, hasValue := strings.Cut(word[2:], "=")
		return m.long(name, value, hasValue)
	}
	return m.short(word)
}

// word is the name of a subcommand, or an argument.
func (m *matcher) word(word string) error {
	if len(m.Command.Commands) > 0 {
		for _, child := range m.Command.Commands {
			if child.Name == word {
				m.Command = child
				return nil
			}
		}
		return fmt.Errorf("unknown command %q%s", word, suggest(word, commandNames(m.Command.Commands), ""))
	}
	if m.args >= len(m.Command.Args) {
		return fmt.Errorf("unexpected argument %q", word)
	}
	f := m.Command.Args[m.args]
	m.given[f] = append(m.given[f], word)
	if !f.isList() {
		m.args++
	}
	return nil
}

func (m *matcher) long(name, value string, hasValue bool) error {
	f := m.find(func(f *Flag) bool { return f.Name == name })
	if f == nil && !hasValue {
		positive, _ := strings.CutPrefix(name, "no-")
		if f = m.find(func(f *Flag) bool { return f.Negatable && f.Name == positive }); f != nil {
			m.given[f] = append(m.given[f], "false")
			return nil
		}
	}
	if f == nil {
		return fmt.Errorf("unknown flag --%s%s", name, suggest(name, m.flagNames(), "--"))
	}
	return m.give(f, value, hasValue)
}

// short is -s value, -svalue or -s=value.
func (m *matcher) short(word string) error {
	f := m.find(func(f *Flag) bool { return f.Short != "" && strings.HasPrefix(word[1:], f.Short) })
	if f == nil {
		return fmt.Errorf("unknown flag %s", word)
	}
	value := strings.TrimPrefix(word[1+len(f.Short):], "=")
	return m.give(f, value, value != "")
}

func (m *matcher) give(f *Flag, value string, hasValue bool) error {
	switch {
	case hasValue:
	case f.IsBool():
		value = "true"
	case len(m.rest) == 0 || strings.HasPrefix(m.rest[0], "--"):
		return fmt.Errorf("--%s: a value is missing (write --%s=%s)", f.Name, f.Name, f.Placeholder)
	default:
		value, m.rest = m.rest[0], m.rest[1:]
	}
	if f.Alone {
		m.Alone = f.Name
	}
	m.given[f] = append(m.given[f], value)
	return nil
}

// find looks for a flag of the command, then of its parents.
func (m *matcher) find(is func(*Flag) bool) *Flag {
	for _, c := range m.Command.path() {
		if i := slices.IndexFunc(c.Flags, is); i >= 0 {
			return c.Flags[i]
		}
	}
	return nil
}

func (m *matcher) flagNames() []string {
	var names []string
	for _, c := range m.Command.path() {
		for _, f := range c.Flags {
			names = append(names, f.Name)
		}
	}
	return names
}

func commandNames(commands []*Command) []string {
	names := make([]string, len(commands))
	for i, c := range commands {
		names[i] = c.Name
	}
	return names
}

func quoteNames(commands []*Command) string { return strings.Join(commandNames(commands), ", ") }
