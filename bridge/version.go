package bridge

import "runtime/debug"

// Version is the module's version, or the commit the program was built from.
func Version() string {
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return "development"
	}
	if b.Main.Version != "" && b.Main.Version != "(devel)" {
		return b.Main.Version
	}
	for _, s := range b.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return "development"
}
