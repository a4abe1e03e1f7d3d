package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"m2mbridge/auth"
	"m2mbridge/bridge/api"
)

// App is `m2mbridge app`.
type App struct {
	Add    AppAdd    `cmd:"" help:"Register an app and make its key."`
	List   AppList   `cmd:"" help:"List apps."`
	Remove AppRemove `cmd:"" help:"Remove an app: its key and its sessions end."`
}

// AppAdd is `m2mbridge app add`.
type AppAdd struct {
	apiFlags
	Name   string   `arg:"" help:"Name of the app, which is its user name on MQTT too."`
	Scope  []string `short:"s" required:"" placeholder:"SCOPE" help:"What it may do: uplink.read, downlink.read, downlink.write, reject.read, device.read, device.write, admin. May be given several times."`
	Device []string `short:"d" placeholder:"ID|LABEL=VALUE" help:"What it may see: a device id, or a label's value. May be given several times; without any, every device."`
}

// Help is the longer text of --help.
func (AppAdd) Help() string {
	return `Example, an app that reads the uplinks of one site's devices:

  m2mbridge app add dashboard --scope uplink.read --device site=depot`
}

// Run registers the app.
func (c *AppAdd) Run(env *Env) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	in := api.AppInput{Name: c.Name, Scopes: c.Scope, Devices: c.Device}
	body, err := client.call(env.Ctx, request{method: http.MethodPost, path: "/v1/apps", body: in})
	if err != nil || c.JSON {
		return printJSON(env.Stdout, body, err)
	}
	var app api.App
	if err := json.Unmarshal(body, &app); err != nil {
		return fmt.Errorf("read app: %w", err)
	}
	fmt.Fprintf(env.Stdout, "added %s\nkey %s\n(keep it now: it is never shown again)\n", printable(app.Name), app.Key)
	return nil
}

// AppList is `m2mbridge app list`.
type AppList struct {
	apiFlags
	Limit int `default:"0" placeholder:"N" help:"How many to list at most. 0: all."`
}

// Help is the longer text of --help.
func (AppList) Help() string {
	return `Example:

  m2mbridge app list`
}

// Run lists apps in the order of their names.
func (c *AppList) Run(env *Env) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	t := newTable(env.Stdout, "no apps", "NAME", "SCOPES", "DEVICES", "CREATED")
	err = client.list(env.Ctx, "/v1/apps", nil, c.Limit, func(item json.RawMessage) error {
		if c.JSON {
			return printJSON(env.Stdout, item, nil)
		}
		var app api.App
		if err := json.Unmarshal(item, &app); err != nil {
			return fmt.Errorf("read app: %w", err)
		}
		return t.row(app.Name, joinScopes(app.Scopes), seenBy(app.Devices), day(app.CreatedAt))
	})
	if err != nil || c.JSON {
		return err
	}
	return t.end()
}

func joinScopes(scopes []auth.Scope) string {
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = string(s)
	}
	return strings.Join(names, ",")
}

// seenBy keeps a long filter from filling the screen.
func seenBy(devices []string) string {
	switch {
	case len(devices) == 0:
		return "all"
	case len(devices) > 3:
		return fmt.Sprintf("%s and %d more", strings.Join(devices[:2], ","), len(devices)-2)
	}
	return strings.Join(devices, ",")
}

// AppRemove is `m2mbridge app remove`.
type AppRemove struct {
	apiFlags
	Name string `arg:"" help:"Name of the app."`
}

// Help is the longer text of --help.
func (AppRemove) Help() string {
	return `Example:

  m2mbridge app remove dashboard`
}

// Run removes the app.
func (c *AppRemove) Run(env *Env) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	if _, err := client.call(env.Ctx, request{method: http.MethodDelete, path: "/v1/apps/" + url.PathEscape(c.Name)}); err != nil {
		return err
	}
	if !c.JSON {
		fmt.Fprintf(env.Stdout, "removed %s\n", printable(c.Name))
	}
	return nil
}
