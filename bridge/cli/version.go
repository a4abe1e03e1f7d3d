package cli

import (
	"encoding/json"
	"fmt"
	"runtime"

	"m2mbridge/bridge"
)

// VersionCmd is `m2mbridge version`.
type VersionCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Help is the longer text of --help.
func (VersionCmd) Help() string {
	return `Example:

  m2mbridge version --json | jq -r .version`
}

// Run prints the version.
func (c *VersionCmd) Run(env *Env) error {
	if c.JSON {
		return json.NewEncoder(env.Stdout).Encode(map[string]string{
			"version": bridge.Version(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
		})
	}
	_, err := fmt.Fprintln(env.Stdout, version())
	return err
}

func version() string {
	return fmt.Sprintf("m2mbridge %s %s %s/%s", bridge.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
