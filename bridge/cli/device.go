package cli

import (
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
	Add     DeviceAdd     `cmd:"" help:"Register a device."`
	Get     DeviceGet     `cmd:"" help:"Show a device, its latest values and what it has done."`
	List    DeviceList    `cmd:"" help:"List and search devices."`
	Set     DeviceSet     `cmd:"" help:"Change a device."`
	Disable DeviceDisable `cmd:"" help:"Disable a device: its messages are refused and its MQTT session ends."`
	Enable  DeviceEnable  `cmd:"" help:"Enable a device that was disabled."`
	Remove  DeviceRemove  `cmd:"" help:"Remove a device: its messages are refused from then on."`
	Rotate  DeviceRotate  `cmd:"" help:"Give a device a new secret; the old one stays valid for a while."`
	Revoke  DeviceRevoke  `cmd:"" help:"End a secret of a device at once."`
	Import  DeviceImport  `cmd:"" help:"Create and change many devices from a file."`
	Export  DeviceExport  `cmd:"" help:"Write devices to a file, without their secrets."`
}

func devicePath(id string) string { return "/v1/devices/" + url.PathEscape(id) }

// DeviceRemove is `m2mbridge device remove`.
type DeviceRemove struct {
	apiFlags
	conditionFlags
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
	if _, err := client.call(env.Ctx, request{method: http.MethodDelete, path: devicePath(c.ID), header: c.header()}); err != nil {
		return err
	}
	if !c.JSON {
		fmt.Fprintf(env.Stdout, "removed %s\n", c.ID)
	}
	return nil
}

// conditionFlags say which state of a thing a change is meant for.
type conditionFlags struct {
	IfMatch string `placeholder:"ETAG" help:"Change only the state that get showed with this etag; else nothing is done."`
}

func (f *conditionFlags) header() http.Header {
	h := http.Header{}
	switch tag := f.IfMatch; {
	case tag == "":
	case tag == "*" || strings.HasPrefix(tag, `"`):
		h.Set("If-Match", tag)
	default:
		h.Set("If-Match", `"`+tag+`"`)
	}
	return h
}

// changeDevice makes a request that answers with the device.
func changeDevice(env *Env, f *apiFlags, r request) (d api.Device, text json.RawMessage, err error) {
	client, err := f.client()
	if err != nil {
		return d, nil, err
	}
	if text, err = client.call(env.Ctx, r); err != nil {
		return d, nil, err
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return d, nil, fmt.Errorf("read device: %w", err)
	}
	return d, text, nil
}

// given tells whether the command line has the flag: one that is not there
// changes nothing.
func given(env *Env, name string) bool {
	for _, f := range env.Call.Command.Flags {
		if _, ok := env.Call.Given(f); ok && f.Name == name {
			return true
		}
	}
	return false
}

// printJSON prints what the API answered, on one line.
func printJSON(w io.Writer, body json.RawMessage, err error) error {
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", strings.TrimSpace(string(body)))
	return err
}
