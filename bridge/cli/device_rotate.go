package cli

import (
	"fmt"
	"net/http"
	"time"

	"m2mbridge/auth"
	"m2mbridge/bridge/api"
)

// DeviceRotate is `m2mbridge device rotate`.
type DeviceRotate struct {
	apiFlags
	conditionFlags
	ID     string        `arg:"" help:"Device id."`
	Secret string        `secret:"" placeholder:"SECRET" help:"New shared secret, 30 to 100 letters and digits; - reads it from standard input. Without one a secret is made and shown once."`
	Window time.Duration `default:"168h" help:"How long the old secret stays valid. 0s: it ends at once."`
	After  int64         `default:"0" placeholder:"N" help:"Messages with the new secret after which the old one ends, if the window is not over first. 0: no such number."`
	Force  bool          `help:"Rotate even if the device may still use the secret from before the last rotation, which ends then at once."`
}

// Help is the longer text of --help.
func (DeviceRotate) Help() string {
	return `Until the old secret ends both are valid, and get says which one the device uses.
Examples, a secret that is made here, and one that the device has already:

  m2mbridge device rotate IMEI:356726104408422 --window 48h --after 3
  m2mbridge device rotate IMEI:356726104408422 --secret - < secret.txt`
}

// Run gives the device its secret.
func (c *DeviceRotate) Run(env *Env) (err error) {
	if c.After < 0 || c.After > auth.MaxAfter {
		return Usagef("--after: want 0 to %d", int64(auth.MaxAfter))
	}
	if c.Secret == "-" {
		if c.Secret, err = readSecret(env.Stdin); err != nil {
			return err
		}
	}
	d, text, err := changeDevice(env, &c.apiFlags, request{
		method: http.MethodPost, path: devicePath(c.ID) + "/secrets", header: c.header(),
		body: api.RotationInput{Secret: c.Secret, Window: c.Window.String(), After: c.After, Force: c.Force},
	})
	if err != nil || c.JSON {
		return printJSON(env.Stdout, text, err)
	}
	fmt.Fprintf(env.Stdout, "rotated %s\n", d.ID)
	if d.Secret != "" {
		fmt.Fprintf(env.Stdout, "secret %s\n(give it to the device now: it is never shown again)\n", d.Secret)
	}
	if r := d.Rotation; r != nil {
		fmt.Fprintf(env.Stdout, "the old secret ends %s\n", rotationEnd(r.EndsAt, r.After, r.Messages))
	}
	return nil
}

// DeviceRevoke is `m2mbridge device revoke`.
type DeviceRevoke struct {
	apiFlags
	conditionFlags
	ID    string `arg:"" help:"Device id."`
	Which string `arg:"" enum:"new,old,all" help:"Which secret: new, old (during a rotation) or all."`
}

// Help is the longer text of --help.
func (DeviceRevoke) Help() string {
	return `An MQTT session that was opened with the secret ends too. A device without secrets
can send nothing until rotate gives it one. Example, the end of a rotation:

  m2mbridge device revoke IMEI:356726104408422 old`
}

// Run ends the secret.
func (c *DeviceRevoke) Run(env *Env) error {
	d, text, err := changeDevice(env, &c.apiFlags, request{
		method: http.MethodDelete, path: devicePath(c.ID) + "/secrets/" + c.Which, header: c.header(),
	})
	if err != nil || c.JSON {
		return printJSON(env.Stdout, text, err)
	}
	left := "one secret"
	if d.Secrets == 0 {
		left = "no secret: it can send nothing until rotate gives it one"
	}
	_, err = fmt.Fprintf(env.Stdout, "revoked; %s has %s\n", d.ID, left)
	return err
}
