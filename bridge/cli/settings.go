package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"m2mbridge/bridge/flags"
)

// Settings answers for the flags that were not given: from the environment,
// else from the file.
type Settings struct {
	environ map[string]string
	path    string         // the file; empty: none
	file    map[string]any // by key, tables flattened with dots
	names   map[*flags.Flag]names
}

// names are what a flag is called elsewhere.
type names struct{ env, key string }

func newSettings(environ []string) *Settings {
	s := &Settings{environ: map[string]string{}, names: map[*flags.Flag]names{}}
	for _, e := range environ {
		// An empty variable is how compose files and shells say "not set".
		if name, value, ok := strings.Cut(e, "="); ok && value != "" {
			s.environ[name] = value
		}
	}
	return s
}

// adopt gives every flag its variable and key (see the package comment).
func (s *Settings) adopt(root *flags.Command) {
	root.Walk(func(c *flags.Command) {
		for _, f := range c.Flags {
			s.names[f] = nameOf(f, c.Words())
		}
	})
}

// nameOf names a flag of the command that words are, "device", "add" for
// `m2mbridge device add`.
func nameOf(f *flags.Flag, words []string) names {
	switch {
	case f.Alone:
		return names{}
	case f.Env == "M2M_CONFIG": // no key: a file does not name another
		return names{env: f.Env}
	case f.Env != "":
		return names{env: f.Env, key: f.Name}
	}
	words = append(words, f.Name)
	env := strings.ToUpper(strings.ReplaceAll(strings.Join(words, "_"), "-", "_"))
	return names{env: "M2M_" + env, key: strings.Join(words, ".")}
}

// open reads the file that --config or M2M_CONFIG names, if any.
func (s *Settings) open(call *flags.Invocation) error {
	s.path = s.environ["M2M_CONFIG"]
	for f, n := range s.names {
		if given, ok := call.Given(f); ok && n.env == "M2M_CONFIG" {
			s.path = given
		}
	}
	if s.path == "" {
		return nil
	}
	var tree map[string]any
	if _, err := toml.DecodeFile(s.path, &tree); err != nil {
		return fmt.Errorf("read %s: %w", s.path, err)
	}
	s.file = map[string]any{}
	s.flatten("", tree)
	return s.refuseUnknown()
}

func (s *Settings) flatten(prefix string, tree map[string]any) {
	for key, value := range tree {
		if table, ok := value.(map[string]any); ok {
			s.flatten(prefix+key+".", table)
			continue
		}
		s.file[prefix+key] = value
	}
}

func (s *Settings) refuseUnknown() error {
	known := map[string]bool{}
	for _, n := range s.names {
		known[n.key] = true
	}
	var unknown []string
	for key := range s.file {
		if !known[key] {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	return fmt.Errorf("%s: unknown key %s", s.path, strings.Join(unknown, ", "))
}

// source is where the value of a flag that was not given comes from.
func (s *Settings) source(f *flags.Flag) (value, from string, ok bool) {
	n := s.names[f]
	if value, ok := s.environ[n.env]; ok && n.env != "" {
		return value, n.env, true
	}
	if value, ok := s.file[n.key]; ok && n.key != "" {
		return text(value), s.path, true
	}
	return "", "", false
}

// text writes a TOML value as it would stand on the command line, so that it
// is read, and refused, in the same way.
func text(value any) string {
	list, ok := value.([]any)
	if !ok {
		return fmt.Sprint(value)
	}
	items := make([]string, len(list))
	for i, item := range list {
		items[i] = fmt.Sprint(item)
	}
	return strings.Join(items, ",")
}

// warnOfStray tells of variables that were meant as settings, and are none.
func (e *Env) warnOfStray() {
	for _, name := range e.Settings.Stray() {
		attrs := []any{"name", name}
		if meant := e.Settings.meant(name); meant != "" {
			attrs = append(attrs, "meant", meant)
		}
		e.Log.Warn("environment variable is no setting's", attrs...)
	}
}

// meant is the variable whose name is closest to a stray one's.
func (s *Settings) meant(name string) string {
	_, name, _ = strings.Cut(name, "_")
	var known []string
	for _, n := range s.names {
		if n.env != "" {
			known = append(known, n.env)
		}
	}
	slices.Sort(known)
	return flags.Closest("M2M_"+strings.ToUpper(name), known)
}

// Stray lists the M2M_ variables that are no setting's, most likely misspelt,
// and those of a setting that begin with the program's name instead.
func (s *Settings) Stray() []string {
	known := map[string]bool{}
	for _, n := range s.names {
		known[n.env] = true
	}
	var stray []string
	for name := range s.environ {
		// Kubernetes sets M2MBRIDGE_PORT and more for a service of that name.
		after, whole := strings.CutPrefix(strings.ToUpper(name), "M2MBRIDGE_")
		ours := strings.HasPrefix(strings.ToUpper(name), "M2M_") || whole && known["M2M_"+after]
		if ours && !known[name] {
			stray = append(stray, name)
		}
	}
	slices.Sort(stray)
	return stray
}

// note adds a flag's variable to its help.
func (s *Settings) note(f *flags.Flag) string {
	if n := s.names[f]; n.env != "" {
		return " ($" + n.env + ")"
	}
	return ""
}
