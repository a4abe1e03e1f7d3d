package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/auth"
)

// DevicePatch is a merge patch of a device (RFC 7396): what is missing stays,
// null clears. It is kept as it came, and read by the attributes.
type DevicePatch map[string]json.RawMessage

// Schema describes the patch in the OpenAPI document, and checks it.
func (DevicePatch) Schema(huma.Registry) *huma.Schema {
	text := func(most int, doc string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeString, Nullable: true, MaxLength: &most, Description: doc}
	}
	flag := func(doc string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeBoolean, Nullable: true, Description: doc}
	}
	s := &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: false,
		Description: "What is missing stays as it is, null clears",
		Properties: map[string]*huma.Schema{
			"name": text(200, ""), "iccid": text(20, "19 or 20 digits"), "msisdn": text(20, "Digits of E.164"), "ratePlan": text(200, ""),
			"sms":          flag("false: its SIM cannot be reached by SMS"),
			"requireToken": flag("Over MQTT too, each message must carry its token"),
			"unsigned":     flag("It has no secret and sends no tokens: its secrets end"),
			"disabled":     flag("Nothing of it is accepted, and its MQTT session ends"),
			"labels": {
				Type: huma.TypeObject, Nullable: true, Description: "Labels that are missing stay, null removes one",
				AdditionalProperties: &huma.Schema{Type: huma.TypeString, Nullable: true},
			},
		},
	}
	s.PrecomputeMessages()
	return s
}

// edits reads the patch. Its names have been checked against the schema.
func (p DevicePatch) edits() ([]edit, error) {
	var edits []edit
	for _, a := range attributes() {
		text, given := p[a.name]
		if !given {
			continue
		}
		if a.name == "labels" {
			a.json = mergeLabels
		}
		e, err := a.json(text)
		if err != nil {
			return nil, invalid("body."+a.name, err.Error(), "")
		}
		edits = append(edits, e)
	}
	return edits, nil
}

func (a *API) addDeviceChanges() {
	write, tags := []auth.Scope{auth.ScopeDeviceWrite}, []string{"devices"}
	const filtered = " An app with a device filter cannot change a device so that it would no longer see it." +
		" An app without `device.read` is answered with the id, the times and a secret that was made; the rest is then as if empty."
	register(a, huma.Operation{
		OperationID: "patch-device", Method: http.MethodPatch, Path: "/v1/devices/{id}", Summary: "Change a device",
		Description: "A merge patch (RFC 7396). Secrets are not changed here: see /v1/devices/{id}/secrets." + filtered,
		Tags:        tags, Errors: []int{http.StatusNotFound, http.StatusPreconditionFailed},
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{mergePatch: {Schema: DevicePatch{}.Schema(nil)}}},
	}, write, a.patchDevice)
	register(a, huma.Operation{
		OperationID: "put-device", Method: http.MethodPut, Path: "/v1/devices/{id}", Summary: "Replace or create a device",
		Description: "What is missing is cleared, but for the secret: one that the device has stays, and a new one ends those it has. " +
			"There being no such device it is created, and a secret is made for it if it needs one; If-None-Match: * only creates, If-Match only replaces." + filtered,
		Tags: tags, Errors: []int{http.StatusPreconditionFailed}, Responses: map[string]*huma.Response{"201": {Description: "Created"}},
	}, write, a.putDevice)
}

const mergePatch = "application/merge-patch+json"

type patchDeviceInput struct {
	ChangeDeviceInput
	Body DevicePatch
}

func (a *API) patchDevice(ctx context.Context, in *patchDeviceInput) (*oneDevice, error) {
	id, err := parseDevice("path.id", in.ID)
	if err != nil {
		return nil, err
	}
	edits, err := in.Body.edits()
	if err != nil {
		return nil, err
	}
	app := callerOf(ctx).app
	stored, err := a.registry.UpdateDevice(ctx, id, auth.AnyRevision, func(d *auth.Device) error {
		if !app.Sees(id, d.Labels) {
			return auth.ErrUnknown
		}
		if err := in.check(d.Revision()); err != nil {
			return err
		}
		for _, e := range edits {
			e(d)
		}
		return staysSeen(app, id, d.Labels)
	})
	if err != nil {
		return nil, err
	}
	return &oneDevice{entityTag(stored.Revision()), showChanged(ctx, &stored)}, nil
}

// staysSeen keeps an app from taking a device out of its own sight, where it
// could not put it back.
func staysSeen(app *auth.App, id auth.DeviceID, labels map[string]string) error {
	if app.Sees(id, labels) {
		return nil
	}
	return huma.Error403Forbidden("app " + app.Name + " sees the device by a label, and may not take that from it")
}
