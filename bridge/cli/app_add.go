package cli

import (
	"encoding/json"
	"fmt"
	"net/http"

	"m2mbridge/bridge/api"
)

// AppAdd is `m2mbridge app add`.
type AppAdd struct {
	apiFlags
	Name   string   `arg:"" help:"Name of the app, which is its user name on MQTT too."`
	Scope  []string `short:"s" required:"" placeholder:"SCOPE" help:"What it may do: uplink.read, downlink.read, downlink.write, reject.read, device.read, device.write, admin. May be given several times."`
	Device []string `short:"d" placeholder:"ID|LABEL=VALUE" help:"What it may see: a device id, or a label's value. May be given several times; without any, every device."`
	limitFlags
}

// limitFlags bound what an app may ask of each node.
type limitFlags struct {
	Requests  float64 `default:"0" placeholder:"N" help:"Requests of the API a second. 0: serve's --app-rate."`
	Publishes float64 `default:"0" placeholder:"N" help:"Publishes over MQTT a second. 0: the node's default."`
	Sessions  int     `default:"0" placeholder:"N" help:"Sessions over MQTT. 0: the node's default."`
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
	in := api.AppInput{Name: c.Name, Scopes: c.Scope, Devices: c.Device, Limits: api.Limits(c.limitFlags)}
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
