package cli

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"m2mbridge/bridge/api"
)

// AppGet is `m2mbridge app get`.
type AppGet struct {
	apiFlags
	Name string `arg:"" help:"Name of the app."`
}

// Help is the longer text of --help.
func (AppGet) Help() string {
	return `Example:

  m2mbridge app get dashboard`
}

// Run shows the app.
func (c *AppGet) Run(env *Env) error {
	app, text, etag, err := changeApp(env, &c.apiFlags, request{method: http.MethodGet, path: appPath(c.Name)})
	if err != nil || c.JSON {
		return printJSON(env.Stdout, text, err)
	}
	showApp(env.Stdout, &app, strings.Trim(etag, `"`))
	return nil
}

func showApp(w io.Writer, a *api.App, etag string) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-10s %s\n", name, printable(value))
		}
	}
	limit := func(name string, value float64, unit string) {
		if value > 0 {
			line(name, fmt.Sprintf("%g%s", value, unit))
		}
	}
	line("name", a.Name)
	line("scopes", joinScopes(a.Scopes))
	devices := "all"
	if len(a.Devices) > 0 {
		devices = strings.Join(a.Devices, ",")
	}
	line("devices", devices)
	limit("requests", a.Limits.Requests, " a second")
	limit("publishes", a.Limits.Publishes, " a second")
	limit("sessions", float64(a.Limits.Sessions), "")
	if !a.OldKeyEndsAt.IsZero() {
		line("old key", "ends "+day(a.OldKeyEndsAt))
	}
	line("created", day(a.CreatedAt))
	line("modified", day(a.ModifiedAt))
	line("etag", etag)
}
