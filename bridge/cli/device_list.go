package cli

import (
	"encoding/json"
	"fmt"
	"net/url"

	"m2mbridge/bridge/api"
)

// DeviceList is `m2mbridge device list`.
type DeviceList struct {
	apiFlags
	searchFlags
	Limit int `default:"0" placeholder:"N" help:"How many to list at most. 0: all."`
}

// Help is the longer text of --help.
func (DeviceList) Help() string {
	return `Examples, the pumps of one site that changed last, and the ids of all devices:

  m2mbridge device list --label site=depot --name pump --sort=-modifiedAt --limit 10
  m2mbridge device list --json | jq -r .id`
}

// Run lists devices.
func (c *DeviceList) Run(env *Env) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	query, err := c.query()
	if err != nil {
		return err
	}
	t := newTable(env.Stdout, "no devices", "ID", "STATE", "NAME", "LABELS", "SEEN", "PRESENCE")
	err = client.list(env.Ctx, "/v1/devices", query, c.Limit, func(item json.RawMessage) error {
		if c.JSON {
			return printJSON(env.Stdout, item, nil)
		}
		var d api.Device
		if err := json.Unmarshal(item, &d); err != nil {
			return fmt.Errorf("read device: %w", err)
		}
		return t.row(d.ID, deviceState(&d), d.Name, joinLabels(d.Labels), seenDay(d.LastSeen), presence(d.Presence))
	})
	if err != nil || c.JSON {
		return err
	}
	return t.end()
}

func seenDay(s *api.Seen) string {
	if s == nil {
		return "-"
	}
	return day(s.At)
}

func presence(p *api.Presence) string {
	if p == nil {
		return "-"
	}
	return p.State
}

// searchFlags say which devices.
type searchFlags struct {
	ID             string   `name:"id" placeholder:"PREFIX" help:"Only ids that begin so."`
	Name           string   `placeholder:"WORDS" help:"Only names with words that begin so."`
	ICCID          string   `name:"iccid" placeholder:"PREFIX" help:"Only ICCIDs that begin so."`
	MSISDN         string   `name:"msisdn" placeholder:"PREFIX" help:"Only telephone numbers that begin so."`
	Label          []string `mapsep:"none" placeholder:"NAME[=VALUE]" help:"Only with this label; may be given several times."`
	Disabled       bool     `help:"Only those that are disabled."`
	Enabled        bool     `help:"Only those that are not."`
	CreatedSince   string   `placeholder:"INSTANT" help:"Only those created then or later, as 2026-11-26T15:04:05Z."`
	CreatedBefore  string   `placeholder:"INSTANT" help:"Only those created before."`
	ModifiedSince  string   `placeholder:"INSTANT" help:"Only those changed last then or later."`
	ModifiedBefore string   `placeholder:"INSTANT" help:"Only those changed last before."`
	Sort           string   `default:"id" enum:"id,-id,createdAt,-createdAt,modifiedAt,-modifiedAt" placeholder:"ORDER" help:"Order: id, createdAt or modifiedAt; --sort=-id and so on turn it round."`
}

func (f *searchFlags) query() (url.Values, error) {
	query := url.Values{"sort": {f.Sort}}
	for name, value := range map[string]string{
		"id": f.ID, "name": f.Name, "iccid": f.ICCID, "msisdn": f.MSISDN, "createdSince": f.CreatedSince, "createdBefore": f.CreatedBefore,
		"modifiedSince": f.ModifiedSince, "modifiedBefore": f.ModifiedBefore,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if len(f.Label) > 0 {
		query["label"] = f.Label
	}
	switch {
	case f.Disabled && f.Enabled:
		return nil, Usagef("--disabled and --enabled exclude each other")
	case f.Disabled || f.Enabled:
		query.Set("disabled", fmt.Sprint(f.Disabled))
	}
	return query, nil
}
