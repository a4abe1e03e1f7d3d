package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// house is every package of the module with the packages of the module that it
// may import. Arrows go down only: a package is listed above all that it may
// import.
var house = []struct {
	name string
	may  []string
}{
	{"", []string{"bridge/cli"}},
	{"docker", nil},                          // tests only
	{"bridge/e2e", []string{"bridge/fleet"}}, // tests only, of the built program
	{"bridge/bench", []string{"bridge/due", "bridge/fleet", "bridge/store", "auth", "senml"}},
	{"bridge/cli", []string{"bridge", "bridge/api", "bridge/doctor", "bridge/explain", "bridge/flags", "bridge/fleet", "bridge/store", "bridge/trace", "auth", "senml", "sms", "sms/rehearse"}},
	{"bridge", []string{"bridge/api", "bridge/commands", "bridge/courier", "bridge/downlink", "bridge/fanout", "bridge/flags", "bridge/ingest", "bridge/latest", "bridge/presence", "bridge/session", "bridge/store", "bridge/stream", "bridge/texter", "bridge/trace", "bridge/uplink", "broker", "auth", "senml", "sms"}},
	{"bridge/doctor", []string{"bridge/commands", "bridge/downlink", "bridge/session", "bridge/store", "bridge/stream", "auth"}},
	{"bridge/api", []string{"bridge/asyncapi", "bridge/downlink", "bridge/explain", "bridge/reference", "bridge/session", "bridge/stream", "bridge/trace", "auth"}},
	{"bridge/explain", []string{"auth", "senml"}},
	{"bridge/reference", []string{"bridge/asyncapi"}},
	{"bridge/asyncapi", nil},
	{"bridge/flags", nil},
	{"bridge/fleet", nil},
	{"bridge/fanout", []string{"bridge/presence", "bridge/stream", "bridge/uplink", "broker", "auth"}},
	{"bridge/latest", []string{"bridge/script", "bridge/stream", "bridge/uplink", "auth", "senml"}},
	{"bridge/commands", []string{"bridge/downlink", "auth"}},
	{"bridge/texter", []string{"bridge/downlink", "bridge/due", "auth", "sms"}},
	{"bridge/courier", []string{"bridge/downlink", "bridge/stream", "broker", "auth"}},
	{"bridge/presence", []string{"bridge/script", "bridge/stream", "bridge/uplink", "broker", "auth"}},
	{"bridge/stream", []string{"auth"}},
	{"bridge/ingest", []string{"bridge/uplink"}},
	{"bridge/uplink", []string{"bridge/downlink", "bridge/trace", "auth", "senml"}},
	{"bridge/trace", []string{"auth"}},
	{"bridge/session", []string{"bridge/script", "broker", "auth"}},
	{"bridge/downlink", []string{"bridge/due", "auth", "senml"}},
	{"bridge/due", []string{"bridge/script", "auth"}},
	{"bridge/script", nil},
	{"bridge/store", nil},
	{"broker", []string{"auth"}},
	{"sms/rehearse", []string{"sms"}},
	{"sms", []string{"sms/smpp", "sms/smpp/gsm7"}},
	{"auth/redistest", nil}, // a redis-server for tests
	{"auth", nil},
	{"senml", nil},
	{"sms/smpp", []string{"sms/smpp/gsm7", "sms/smpp/pdu"}},
	{"sms/smpp/smpptest", []string{"sms/smpp/pdu"}}, // an SMSC for tests
	{"sms/smpp/pdu", nil},
	{"sms/smpp/gsm7", nil},
}

// rooms are the folders of the top level, dot folders aside.
var rooms = []string{"auth", "bridge", "broker", "docker", "senml", "sms"}

// forTests are packages that only tests import.
var forTests = []string{"auth/redistest", "sms/smpp/smpptest"}

func TestArrowsGoDown(t *testing.T) {
	for i, h := range house {
		for _, to := range h.may {
			if below := indexOf(to); below <= i {
				t.Errorf("the list has an arrow up: %q may import %q", h.name, to)
			}
		}
	}
}

func TestImports(t *testing.T) {
	for _, p := range listPackages(t) {
		i := indexOf(p.name())
		if i < 0 {
			t.Errorf("package %q is not in the list", p.name())
			continue
		}
		for _, to := range ours(p.Imports) {
			if !slices.Contains(house[i].may, to) {
				t.Errorf("%q imports %q, which the list does not allow", p.name(), to)
			}
		}
		// Tests may use all that is below them, and what is made for tests.
		for _, to := range ours(append(p.TestImports, p.XTestImports...)) {
			if to != p.name() && !slices.Contains(forTests, to) && !slices.Contains(below(i), to) {
				t.Errorf("the tests of %q import %q, which is not below it", p.name(), to)
			}
		}
		for _, to := range p.Imports {
			if strings.HasPrefix(to, "github.com/hibiken/asynq") && p.name() != "bridge/bench" {
				t.Errorf("%q imports %q, which is there to be measured against", p.name(), to)
			}
		}
		if p.name() == "senml" {
			for _, to := range p.Imports {
				if first, _, _ := strings.Cut(to, "/"); strings.Contains(first, ".") {
					t.Errorf("senml imports %q: it is a leaf, on the standard library alone", to)
				}
			}
		}
	}
}

func TestRooms(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && !slices.Contains(rooms, e.Name()) {
			t.Errorf("top-level folder %q is not in the list", e.Name())
		}
	}
}

// Only a main package ends its process and listens for signals, and nothing
// happens before main.
func TestMainAloneEndsTheProcess(t *testing.T) {
	forbidden := []string{"os.Exit", "log.Fatal", "log.Fatalf", "log.Fatalln", "signal.Notify", "signal.NotifyContext"}
	eachSource(t, func(file string, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Recv == nil && n.Name.Name == "init" {
					t.Errorf("%s has an init function", file)
				}
			case *ast.SelectorExpr:
				if of, ok := n.X.(*ast.Ident); ok && f.Name.Name != "main" && slices.Contains(forbidden, of.Name+"."+n.Sel.Name) {
					t.Errorf("%s calls %s.%s", file, of.Name, n.Sel.Name)
				}
			}
			return true
		})
	})
}

// listed is what `go list` says of a package.
type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

const module = "m2mbridge"

func (p listed) name() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// ours are the imports within the module, by their names in the list.
func ours(imports []string) []string {
	var names []string
	for _, path := range imports {
		if name, ok := strings.CutPrefix(path, module+"/"); ok {
			names = append(names, name)
		}
	}
	return names
}

func indexOf(name string) int {
	for i, h := range house {
		if h.name == name {
			return i
		}
	}
	return -1
}

// below are all packages that one can reach from the i-th of the list.
func below(i int) []string {
	reached := slices.Clone(house[i].may)
	for _, to := range house[i].may {
		if j := indexOf(to); j > i {
			reached = append(reached, below(j)...)
		}
	}
	return reached
}

// eachSource parses every Go file of the module but tests.
func eachSource(t *testing.T, visit func(file string, f *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != ".":
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err == nil {
			visit(path, f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
