package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"m2mbridge/auth"
	"m2mbridge/bridge/api"
)

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
