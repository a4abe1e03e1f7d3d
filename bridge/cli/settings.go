package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/alecthomas/kong"
)

// Settings answers for the flags that were not given: from the environment,
// else from the file. It replaces kong's own reading of the environment, which
// is tied to the process's.
type Settings struct {
	environ map[string]string
	path    string         // the file; empty: none
	file    map[string]any // by key, tables flattened with dots
	names   map[*kong.Value]names
	origin  map[*kong.Value]string
}

// names are what a flag is called elsewhere.
type names struct{ env, key string }

// Where a value can come from.
const (
	fromDefault     = "default"
	fromFlag        = "flag"
	fromEnvironment = "environment"
	fromFile        = "file"
)

func newSettings(environ []string) *Settings {
	s := &Settings{environ: map[string]string{}, names: map[*kong.Value]names{}, origin: map[*kong.Value]string{}}
	for _, e := range environ {
		// An empty variable is how compose files and shells say "not set".
		if name, value, ok := strings.Cut(e, "="); ok && value != "" {
			s.environ[name] = value
		}
	}
	return s
}

// adopt gives every flag of the model its variable and key (see the package
// comment), and takes the environment away from kong.
func (s *Settings) adopt(k *kong.Kong) error {
	s.adoptNode(k.Model.Node, nil)
	return nil
}

func (s *Settings) adoptNode(n *kong.Node, words []string) {
	for _, flag := range n.Flags {
		s.names[flag.Value] = nameOf(flag, words)
		flag.Tag.Envs, flag.Envs = nil, nil
	}
	for _, child := range n.Children {
		s.adoptNode(child, append(words[:len(words):len(words)], child.Name))
	}
}

// nameOf names a flag of the command that words are, "device", "add" for
// `m2mbridge device add`.
func nameOf(flag *kong.Flag, words []string) names {
	switch {
	case flag.Name == "help" || flag.Name == "version":
		return names{}
	case flag.Name == "config":
		return names{env: flag.Tag.Envs[0]}
	case len(flag.Tag.Envs) > 0:
		return names{env: flag.Tag.Envs[0], key: flag.Name}
	}
	words = append(words[:len(words):len(words)], flag.Name)
	env := strings.ToUpper(strings.ReplaceAll(strings.Join(words, "_"), "-", "_"))
	return names{env: "M2M_" + env, key: strings.Join(words, ".")}
}

// open reads the file that --config or M2M_CONFIG names, if any. It runs when
// the flags are known and nothing is resolved yet.
func (s *Settings) open(c *kong.Context) error {
	s.path = s.environ["M2M_CONFIG"]
	for _, p := range c.Path {
		if p.Flag == nil {
			continue
		}
		s.origin[p.Flag.Value] = fromFlag
		if p.Flag.Name == "config" {
			s.path = fmt.Sprint(c.FlagValue(p.Flag))
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

// Validate is part of kong's Resolver.
func (s *Settings) Validate(*kong.Application) error { return nil }

// Resolve is kong's question for the value of a flag that was not given.
func (s *Settings) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	n := s.names[flag.Value]
	if value, ok := s.environ[n.env]; ok && n.env != "" {
		s.origin[flag.Value] = fromEnvironment
		return value, nil
	}
	if value, ok := s.file[n.key]; ok && n.key != "" {
		s.origin[flag.Value] = fromFile
		return text(value), nil
	}
	return nil, nil
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

// Origin tells where a flag's value came from.
func (s *Settings) Origin(flag *kong.Flag) string {
	if from, ok := s.origin[flag.Value]; ok {
		return from
	}
	return fromDefault
}

// Stray lists the M2M_ variables that are no setting's, most likely misspelt.
func (s *Settings) Stray() []string {
	known := map[string]bool{}
	for _, n := range s.names {
		known[n.env] = true
	}
	var stray []string
	for name := range s.environ {
		if strings.HasPrefix(name, "M2M_") && !known[name] {
			stray = append(stray, name)
		}
	}
	slices.Sort(stray)
	return stray
}

// helpText is a flag's help with its variable.
func (s *Settings) helpText(v *kong.Value) string {
	if n := s.names[v]; n.env != "" {
		return v.Help + " ($" + n.env + ")"
	}
	return v.Help
}
