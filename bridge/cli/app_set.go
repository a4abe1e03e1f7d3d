package cli

import (
	"fmt"
	"net/http"
	"time"

	"m2mbridge/bridge/api"
)

// AppSet is `m2mbridge app set`.
type AppSet struct {
	apiFlags
	conditionFlags
	Name       string   `arg:"" help:"Name of the app."`
	Scope      []string `short:"s" placeholder:"SCOPE" help:"All it may do from now on; see add. May be given several times."`
	Device     []string `short:"d" placeholder:"ID|LABEL=VALUE" help:"All it may see from now on. May be given several times."`
	AllDevices bool     `help:"It may see every device."`
	limitFlags
}

// Help is the longer text of --help.
func (AppSet) Help() string {
	return `Only what is given changes; what is given replaces what was there. It holds from the
next request and message on. Example:

  m2mbridge app set dashboard --scope uplink.read,device.read --device site=depot --requests 20`
}

// Run changes the app.
func (c *AppSet) Run(env *Env) error {
	if c.AllDevices && len(c.Device) > 0 {
		return Usagef("--device and --all-devices exclude each other")
	}
	patch := c.patch(env)
	if len(patch) == 0 {
		return Usagef("nothing to change is given")
	}
	app, text, _, err := changeApp(env, &c.apiFlags, request{method: http.MethodPatch, path: appPath(c.Name), header: c.header(), body: patch})
	if err != nil || c.JSON {
		return printJSON(env.Stdout, text, err)
	}
	_, err = fmt.Fprintf(env.Stdout, "changed %s\n", printable(app.Name))
	return err
}

// patch has what the command line gives.
func (c *AppSet) patch(env *Env) map[string]any {
	patch, limits := map[string]any{}, map[string]any{}
	if len(c.Scope) > 0 {
		patch["scopes"] = c.Scope
	}
	switch {
	case c.AllDevices:
		patch["devices"] = nil
	case len(c.Device) > 0:
		patch["devices"] = c.Device
	}
	for name, value := range map[string]any{"requests": c.Requests, "publishes": c.Publishes, "sessions": c.Sessions} {
		if given(env, name) {
			limits[name] = value
		}
	}
	if len(limits) > 0 {
		patch["limits"] = limits
	}
	return patch
}

// AppRotateKey is `m2mbridge app rotate-key`.
type AppRotateKey struct {
	apiFlags
	conditionFlags
	Name   string        `arg:"" help:"Name of the app."`
	Window time.Duration `default:"0s" help:"How long the old key stays valid. 0s: it ends at once, and the sessions that were opened with it."`
}

// Help is the longer text of --help.
func (AppRotateKey) Help() string {
	return `Example, with an hour to bring the new key to the app:

  m2mbridge app rotate-key dashboard --window 1h`
}

// Run makes the key.
func (c *AppRotateKey) Run(env *Env) error {
	app, text, _, err := changeApp(env, &c.apiFlags, request{
		method: http.MethodPost, path: appPath(c.Name) + "/key", header: c.header(), body: api.KeyInput{Window: c.Window.String()},
	})
	if err != nil || c.JSON {
		return printJSON(env.Stdout, text, err)
	}
	fmt.Fprintf(env.Stdout, "new key of %s\nkey %s\n(keep it now: it is never shown again)\n", printable(app.Name), app.Key)
	if !app.OldKeyEndsAt.IsZero() {
		fmt.Fprintf(env.Stdout, "the old key ends %s\n", day(app.OldKeyEndsAt))
	}
	return nil
}
