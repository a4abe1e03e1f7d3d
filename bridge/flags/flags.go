// Package flags makes a command line of a struct: its fields' tags name the
// flags, arguments and subcommands. It knows nothing of where else a value may
// come from: the caller's [Source] does.
//
// It is in place of a library because those that call methods by name through
// reflection (kong does) keep the linker from dropping any exported method of
// any package: the program was 9 MB larger with one, a third of it.
//
// The tags, most of them kong's:
//
//	cmd:""           the field, a struct, is a subcommand
//	embed:""         the field's own fields are taken as if they stood here
//	                 (so are those of an anonymous struct)
//	arg:""           the field is a positional argument; optional:"" may be left out
//	name:"x"         instead of the field's name, RatePlan being rate-plan
//	help:"…"         a sentence
//	short:"s"        -s for short
//	default:"x"      what is set when nobody says otherwise
//	required:""      somebody has to say something
//	enum:"a,b"       the only values there are
//	negatable:""     of a bool: --no-x too
//	mapsep:"none"    of a map or slice: one element each time; else commas part them, but for an arg
//	placeholder:"X"  the value, in help
//	group:"X"        the heading in help
//	hidden:""        not in help
//	env:"X"          kept for the caller, as is secret:""
//	alone:""         of a bool: whoever gives it wants nothing else, as of --version
package flags

import (
	"encoding"
	"reflect"
	"strings"
	"unicode"
)

// Command is a command with its flags and subcommands.
type Command struct {
	Name     string
	Help     string
	Detail   string // what the struct's Help() string says, if it has one
	Flags    []*Flag
	Args     []*Flag
	Commands []*Command
	Parent   *Command // nil: the program
	Target   any      // the pointer to the struct
}

// Flag is a flag or an argument.
type Flag struct {
	Name, Help, Placeholder, Group, Env, Default string

	Short      string // one letter, or none
	Enum       []string
	HasDefault bool
	Required   bool
	Negatable  bool
	Hidden     bool
	Secret     bool
	Alone      bool
	Whole      bool // commas do not part it
	Value      reflect.Value
}

// New reads the tags of the struct that target points to.
func New(name, help string, target any) *Command {
	c := &Command{Name: name, Help: help, Target: target}
	if d, ok := target.(interface{ Help() string }); ok {
		c.Detail = d.Help()
	}
	c.read(reflect.ValueOf(target).Elem())
	return c
}

func (c *Command) read(v reflect.Value) {
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		_, isCommand := field.Tag.Lookup("cmd")
		_, isEmbedded := field.Tag.Lookup("embed")
		_, isArg := field.Tag.Lookup("arg")
		switch {
		case isCommand:
			child := New(nameOf(field), field.Tag.Get("help"), value.Addr().Interface())
			child.Parent = c
			c.Commands = append(c.Commands, child)
		case isEmbedded || field.Anonymous:
			c.read(value)
		case !field.IsExported():
		case isArg:
			c.Args = append(c.Args, newFlag(field, value))
		default:
			c.Flags = append(c.Flags, newFlag(field, value))
		}
	}
}

func newFlag(field reflect.StructField, value reflect.Value) *Flag {
	has := func(key string) bool { _, ok := field.Tag.Lookup(key); return ok }
	f := &Flag{
		Name: nameOf(field), Help: field.Tag.Get("help"), Placeholder: field.Tag.Get("placeholder"),
		Group: field.Tag.Get("group"), Env: field.Tag.Get("env"), Default: field.Tag.Get("default"),
		Short: field.Tag.Get("short"), HasDefault: has("default"), Required: has("required") || has("arg") && !has("optional"),
		Negatable: has("negatable"), Hidden: has("hidden"), Secret: has("secret"), Alone: has("alone"),
		Whole: field.Tag.Get("mapsep") == "none" || has("arg"), Value: value,
	}
	if enum := field.Tag.Get("enum"); enum != "" {
		f.Enum = strings.Split(enum, ",")
	}
	if f.Placeholder == "" {
		f.Placeholder = strings.ToUpper(f.Name)
		if f.HasDefault && f.Default != "" {
			f.Placeholder = f.Default
		}
	}
	return f
}

func nameOf(field reflect.StructField) string {
	if name := field.Tag.Get("name"); name != "" {
		return name
	}
	return kebab(field.Name)
}

// kebab writes RatePlan as rate-plan and APIKey as api-key.
func kebab(name string) string {
	var b strings.Builder
	letters := []rune(name)
	for i, r := range letters {
		begins := unicode.IsUpper(r) && i > 0 &&
			(unicode.IsLower(letters[i-1]) || i+1 < len(letters) && unicode.IsLower(letters[i+1]))
		if begins {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// IsBool tells whether the flag takes no value.
func (f *Flag) IsBool() bool {
	_, reads := f.Value.Addr().Interface().(encoding.TextUnmarshaler)
	return f.Value.Kind() == reflect.Bool && !reads
}

// isList tells whether giving the flag again adds to it.
func (f *Flag) isList() bool {
	_, reads := f.Value.Addr().Interface().(encoding.TextUnmarshaler)
	return !reads && (f.Value.Kind() == reflect.Slice || f.Value.Kind() == reflect.Map)
}

// Words are the command's name and its parents', without the program's.
func (c *Command) Words() []string {
	if c.Parent == nil {
		return nil
	}
	return append(c.Parent.Words(), c.Name)
}

// Walk visits the command and all below it.
func (c *Command) Walk(visit func(*Command)) {
	visit(c)
	for _, child := range c.Commands {
		child.Walk(visit)
	}
}

// path is the command and its parents, the program last.
func (c *Command) path() []*Command {
	if c == nil {
		return nil
	}
	return append([]*Command{c}, c.Parent.path()...)
}
