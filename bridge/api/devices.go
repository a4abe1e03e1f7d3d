package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/auth"
)

// Device is a device as the API shows it. No secret is in it, save once.
type Device struct {
	ID           string            `json:"id" doc:"TYPE:value" example:"IMEI:356726104408422"`
	Name         string            `json:"name,omitempty"`
	ICCID        string            `json:"iccid,omitempty" doc:"19 or 20 digits"`
	MSISDN       string            `json:"msisdn,omitempty" doc:"Digits of E.164" example:"31612345678"`
	RatePlan     string            `json:"ratePlan,omitempty"`
	SMS          bool              `json:"sms" doc:"Its SIM can be reached by SMS"`
	RequireToken bool              `json:"requireToken,omitempty" doc:"Over MQTT too, each message must carry its token"`
	Unsigned     bool              `json:"unsigned,omitempty" doc:"It has no secret and sends no tokens"`
	Disabled     bool              `json:"disabled,omitempty" doc:"Nothing of it is accepted"`
	Labels       map[string]string `json:"labels,omitempty"`
	Secrets      int               `json:"secrets" doc:"How many secrets are active"`
	LastSecret   int               `json:"lastSecret,omitempty" doc:"Which of two secrets matched last: 1 the newest, 2 the one before it"`
	Secret       string            `json:"secret,omitempty" doc:"Only in the answer that made it, where none was given: it is never shown again"`
	CreatedAt    time.Time         `json:"createdAt"`
	ModifiedAt   time.Time         `json:"modifiedAt"`

	Rotation *auth.RotationState `json:"rotation,omitempty" doc:"Missing: it has not two secrets"`

	LastSeen *Seen     `json:"lastSeen,omitempty" doc:"Missing: nothing of it was accepted yet"`
	Counters *Counters `json:"counters,omitempty"`
	Presence *Presence `json:"presence,omitempty" doc:"For apps with uplink.read; missing: it was never online"`
	Values   []Value   `json:"values,omitempty" nullable:"false" doc:"The latest of each name, for apps with uplink.read; not in lists"`
}

// DeviceInput is a device to be created.
type DeviceInput struct {
	ID           string            `json:"id" doc:"IMEI:<15 digits> or DVNUUID:<uuid>" example:"IMEI:356726104408422" maxLength:"100"`
	Secret       string            `json:"secret,omitempty" pattern:"^[0-9a-zA-Z]{30,100}$" doc:"The shared secret; without one, and not unsigned, one is made and returned this once"`
	Name         string            `json:"name,omitempty" maxLength:"200"`
	ICCID        string            `json:"iccid,omitempty" doc:"19 or 20 digits" maxLength:"20"`
	MSISDN       string            `json:"msisdn,omitempty" doc:"Digits of E.164" maxLength:"20"`
	RatePlan     string            `json:"ratePlan,omitempty" maxLength:"200"`
	SMS          *bool             `json:"sms,omitempty" doc:"false: its SIM cannot be reached by SMS"`
	RequireToken bool              `json:"requireToken,omitempty" doc:"Over MQTT too, each message must carry its token"`
	Unsigned     bool              `json:"unsigned,omitempty" doc:"It has no secret and sends no tokens; see --unsigned-from"`
	Disabled     bool              `json:"disabled,omitempty" doc:"Nothing of it is accepted"`
	Labels       map[string]string `json:"labels,omitempty"`
}

func showDevice(d *auth.Device) Device {
	return Device{
		ID: string(d.ID), Name: d.Name, ICCID: d.ICCID, MSISDN: d.MSISDN, RatePlan: d.RatePlan, SMS: d.CanSMS(),
		RequireToken: d.RequireToken, Unsigned: d.Unsigned, Disabled: d.Disabled, Labels: d.Labels,
		Secrets: d.Secrets, LastSecret: d.LastSecret, Rotation: d.Rotation, CreatedAt: d.CreatedAt, ModifiedAt: d.ModifiedAt,
	}
}

// showChanged is what the answer of a change shows: to an app that may not read
// devices no more than which device it was, and when it was made and changed.
func showChanged(ctx context.Context, d *auth.Device) Device {
	if callerOf(ctx).app.Has(auth.ScopeDeviceRead) {
		return showDevice(d)
	}
	return Device{ID: string(d.ID), CreatedAt: d.CreatedAt, ModifiedAt: d.ModifiedAt}
}

func (in *DeviceInput) device(id auth.DeviceID) auth.Device {
	return auth.Device{
		ID: id, Secret: in.Secret, Name: in.Name, ICCID: in.ICCID, MSISDN: in.MSISDN, RatePlan: in.RatePlan, SMS: in.SMS,
		RequireToken: in.RequireToken, Unsigned: in.Unsigned, Disabled: in.Disabled, Labels: in.Labels,
	}
}

func (a *API) addDevices() {
	read, write := []auth.Scope{auth.ScopeDeviceRead}, []auth.Scope{auth.ScopeDeviceWrite}
	tags := []string{"devices"}
	register(a, huma.Operation{
		OperationID: "create-device", Method: http.MethodPost, Path: "/v1/devices", Summary: "Create a device",
		Tags: tags, DefaultStatus: http.StatusCreated, Errors: []int{http.StatusConflict},
	}, write, a.createDevice)
	register(a, huma.Operation{
		OperationID: "list-devices", Method: http.MethodGet, Path: "/v1/devices", Summary: "List and search devices", Tags: tags,
		Description: "Every parameter narrows the list. An app with a device filter gets the devices of its filter.",
	}, read, a.listDevices)
	register(a, huma.Operation{
		OperationID: "get-device", Method: http.MethodGet, Path: "/v1/devices/{id}", Summary: "Get a device",
		Description: "Its ETag is that of what can be changed of it: it stays the same when the device is seen or sends values.",
		Tags:        tags, Errors: []int{http.StatusNotModified, http.StatusNotFound},
	}, read, a.getDevice)
	register(a, huma.Operation{
		OperationID: "delete-device", Method: http.MethodDelete, Path: "/v1/devices/{id}", Summary: "Remove a device",
		Description: "Its messages are refused from now on; its uplinks stay in the streams until they are trimmed.",
		Tags:        tags, DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusNotFound, http.StatusPreconditionFailed},
	}, write, a.deleteDevice)
	a.addDeviceChanges()
	a.addSecrets()
	a.addImport()
	a.addExport()
}

type createDeviceInput struct{ Body DeviceInput }

type createdDevice struct {
	Location string `header:"Location" doc:"Path of the device"`
	ETag     string `header:"ETag"`
	Body     Device
}

func (a *API) createDevice(ctx context.Context, in *createDeviceInput) (*createdDevice, error) {
	id, err := parseDevice("body.id", in.Body.ID)
	if err != nil {
		return nil, err
	}
	if err := mayCreate(callerOf(ctx).app, id, in.Body.Labels); err != nil {
		return nil, err
	}
	d := in.Body.device(id)
	generated := d.Secret == "" && !d.Unsigned
	if generated {
		d.Secret = auth.GenerateSecret()
	}
	stored, err := a.registry.PutDevice(ctx, d, auth.Create)
	if err != nil {
		return nil, err
	}
	out := &createdDevice{Location: "/v1/devices/" + string(id), ETag: entityTag(stored.Revision()), Body: showDevice(&stored)}
	if generated {
		out.Body.Secret = d.Secret
	}
	return out, nil
}

// mayCreate keeps an app from making devices that it could not see.
func mayCreate(app *auth.App, id auth.DeviceID, labels map[string]string) error {
	if app.Sees(id, labels) {
		return nil
	}
	return huma.Error403Forbidden("app " + app.Name + " may only create devices of its own filter: " + strings.Join(app.Devices, ", "))
}

// DeviceParam is the device that a path names.
type DeviceParam struct {
	ID string `path:"id" doc:"Device id" example:"IMEI:356726104408422" maxLength:"100"`
}

type oneDevice struct {
	ETag string `header:"ETag"`
	Body Device
}

type getDeviceInput struct {
	DeviceParam
	IfNoneMatch
}

func (a *API) getDevice(ctx context.Context, in *getDeviceInput) (*oneDevice, error) {
	d, err := a.knownDevice(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if err := in.check(d.Revision()); err != nil {
		return nil, err
	}
	shown, err := a.showWhole(ctx, callerOf(ctx).app, d)
	if err != nil {
		return nil, err
	}
	return &oneDevice{entityTag(d.Revision()), shown}, nil
}

// ChangeDeviceInput is a change of a device, and its condition.
type ChangeDeviceInput struct {
	DeviceParam
	IfMatch
}

func (a *API) deleteDevice(ctx context.Context, in *ChangeDeviceInput) (*struct{}, error) {
	err := a.change(ctx, in, func(d *auth.Device, revision int64) error {
		return a.registry.DeleteDevice(ctx, d.ID, revision)
	})
	if errors.Is(err, auth.ErrDamaged) {
		err = a.deleteDamaged(ctx, in)
	}
	return nil, err
}

// deleteDamaged removes a device of which no more than its revision can be read.
func (a *API) deleteDamaged(ctx context.Context, in *ChangeDeviceInput) error {
	d, err := a.knownDevice(ctx, in.ID)
	if !errors.Is(err, auth.ErrDamaged) {
		return err
	}
	if err := in.check(d.Revision()); err != nil {
		return err
	}
	return a.registry.DeleteDevice(ctx, d.ID, in.revision(d.Revision()))
}

// change finds a device, holds it against the condition and has f change that
// revision. Where the app sees the device for its labels, it may not change
// one that has lost them meanwhile: then it is looked at anew.
func (a *API) change(ctx context.Context, in *ChangeDeviceInput, f func(d *auth.Device, revision int64) error) error {
	for {
		d, err := a.knownDevice(ctx, in.ID)
		if err != nil {
			return err
		}
		if err := in.check(d.Revision()); err != nil {
			return err
		}
		revision := in.revision(d.Revision())
		byLabel := callerOf(ctx).app.NeedsLabels(d.ID)
		if byLabel {
			revision = d.Revision()
		}
		err = f(&d, revision)
		again := byLabel && in.IfMatch.IfMatch == "" && errors.Is(err, auth.ErrRevision)
		if !again || ctx.Err() != nil {
			return err
		}
	}
}

// knownDevice reads the device of a path. One that the app may not see does
// not exist for it.
func (a *API) knownDevice(ctx context.Context, text string) (auth.Device, error) {
	id, err := parseDevice("path.id", text)
	if err != nil {
		return auth.Device{}, err
	}
	d, err := a.registry.GetDevice(ctx, id)
	if (err == nil || errors.Is(err, auth.ErrDamaged)) && !callerOf(ctx).app.Sees(id, d.Labels) {
		return auth.Device{}, auth.ErrUnknown
	}
	return d, err
}
