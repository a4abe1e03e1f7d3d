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

	"m2mbridge/bridge"
	"m2mbridge/bridge/flags"
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
func (c *ConfigCmd) Run(env *Env) error {
	w := bufio.NewWriter(env.Stdout)
	fmt.Fprintf(w, "# The configuration of m2mbridge: a file for --config or M2M_CONFIG.\n"+
		"# A flag wins over its variable, that over this file.\n")
	group := ""
	for _, f := range env.Call.Command.Flags {
		if f.Group != group {
			group = f.Group
			fmt.Fprintf(w, "\n# ---- %s ----\n", group)
		}
		printSetting(w, f, env.Settings.names[f], origin(env.Call, f))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	if err := c.Validate(); err != nil {
		return &usageError{err}
	}
	return nil
}

func origin(call *flags.Invocation, f *flags.Flag) string {
	if _, ok := call.Given(f); ok {
		return "flag"
	}
	if from := call.Origin(f); from != "" {
		return from
	}
	return "default"
}

func printSetting(w io.Writer, f *flags.Flag, n names, from string) {
	fmt.Fprintln(w)
	for _, line := range flags.Wrap(f.Help, 96) {
		fmt.Fprintf(w, "# %s\n", line)
	}
	fmt.Fprintf(w, "# --%s, %s; here by: %s\n", f.Name, n.env, from)
	value, secret := tomlValue(f.Value), false
	if f.Secret {
		value, secret = strconv.Quote(mask(f.Value.String())), true
	}
	if f.Name == "redis" {
		shown := store.Redact(f.Value.String())
		value, secret = strconv.Quote(shown), shown != f.Value.String()
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
