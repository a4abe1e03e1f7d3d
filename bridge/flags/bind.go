package flags

import (
	"encoding"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Source says what a flag's value is when the command line does not: its text,
// and for people where it comes from.
type Source func(*Flag) (text, from string, ok bool)

// Bind sets the flags of the command and its parents, and its arguments: from
// the command line, else from source, else their defaults.
func (in *Invocation) Bind(source Source) error {
	for _, c := range in.Command.path() {
		for _, f := range c.Flags {
			if err := in.bind(f, source); err != nil {
				return err
			}
		}
	}
	none := func(*Flag) (string, string, bool) { return "", "", false }
	for _, f := range in.Command.Args {
		if err := in.bind(f, none); err != nil {
			return err
		}
	}
	return nil
}

func (in *Invocation) bind(f *Flag, source Source) error {
	f.Value.SetZero()
	texts := in.given[f]
	if len(texts) == 0 {
		switch text, from, ok := source(f); {
		case ok:
			texts = []string{text}
			in.origin[f] = from
		case f.HasDefault:
			texts = []string{f.Default}
		case f.Required:
			return fmt.Errorf("%s is missing", in.onLine(f))
		}
	}
	for _, text := range texts {
		if err := f.set(text); err != nil {
			return fmt.Errorf("%s: %w", in.Named(f), err)
		}
	}
	return nil
}

// Named is what an error calls the flag, so that its value is found: --size as
// the command line gave it, else size and the source it is from, if any.
func (in *Invocation) Named(f *Flag) string {
	if _, given := in.given[f]; given {
		return in.onLine(f)
	}
	if from := in.origin[f]; from != "" {
		return f.Name + " (from " + from + ")"
	}
	return f.Name
}

func (in *Invocation) onLine(f *Flag) string {
	if slices.Contains(in.Command.Args, f) {
		return "<" + f.Name + ">"
	}
	return "--" + f.Name
}

// Given tells whether the command line gave the flag.
func (in *Invocation) Given(f *Flag) (text string, ok bool) {
	texts := in.given[f]
	if len(texts) == 0 {
		return "", false
	}
	return texts[len(texts)-1], true
}

// Origin tells what source said of where the value came from; empty: it is the
// default, or Given.
func (in *Invocation) Origin(f *Flag) string { return in.origin[f] }

// Defaults sets every flag of the struct that target points to to its default.
func Defaults(target any) error {
	in := &Invocation{Command: New("", "", target)}
	in.origin = map[*Flag]string{}
	return in.Bind(func(*Flag) (string, string, bool) { return "", "", false })
}

// set reads one text; of a list it adds to what is there.
func (f *Flag) set(text string) error {
	if !f.isList() {
		return errors.Join(setValue(f.Value, text), f.check(text))
	}
	parts := []string{text}
	if !f.Whole {
		parts = strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
	}
	for _, part := range parts {
		if err := errors.Join(f.check(part), f.add(part)); err != nil {
			return err
		}
	}
	return nil
}

func (f *Flag) check(text string) error {
	if len(f.Enum) == 0 || slices.Contains(f.Enum, text) {
		return nil
	}
	return fmt.Errorf("%q is none of %s", text, strings.Join(f.Enum, ", "))
}

func (f *Flag) add(text string) error {
	if f.Value.Kind() == reflect.Slice {
		item := reflect.New(f.Value.Type().Elem()).Elem()
		err := setValue(item, text)
		f.Value.Set(reflect.Append(f.Value, item))
		return err
	}
	key, value, ok := strings.Cut(text, "=")
	if !ok {
		return fmt.Errorf("%q is not NAME=VALUE", text)
	}
	if f.Value.IsNil() {
		f.Value.Set(reflect.MakeMap(f.Value.Type()))
	}
	f.Value.SetMapIndex(reflect.ValueOf(key), reflect.ValueOf(value))
	return nil
}

func setValue(v reflect.Value, text string) error {
	switch reads := v.Addr().Interface().(type) {
	case *slog.Level:
		if reads.UnmarshalText([]byte(text)) != nil {
			return fmt.Errorf("%q is none of debug, info, warn, error", text)
		}
		return nil
	case *netip.Prefix:
		if reads.UnmarshalText([]byte(text)) != nil {
			return fmt.Errorf("%q is no network such as 10.0.0.0/8 or 2001:db8::/32", text)
		}
		return nil
	case encoding.TextUnmarshaler:
		return reads.UnmarshalText([]byte(text))
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is no duration such as 90s, 10m or 48h", text)
		}
		*reads = d
		return nil
	}
	var err error
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		var b bool
		b, err = parseBool(text)
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		var n int64
		if n, err = strconv.ParseInt(text, 10, 64); err != nil {
			err = fmt.Errorf("%q is no whole number", text)
		}
		v.SetInt(n)
	case reflect.Float64:
		var n float64
		if n, err = strconv.ParseFloat(text, 64); err != nil {
			err = fmt.Errorf("%q is no number", text)
		}
		v.SetFloat(n)
	default:
		err = fmt.Errorf("a flag cannot be of type %s", v.Type())
	}
	return err
}

func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", text)
}
