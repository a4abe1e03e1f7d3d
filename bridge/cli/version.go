package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is what the Go toolchain noted in the binary: the module's version
// when it was installed as a module, else the commit it was built from.
func version() string {
	v, commit, dirty := "development", "", ""
	if b, ok := debug.ReadBuildInfo(); ok {
		if b.Main.Version != "" && b.Main.Version != "(devel)" {
			v = b.Main.Version
		}
		for _, s := range b.Settings {
			switch {
			case s.Key == "vcs.revision":
				commit = " " + s.Value[:min(12, len(s.Value))]
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = "+changes"
			}
		}
	}
	return fmt.Sprintf("m2mbridge %s%s%s %s %s/%s", v, commit, dirty, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
