package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"m2mbridge/bridge/api"
)

// DeviceGet is `m2mbridge device get`.
type DeviceGet struct {
	apiFlags
	ID string `arg:"" help:"Device id."`
}

// Help is the longer text of --help.
func (DeviceGet) Help() string {
	return `Example:

  m2mbridge device get IMEI:356726104408422`
}

// Run shows the device.
func (c *DeviceGet) Run(env *Env) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	body, header, err := client.exchange(env.Ctx, request{method: http.MethodGet, path: devicePath(c.ID)})
	if err != nil || c.JSON {
		return printJSON(env.Stdout, body, err)
	}
	var d api.Device
	if err := json.Unmarshal(body, &d); err != nil {
		return fmt.Errorf("read device: %w", err)
	}
	showDevice(env.Stdout, &d)
	fmt.Fprintf(env.Stdout, "%-10s %s\n", "etag", printable(strings.Trim(header.Get("ETag"), `"`)))
	return showValues(env.Stdout, d.Values)
}

func showDevice(w io.Writer, d *api.Device) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-10s %s\n", name, printable(value))
		}
	}
	line("id", d.ID)
	line("name", d.Name)
	line("state", deviceState(d))
	line("iccid", d.ICCID)
	line("msisdn", d.MSISDN)
	line("rate plan", d.RatePlan)
	line("labels", joinLabels(d.Labels))
	line("secrets", secretState(d))
	line("seen", seenState(d.LastSeen))
	line("presence", presenceState(d.Presence))
	line("counters", counters(d.Counters))
	line("created", day(d.CreatedAt))
	line("modified", day(d.ModifiedAt))
}

// deviceState says in words what the flags mean.
func deviceState(d *api.Device) string {
	var words []string
	if d.Disabled {
		words = append(words, "disabled")
	}
	switch {
	case d.Unsigned:
		words = append(words, "unsigned")
	case d.Secrets == 2:
		words = append(words, "two secrets")
	}
	if d.RequireToken {
		words = append(words, "token required")
	}
	if !d.SMS {
		words = append(words, "no SMS")
	}
	if len(words) == 0 {
		return "enabled"
	}
	return strings.Join(words, ", ")
}

// secretState says which of two secrets is in use, and what ends the older.
func secretState(d *api.Device) string {
	if d.Secrets < 2 {
		return strconv.Itoa(d.Secrets)
	}
	text := "2, " + []string{"neither used yet", "the new one is used", "the old one is used"}[min(2, max(0, d.LastSecret))]
	if r := d.Rotation; r != nil {
		text += "; the old one ends " + rotationEnd(r.EndsAt, r.After, r.Messages)
	}
	return text
}

func rotationEnd(at time.Time, after, messages int64) string {
	var ends []string
	if !at.IsZero() {
		ends = append(ends, second(at))
	}
	if after > 0 {
		ends = append(ends, fmt.Sprintf("after %d more messages with the new one", max(0, after-messages)))
	}
	if len(ends) == 0 {
		return "when it is revoked"
	}
	return strings.Join(ends, " or ")
}

func seenState(s *api.Seen) string {
	switch {
	case s == nil:
		return ""
	case s.Uplink == "":
		return day(s.At) + " over " + s.Via
	}
	return day(s.At) + " over " + s.Via + ", uplink " + s.Uplink
}

func presenceState(p *api.Presence) string {
	if p == nil {
		return ""
	}
	text := p.State + " since " + day(p.Since)
	if p.Cause != "" {
		text += ": " + p.Cause
	}
	return text
}

func counters(c *api.Counters) string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%d uplinks, %d repeats, %d heartbeats, %d refused", c.Uplinks, c.Repeats, c.Heartbeats, c.Refused)
}

// showValues prints the latest value of each name.
func showValues(w io.Writer, values []api.Value) error {
	if len(values) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := newTable(w, "", "NAME", "VALUE", "UNIT", "TIME", "UPLINK")
	for i := range values {
		v := &values[i]
		var at string
		if !v.Time.IsZero() {
			at = v.Time.Local().Format("2006-01-02 15:04:05")
		}
		if err := t.row(v.Name, clip(string(v.Value), 40), v.Unit, at, v.Uplink); err != nil {
			return err
		}
	}
	return t.end()
}
