package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"m2mbridge/bridge/api"
)

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
