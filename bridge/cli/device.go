package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"m2mbridge/bridge/api"
)

// Device is `m2mbridge device`.
type Device struct {
	Add    DeviceAdd    `cmd:"" help:"Register a device."`
	Get    DeviceGet    `cmd:"" help:"Show a device."`
	List   DeviceList   `cmd:"" help:"List devices."`
	Remove DeviceRemove `cmd:"" help:"Remove a device: its messages are refused from then on."`
}

// DeviceAdd is `m2mbridge device add`.
type DeviceAdd struct {
	apiFlags
	ID           string            `arg:"" help:"IMEI:<15 digits> or DVNUUID:<uuid>."`
	Secret       string            `secret:"" placeholder:"SECRET" help:"Shared secret, 30 to 100 letters and digits; - reads it from standard input. Without one a secret is made and shown once."`
	Name         string            `help:"Name for people."`
	ICCID        string            `name:"iccid" placeholder:"DIGITS" help:"Number of its SIM card."`
	MSISDN       string            `name:"msisdn" placeholder:"DIGITS" help:"Telephone number of its SIM card."`
	RatePlan     string            `help:"Rate plan of its SIM card."`
	SMS          bool              `name:"sms" negatable:"" default:"true" help:"Its SIM card can be reached by SMS."`
	RequireToken bool              `help:"Over MQTT too, each message must carry its token."`
	Unsigned     bool              `help:"It has no secret and sends no tokens; see serve's --unsigned-from."`
	Disabled     bool              `help:"Accept nothing of it yet."`
	Label        map[string]string `mapsep:"none" placeholder:"NAME=VALUE" help:"Label, may be given several times."`
}

// Help is the longer text of --help.
func (DeviceAdd) Help() string {
	return `Example, a device whose secret is made here and shown once:

  m2mbridge device add IMEI:356726104408422 --name "Pump 7" --label site=depot`
}

// Run registers the device.
func (c *DeviceAdd) Run(env *Env) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	if c.Secret == "-" {
		if c.Secret, err = readSecret(env.Stdin); err != nil {
			return err
		}
	}
	in := api.DeviceInput{
		ID: c.ID, Secret: c.Secret, Name: c.Name, ICCID: c.ICCID, MSISDN: c.MSISDN, RatePlan: c.RatePlan,
		RequireToken: c.RequireToken, Unsigned: c.Unsigned, Disabled: c.Disabled, Labels: c.Label,
	}
	if !c.SMS {
		in.SMS = &c.SMS
	}
	body, err := client.call(env.Ctx, request{method: http.MethodPost, path: "/v1/devices", body: in})
	if err != nil || c.JSON {
		return printJSON(env.Stdout, body, err)
	}
	var d api.Device
	if err := json.Unmarshal(body, &d); err != nil {
		return fmt.Errorf("read device: %w", err)
	}
	fmt.Fprintf(env.Stdout, "added %s\n", d.ID)
	if d.Secret != "" {
		fmt.Fprintf(env.Stdout, "secret %s\n(give it to the device now: it is never shown again)\n", d.Secret)
	}
	return nil
}

// readSecret takes the first line.
func readSecret(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 4096)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("read secret: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

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
	body, err := client.call(env.Ctx, request{method: http.MethodGet, path: "/v1/devices/" + url.PathEscape(c.ID)})
	if err != nil || c.JSON {
		return printJSON(env.Stdout, body, err)
	}
	var d api.Device
	if err := json.Unmarshal(body, &d); err != nil {
		return fmt.Errorf("read device: %w", err)
	}
	showDevice(env.Stdout, &d)
	return nil
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

// DeviceList is `m2mbridge device list`.
type DeviceList struct {
	apiFlags
	Limit int `default:"0" placeholder:"N" help:"How many to list at most. 0: all."`
}

// Help is the longer text of --help.
func (DeviceList) Help() string {
	return `Example, the ids of all devices:

  m2mbridge device list --json | jq -r .id`
}

// Run lists devices in the order of their ids.
func (c *DeviceList) Run(env *Env) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	t := newTable(env.Stdout, "no devices", "ID", "STATE", "NAME", "LABELS", "CREATED")
	err = client.list(env.Ctx, "/v1/devices", nil, c.Limit, func(item json.RawMessage) error {
		if c.JSON {
			return printJSON(env.Stdout, item, nil)
		}
		var d api.Device
		if err := json.Unmarshal(item, &d); err != nil {
			return fmt.Errorf("read device: %w", err)
		}
		return t.row(d.ID, deviceState(&d), d.Name, joinLabels(d.Labels), day(d.CreatedAt))
	})
	if err != nil || c.JSON {
		return err
	}
	return t.end()
}

// DeviceRemove is `m2mbridge device remove`.
type DeviceRemove struct {
	apiFlags
	ID string `arg:"" help:"Device id."`
}

// Help is the longer text of --help.
func (DeviceRemove) Help() string {
	return `Example:

  m2mbridge device remove IMEI:356726104408422`
}

// Run removes the device.
func (c *DeviceRemove) Run(env *Env) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	if _, err := client.call(env.Ctx, request{method: http.MethodDelete, path: "/v1/devices/" + url.PathEscape(c.ID)}); err != nil {
		return err
	}
	if !c.JSON {
		fmt.Fprintf(env.Stdout, "removed %s\n", c.ID)
	}
	return nil
}

// printJSON prints what the API answered, on one line.
func printJSON(w io.Writer, body json.RawMessage, err error) error {
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", strings.TrimSpace(string(body)))
	return err
}
