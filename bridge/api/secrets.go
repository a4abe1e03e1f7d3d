package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/auth"
)

// RotationInput is a new secret for a device.
type RotationInput struct {
	Secret string `json:"secret,omitempty" pattern:"^[0-9a-zA-Z]{30,100}$" doc:"The new secret; without one, one is made and returned this once"`
	Window string `json:"window,omitempty" default:"168h" maxLength:"40" example:"168h" doc:"How long the secret so far stays valid beside it; 0s: it ends at once"`
	After  int64  `json:"after,omitempty" minimum:"0" maximum:"1000000000" doc:"Messages made with the new secret after which the one before it ends (0: no such number), if the window is not over first"`
	Force  bool   `json:"force,omitempty" doc:"Rotate even if the device may still use the secret from before the last rotation, which ends then at once"`
}

func (a *API) addSecrets() {
	write, tags := []auth.Scope{auth.ScopeDeviceWrite}, []string{"devices"}
	refusals := []int{http.StatusNotFound, http.StatusPreconditionFailed}
	rotation := append([]int{http.StatusConflict}, refusals...)
	register(a, huma.Operation{
		OperationID: "rotate-secret", Method: http.MethodPost, Path: "/v1/devices/{id}/secrets", Summary: "Give a device a new secret",
		Description: "Both secrets are valid until the window is over, or the device has sent so many messages with the new one. " +
			"A third, older one ends at once: 409 until the device has sent with the second, unless force is set. The device's lastSecret says which it uses.",
		Tags: tags, DefaultStatus: http.StatusCreated, Errors: rotation,
	}, write, a.rotateSecret)
	register(a, huma.Operation{
		OperationID: "revoke-secret", Method: http.MethodDelete, Path: "/v1/devices/{id}/secrets/{which}", Summary: "End a secret of a device at once",
		Description: "An MQTT session that was opened with it ends too. A device without secrets can send nothing until it gets one.",
		Tags:        tags, Errors: refusals,
	}, write, a.revokeSecret)
}

type rotateInput struct {
	ChangeDeviceInput
	Body RotationInput
}

func (a *API) rotateSecret(ctx context.Context, in *rotateInput) (*oneDevice, error) {
	window, err := parseWindow("body.window", in.Body.Window)
	if err != nil {
		return nil, err
	}
	out := &oneDevice{}
	err = a.change(ctx, &in.ChangeDeviceInput, func(d *auth.Device, revision int64) error {
		stored, secret, err := a.registry.Rotate(ctx, d.ID, revision, auth.Rotation{Secret: in.Body.Secret, Window: window, After: in.Body.After, Force: in.Body.Force})
		if err != nil {
			return err
		}
		out.ETag, out.Body = entityTag(stored.Revision()), showChanged(ctx, &stored)
		if in.Body.Secret == "" {
			out.Body.Secret = secret
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// parseWindow reads how long something old stays valid.
func parseWindow(location, text string) (time.Duration, error) {
	window, err := time.ParseDuration(text)
	if err != nil || window < 0 || window > auth.MaxRotation {
		return 0, invalid(location, fmt.Sprintf("want a duration such as 90s, 10m or 168h, at most %.0fh", auth.MaxRotation.Hours()), text)
	}
	return window, nil
}

type revokeInput struct {
	ChangeDeviceInput
	Which string `path:"which" enum:"new,old,all" doc:"new: the newest; old: the one before it; all: every one"`
}

func (a *API) revokeSecret(ctx context.Context, in *revokeInput) (*oneDevice, error) {
	which := map[string]auth.Which{"new": auth.NewSecret, "old": auth.OldSecret, "all": auth.AllSecrets}[in.Which]
	out := &oneDevice{}
	err := a.change(ctx, &in.ChangeDeviceInput, func(d *auth.Device, revision int64) error {
		stored, err := a.registry.RevokeSecret(ctx, d.ID, revision, which)
		out.ETag, out.Body = entityTag(stored.Revision()), showChanged(ctx, &stored)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
