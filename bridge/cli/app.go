package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"m2mbridge/bridge/api"
)

// App is `m2mbridge app`.
type App struct {
	Add       AppAdd       `cmd:"" help:"Register an app and make its key."`
	Get       AppGet       `cmd:"" help:"Show an app."`
	List      AppList      `cmd:"" help:"List apps."`
	Set       AppSet       `cmd:"" help:"Change what an app may do and see."`
	Remove    AppRemove    `cmd:"" help:"Remove an app: its key and its sessions end."`
	RotateKey AppRotateKey `cmd:"" help:"Give an app a new key; the old one may stay valid for a while."`
}

func appPath(name string) string { return "/v1/apps/" + url.PathEscape(name) }

// changeApp makes a request that answers with the app.
func changeApp(env *Env, f *apiFlags, r request) (a api.App, text json.RawMessage, etag string, err error) {
	client, err := f.client()
	if err != nil {
		return a, nil, "", err
	}
	text, header, err := client.exchange(env.Ctx, r)
	if err != nil {
		return a, nil, "", err
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return a, nil, "", fmt.Errorf("read app: %w", err)
	}
	return a, text, header.Get("ETag"), nil
}

// AppRemove is `m2mbridge app remove`.
type AppRemove struct {
	apiFlags
	conditionFlags
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
	if _, err := client.call(env.Ctx, request{method: http.MethodDelete, path: appPath(c.Name), header: c.header()}); err != nil {
		return err
	}
	if !c.JSON {
		fmt.Fprintf(env.Stdout, "removed %s\n", printable(c.Name))
	}
	return nil
}
