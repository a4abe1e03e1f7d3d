package cli

import (
	"fmt"
	"net/http"
	"strings"
)

// DeviceSet is `m2mbridge device set`.
type DeviceSet struct {
	apiFlags
	conditionFlags
	ID           string            `arg:"" help:"Device id."`
	Name         string            `help:"Name for people."`
	ICCID        string            `name:"iccid" placeholder:"DIGITS" help:"Number of its SIM card."`
	MSISDN       string            `name:"msisdn" placeholder:"DIGITS" help:"Telephone number of its SIM card."`
	RatePlan     string            `help:"Rate plan of its SIM card."`
	SMS          bool              `name:"sms" negatable:"" help:"Its SIM card can be reached by SMS."`
	RequireToken bool              `negatable:"" help:"Over MQTT too, each message must carry its token."`
	Unsigned     bool              `negatable:"" help:"It has no secret and sends no tokens: those it has end."`
	Label        map[string]string `mapsep:"none" placeholder:"NAME=VALUE" help:"Label to set; may be given several times."`
	Unlabel      []string          `mapsep:"none" placeholder:"NAME" help:"Label to take away; may be given several times."`
}

// Help is the longer text of --help.
func (DeviceSet) Help() string {
	return `Only what is given changes; an empty text clears. Secrets are changed by rotate.
Examples, the second one only if nobody else has changed the device since it was shown:

  m2mbridge device set IMEI:356726104408422 --name "Pump 7" --label site=depot --unlabel old
  m2mbridge device set IMEI:356726104408422 --no-sms --if-match mi0cnnrk`
}

// Run changes the device.
func (c *DeviceSet) Run(env *Env) error {
	patch := c.patch(env)
	if len(patch) == 0 {
		return Usagef("nothing to change is given")
	}
	return patchDevice(env, &c.apiFlags, &c.conditionFlags, c.ID, "changed", patch)
}

// patch has what the command line gives.
func (c *DeviceSet) patch(env *Env) map[string]any {
	patch := map[string]any{}
	for flag, text := range map[string]string{"name": c.Name, "iccid": c.ICCID, "msisdn": c.MSISDN, "rate-plan": c.RatePlan} {
		if !given(env, flag) {
			continue
		}
		key := strings.Replace(flag, "rate-plan", "ratePlan", 1)
		patch[key] = text
		if text == "" {
			patch[key] = nil
		}
	}
	for flag, value := range map[string]bool{"sms": c.SMS, "require-token": c.RequireToken, "unsigned": c.Unsigned} {
		if given(env, flag) {
			patch[strings.Replace(flag, "require-token", "requireToken", 1)] = value
		}
	}
	labels := map[string]any{}
	for _, name := range c.Unlabel {
		labels[name] = nil
	}
	for name, value := range c.Label {
		labels[name] = value
	}
	if len(labels) > 0 {
		patch["labels"] = labels
	}
	return patch
}

func patchDevice(env *Env, f *apiFlags, on *conditionFlags, id, done string, patch map[string]any) error {
	d, text, err := changeDevice(env, f, request{method: http.MethodPatch, path: devicePath(id), header: on.header(), body: patch})
	if err != nil || f.JSON {
		return printJSON(env.Stdout, text, err)
	}
	_, err = fmt.Fprintf(env.Stdout, "%s %s\n", done, d.ID)
	return err
}

// DeviceDisable is `m2mbridge device disable`.
type DeviceDisable struct {
	apiFlags
	conditionFlags
	ID string `arg:"" help:"Device id."`
}

// Help is the longer text of --help.
func (DeviceDisable) Help() string {
	return `It keeps its secrets and can be enabled again. Example:

  m2mbridge device disable IMEI:356726104408422`
}

// Run disables the device.
func (c *DeviceDisable) Run(env *Env) error {
	return patchDevice(env, &c.apiFlags, &c.conditionFlags, c.ID, "disabled", map[string]any{"disabled": true})
}

// DeviceEnable is `m2mbridge device enable`.
type DeviceEnable struct {
	apiFlags
	conditionFlags
	ID string `arg:"" help:"Device id."`
}

// Help is the longer text of --help.
func (DeviceEnable) Help() string {
	return `Example:

  m2mbridge device enable IMEI:356726104408422`
}

// Run enables the device.
func (c *DeviceEnable) Run(env *Env) error {
	return patchDevice(env, &c.apiFlags, &c.conditionFlags, c.ID, "enabled", map[string]any{"disabled": false})
}
