package cli

import (
	"bufio"
	"encoding"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"m2mbridge/bridge"
	"m2mbridge/bridge/store"
)

// ConfigCmd is `m2mbridge config`: it takes every flag of serve and prints
// what serve would run with.
type ConfigCmd struct {
	bridge.Config `embed:""`
}

const stars = "********"

// Run prints a TOML file that --config reads back to the same settings, bar
// secrets, which are commented out.
func (c *ConfigCmd) Run(env *Env, command *kong.Context) error {
	w := bufio.NewWriter(env.Stdout)
	fmt.Fprintf(w, "# The configuration of m2mbridge: a file for --config or M2M_CONFIG.\n"+
		"# A flag wins over its variable, that over this file.\n")
	group := ""
	for _, flag := range command.Selected().Flags {
		if flag.Group != nil && flag.Group.Title != group {
			group = flag.Group.Title
			fmt.Fprintf(w, "\n# ---- %s ----\n", group)
		}
		printSetting(w, env.Settings, flag)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	if err := c.Validate(); err != nil {
		return &usageError{err}
	}
	return nil
}

func printSetting(w io.Writer, s *Settings, flag *kong.Flag) {
	n := s.names[flag.Value]
	if n.key == "" {
		return
	}
	from := s.Origin(flag)
	if from == fromFile {
		from += " " + s.path
	}
	fmt.Fprintln(w)
	for _, line := range wrap(flag.Help, 96) {
		fmt.Fprintf(w, "# %s\n", line)
	}
	fmt.Fprintf(w, "# --%s, %s; here by: %s\n", flag.Name, n.env, from)
	value, secret := tomlValue(flag.Target), false
	if flag.Tag.Has("secret") {
		value, secret = strconv.Quote(mask(flag.Target.String())), true
	}
	if flag.Name == "redis" {
		shown := store.Redact(flag.Target.String())
		value, secret = strconv.Quote(shown), shown != flag.Target.String()
	}
	if secret {
		fmt.Fprintf(w, "# ") // not to be read back: the stars are not the secret
	}
	fmt.Fprintf(w, "%s = %s\n", n.key, value)
}

func mask(secret string) string {
	if secret == "" {
		return ""
	}
	return stars
}

// tomlValue writes what [Settings] reads back.
func tomlValue(v reflect.Value) string {
	if d, ok := v.Interface().(time.Duration); ok {
		return strconv.Quote(shortDuration(d))
	}
	if v.Kind() == reflect.Slice {
		items := make([]string, v.Len())
		for i := range items {
			items[i] = tomlValue(v.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	if l, ok := v.Interface().(slog.Level); ok {
		return strconv.Quote(strings.ToLower(l.String()))
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		if err == nil {
			return strconv.Quote(string(text))
		}
	}
	if v.Kind() == reflect.String {
		return strconv.Quote(v.String())
	}
	return fmt.Sprint(v.Interface())
}

// shortDuration is "168h" where Go says "168h0m0s".
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
