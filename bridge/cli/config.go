package cli

import (
	"bufio"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
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
	JSON          bool `name:"json" help:"Print JSON: each setting's value, and where it is from."`
}

// Help is the longer text of --help.
func (ConfigCmd) Help() string {
	return `Example, a file to begin with, and what of the settings is not the default:

  m2mbridge config > m2m.toml
  m2mbridge config --json | jq 'with_entries(select(.value.from != "default"))'`
}

const stars = "********"

// Run prints a TOML file that --config reads back to the same settings. Secrets
// are starred, and refused when read back (see refuseStars): left out they would
// silently become the defaults.
func (c *ConfigCmd) Run(env *Env) error {
	env.warnOfStray()
	if c.JSON {
		return errors.Join(printSettings(env), checked(env.Call, c.Validate()))
	}
	w := bufio.NewWriter(env.Stdout)
	fmt.Fprintf(w, "# The configuration of m2mbridge: a file for --config or M2M_CONFIG.\n"+
		"# A flag wins over its variable, that over this file.\n")
	group := ""
	for _, f := range settingsOf(env.Call.Command) {
		if f.Group != group {
			group = f.Group
			fmt.Fprintf(w, "\n# ---- %s ----\n", group)
		}
		printSetting(w, f, env.Settings.names[f], env.Settings.origin(env.Call, f))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return checked(env.Call, c.Validate())
}

// settingsOf are the flags of `config` that are serve's: not those about printing.
func settingsOf(c *flags.Command) []*flags.Flag {
	return slices.DeleteFunc(slices.Clone(c.Flags), func(f *flags.Flag) bool { return f.Name == "json" })
}

// setting is one in JSON.
type setting struct {
	Value any    `json:"value"`
	From  string `json:"from"`
}

// printSettings is the configuration as JSON, by key.
func printSettings(env *Env) error {
	all := map[string]setting{}
	for _, f := range settingsOf(env.Call.Command) {
		var value any
		// What is written for TOML is JSON too: texts, numbers, booleans and lists.
		if err := json.Unmarshal([]byte(shownValue(f)), &value); err != nil {
			return fmt.Errorf("print %s: %w", f.Name, err)
		}
		all[env.Settings.names[f].key] = setting{value, env.Settings.origin(env.Call, f)}
	}
	return json.NewEncoder(env.Stdout).Encode(all)
}

// origin says where the value of a flag comes from.
func (s *Settings) origin(call *flags.Invocation, f *flags.Flag) string {
	_, given := call.Given(f)
	switch from := call.Origin(f); {
	case given:
		return "flag"
	case from == "":
		return "default"
	case from == s.names[f].env:
		return "environment, " + from
	default:
		return "file, " + from
	}
}

// checked makes what [bridge.Config.Validate] found errors of the user's making,
// each with the source of its setting.
func checked(call *flags.Invocation, err error) error {
	if err == nil {
		return nil
	}
	return &usageError{blame(call, err)}
}

func blame(call *flags.Invocation, err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, err := range joined.Unwrap() {
			errs = append(errs, blame(call, err))
		}
		return errors.Join(errs...)
	}
	var setting *bridge.SettingError
	if errors.As(err, &setting) {
		for _, f := range call.Command.Flags {
			if f.Name == setting.Key {
				return fmt.Errorf("%s: %s", call.Named(f), setting.Reason)
			}
		}
	}
	return err
}

func printSetting(w io.Writer, f *flags.Flag, n names, from string) {
	fmt.Fprintln(w)
	for _, line := range flags.Wrap(f.Help, 96) {
		fmt.Fprintf(w, "# %s\n", line)
	}
	fmt.Fprintf(w, "# --%s, %s; here by: %s\n", f.Name, n.env, from)
	fmt.Fprintf(w, "%s = %s\n", n.key, shownValue(f))
}

// shownValue is a setting's value as TOML, secrets starred.
func shownValue(f *flags.Flag) string {
	switch {
	case f.Secret && f.Value.String() != "":
		return strconv.Quote(stars)
	case f.Name == "redis":
		return strconv.Quote(store.Redact(f.Value.String()))
	case f.Name == "sms":
		return strconv.Quote(redactGateway(f.Value.String()))
	}
	return tomlValue(f.Value)
}

// redactGateway stars the password in the URL of an SMS gateway.
func redactGateway(url string) string {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok { // loopback:, http:FILE
		return url
	}
	end := len(rest)
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		end = i
	}
	// An @ behind the ? may be a parameter's: the one before it ends the password, if there is one.
	if q := strings.IndexByte(rest, '?'); q >= 0 {
		if i := strings.LastIndexByte(rest[:q], '@'); i >= 0 {
			end = i
		}
	}
	user, _, ok := strings.Cut(rest[:end], ":")
	if !ok {
		return url
	}
	return scheme + "://" + user + ":" + stars + rest[end:]
}

// holdsPassword tells of the settings that are URLs with a password in them, perhaps.
func holdsPassword(f *flags.Flag) bool { return f.Name == "redis" || f.Name == "sms" }

// refuseStars finds a secret that was copied from where it is shown starred.
func refuseStars(call *flags.Invocation) error {
	var errs []error
	for _, f := range call.Command.Flags {
		if (f.Secret || holdsPassword(f)) && strings.Contains(f.Value.String(), stars) {
			errs = append(errs, fmt.Errorf("%s: it holds a starred secret, put the real one in", call.Named(f)))
		}
	}
	return errors.Join(errs...)
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
