package flags_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"m2mbridge/bridge/flags"
)

type shared struct {
	URL string `env:"X_URL" default:"http://h" help:"Where it is."`
}

type add struct {
	shared
	ID     string            `arg:"" help:"What to add."`
	Notes  []string          `arg:"" optional:"" help:"Notes."`
	Kind   []string          `enum:"a,b" help:"Kinds."`
	Label  map[string]string `mapsep:"none" placeholder:"NAME=VALUE" help:"Labels."`
	Size   int               `short:"s" default:"3" placeholder:"N" help:"How large."`
	Rate   float64           `help:"How fast."`
	For    time.Duration     `default:"10s" help:"How long."`
	Loud   bool              `negatable:"" default:"true" help:"Say it."`
	DryRun bool              `help:"Do nothing."`
	Net    []netip.Prefix    `help:"From where."`
	Secret string            `hidden:"" secret:"" help:"Not told."`
	Group  string            `group:"More" placeholder:"G" default:"g" help:"In a group."`
}

// Help is the long text.
func (add) Help() string { return "An example." }

type program struct {
	Config  string `help:"A file."`
	Version bool   `alone:"" help:"Print the version."`
	Thing   struct {
		Add  add `cmd:"" help:"Add a thing."`
		List struct {
			Owner string `required:"" help:"Whose."`
		} `cmd:"" help:"List things."`
	} `cmd:"" help:"Things."`
}

func nowhere(*flags.Flag) (text, from string, ok bool) { return "", "", false }

// parse matches and binds one command line, written with blanks.
func parse(line string, source flags.Source) (*program, *flags.Invocation, error) {
	p := new(program)
	call, err := flags.New("prog", "A program.", p).Match(strings.Fields(line))
	if err == nil && call.Alone == "" {
		err = call.Bind(source)
	}
	return p, call, err
}

func TestParse(t *testing.T) {
	base := add{shared: shared{URL: "http://h"}, ID: "x", Size: 3, For: 10 * time.Second, Loud: true, Group: "g"}
	for _, c := range []struct {
		line string
		set  func(*add)
	}{
		{"thing add x", func(*add) {}},
		{"thing add --size 4 x", func(a *add) { a.Size = 4 }},
		{"thing add --size=4 --size=5 x", func(a *add) { a.Size = 5 }},
		{"thing add -s 4 x", func(a *add) { a.Size = 4 }},
		{"thing add -s4 x", func(a *add) { a.Size = 4 }},
		{"thing add -s=-4 x", func(a *add) { a.Size = -4 }},
		{"thing add --rate -0.5 x", func(a *add) { a.Rate = -0.5 }},
		{"thing add --no-loud --dry-run x", func(a *add) { a.Loud, a.DryRun = false, true }},
		{"thing add --loud=no --dry-run=true x", func(a *add) { a.Loud, a.DryRun = false, true }},
		{"thing add --for 2h x", func(a *add) { a.For = 2 * time.Hour }},
		{"thing add --kind a,b --kind a x", func(a *add) { a.Kind = []string{"a", "b", "a"} }},
		{"thing add --label=a=b,c --label d=e=f x", func(a *add) { a.Label = map[string]string{"a": "b,c", "d": "e=f"} }},
		{"thing add --net 10.0.0.0/8,::/0 x", func(a *add) {
			a.Net = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::/0")}
		}},
		{"thing add x one,two three", func(a *add) { a.Notes = []string{"one,two", "three"} }},
		{"thing add x -- --one -", func(a *add) { a.Notes = []string{"--one", "-"} }},
		{"thing add --secret - --url= x", func(a *add) { a.Secret, a.URL = "-", "" }},
		{"--config f thing add x", func(*add) {}},
		{"thing add x --config f", func(*add) {}},
	} {
		want := base
		c.set(&want)
		p, _, err := parse(c.line, nowhere)
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		if d := cmp.Diff(want, p.Thing.Add, cmp.AllowUnexported(add{}), cmpopts.EquateComparable(netip.Prefix{})); d != "" {
			t.Errorf("%s: %s", c.line, d)
		}
		if strings.Contains(c.line, "--config") != (p.Config == "f") {
			t.Errorf("%s: config %q", c.line, p.Config)
		}
	}
}

func TestRefuse(t *testing.T) {
	for _, c := range []struct{ line, says string }{
		{"", "expected one of thing"},
		{"thing", "expected one of add, list"},
		{"thnig add x", `unknown command "thnig", did you mean thing?`},
		{"thing remove", `unknown command "remove"`},
		{"thing add", "<id> is missing"},
		{"thing list", "--owner is missing"},
		{"thing list --owner o more", `unexpected argument "more"`},
		{"thing add x --sise 4", "unknown flag --sise, did you mean --size?"},
		{"thing add x --no-size", "unknown flag --no-size, did you mean --size?"},
		{"thing add x --completely-different", "unknown flag --completely-different"},
		{"thing add x -z", "unknown flag -z"},
		{"thing --size 4 add x", "unknown flag --size"},
		{"thing add x --size", "--size: a value is missing (write --size=N)"},
		{"thing add x --size --loud", "--size: a value is missing"},
		{"thing add x --size four", `--size: "four" is no whole number`},
		{"thing add x --size 1.5", `"1.5" is no whole number`},
		{"thing add x --rate fast", `"fast" is no number`},
		{"thing add x --for 7", `"7" is no duration`},
		{"thing add x --loud=maybe", `"maybe" is neither true nor false`},
		{"thing add x --kind a,c", `"c" is none of a, b`},
		{"thing add x --label a", `"a" is not NAME=VALUE`},
		{"thing add x --net 10/8", `--net: "10/8" is no network such as`},
	} {
		_, _, err := parse(c.line, nowhere)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v, want %q", c.line, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "did you mean") != strings.Contains(c.says, "did you mean") {
			t.Errorf("%q: %v", c.line, err)
		}
	}
}

func TestSource(t *testing.T) {
	source := func(f *flags.Flag) (string, string, bool) {
		switch f.Name {
		case "size":
			return "7", "the stars", true
		case "loud":
			return "off", "the moon", true
		case "owner":
			return "me", "the sun", true
		case "id":
			return "never", "asked", true
		}
		return "", "", false
	}
	p, call, err := parse("thing add x --loud", source)
	if err != nil || p.Thing.Add.Size != 7 || !p.Thing.Add.Loud || p.Thing.Add.ID != "x" {
		t.Errorf("%+v, %v", p.Thing.Add, err)
	}
	for _, f := range call.Command.Flags {
		from, given := call.Origin(f), false
		_, given = call.Given(f)
		if (f.Name == "size") != (from == "the stars") || (f.Name == "loud") != given {
			t.Errorf("--%s: from %q, given %v", f.Name, from, given)
		}
	}
	if p, _, err := parse("thing list", source); err != nil || p.Thing.List.Owner != "me" {
		t.Errorf("a required flag from elsewhere: %+v, %v", p.Thing.List, err)
	}
	bad := func(f *flags.Flag) (string, string, bool) { return "x", "the stars", f.Name == "size" }
	if _, _, err := parse("thing add x", bad); err == nil || !strings.Contains(err.Error(), "size (from the stars): \"x\" is no whole number") {
		t.Errorf("%v", err)
	}
}

func TestAlone(t *testing.T) {
	for line, want := range map[string]string{
		"--help": "help", "-h": "help", "thing -h": "help", "thing list --help nonsense --more": "help",
		"--version": "version", "thing --version": "version", "thing add x": "",
	} {
		_, call, err := parse(line, nowhere)
		if err != nil || call.Alone != want {
			t.Errorf("%s: %+v, %v", line, call, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	s := shared{}
	if err := flags.Defaults(&s); err != nil || s.URL != "http://h" {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestHelp(t *testing.T) {
	_, call, err := parse("thing add --help", nowhere)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	note := func(f *flags.Flag) string {
		if f.Env != "" {
			return " ($" + f.Env + ")"
		}
		return ""
	}
	if err := call.Command.WriteHelp(&b, note); err != nil {
		t.Fatal(err)
	}
	const want = `Usage: prog thing add <id> [<notes> ...] [flags]

Add a thing.

An example.

Arguments:
  <id>                          What to add.
  [<notes> ...]                 Notes.

Flags:
  -h, --help                    Print this text.
      --url=http://h            Where it is. ($X_URL)
      --kind=KIND               Kinds.
      --label=NAME=VALUE        Labels.
  -s, --size=N                  How large. Default: 3.
      --rate=RATE               How fast.
      --for=10s                 How long.
      --[no-]loud               Say it. Default: true.
      --dry-run                 Do nothing.
      --net=NET                 From where.
      --config=CONFIG           A file.
      --version                 Print the version.

More:
      --group=G                 In a group. Default: g.
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
}

func TestWrap(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "one two three": "one two|three", "a verylongwordindeed b": "a|verylongwordindeed|b", "ééé ééé ééé": "ééé ééé|ééé",
	} {
		if got := strings.Join(flags.Wrap(text, 8), "|"); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
