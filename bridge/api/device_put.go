package api

import (
	"context"
	"net/http"

	"m2mbridge/auth"
)

// DeviceReplacement is a whole device.
type DeviceReplacement struct {
	DeviceInput
	ID string `json:"id,omitempty" doc:"That of the path, if any" maxLength:"100"`
}

type putDeviceInput struct {
	ChangeDeviceInput
	IfNoneMatch string `header:"If-None-Match" maxLength:"10" enum:"*" doc:"*: only create"`
	Body        DeviceReplacement
}

type putDevice struct {
	Status   int
	Location string `header:"Location" doc:"Path of the device, if it was created"`
	ETag     string `header:"ETag"`
	Body     Device
}

func (a *API) putDevice(ctx context.Context, in *putDeviceInput) (*putDevice, error) {
	id, err := parseDevice("path.id", in.ID)
	if err != nil {
		return nil, err
	}
	if given, err := auth.ParseDeviceID(in.Body.ID); in.Body.ID != "" && (err != nil || given != id) {
		return nil, invalid("body.id", "it is not the device of the path", in.Body.ID)
	}
	app, generated := callerOf(ctx).app, ""
	done, err := a.registry.PutDevices(ctx, []auth.DeviceID{id}, auth.Bulk{Whole: true}, func(_ int, old *auth.Device) (auth.Device, error) {
		d := in.Body.device(id)
		generated = ""
		if !d.Unsigned && d.Secret == "" && (old == nil || old.Secrets == 0) {
			generated = auth.GenerateSecret()
			d.Secret = generated
		}
		return d, in.mayPut(app, old, &d)
	})
	if err != nil {
		return nil, err
	}
	if done[0].Err != nil {
		return nil, done[0].Err
	}
	stored := &done[0].After
	if !done[0].Changed {
		stored = done[0].Before // with its own time
	}
	out := &putDevice{Status: http.StatusOK, ETag: entityTag(stored.Revision()), Body: showChanged(ctx, stored)}
	out.Body.Secret = generated
	if done[0].Before == nil {
		out.Status, out.Location = http.StatusCreated, "/v1/devices/"+string(id)
	}
	return out, nil
}

// mayPut holds the app's filter and the conditions against what there is. A
// device that the app does not see is refused as one that there is not, so that
// no condition tells whether there is.
func (in *putDeviceInput) mayPut(app *auth.App, old, d *auth.Device) error {
	hidden := old == nil || !app.Sees(d.ID, old.Labels)
	switch {
	case hidden && !app.Sees(d.ID, d.Labels):
		return notAmong(app, d.ID)
	case hidden && in.IfMatch.IfMatch != "":
		return auth.ErrRevision
	case hidden && old != nil:
		return notAmong(app, d.ID)
	case hidden:
		return nil
	case in.IfNoneMatch != "":
		return auth.ErrRevision
	}
	if err := in.check(old.Revision()); err != nil {
		return err
	}
	return staysSeen(app, d.ID, d.Labels)
}
