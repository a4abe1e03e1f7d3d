package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/auth"
)

// AppPatch is a merge patch of an app (RFC 7396): what is missing stays, null
// clears. It is kept as it came.
type AppPatch map[string]json.RawMessage

// Schema describes the patch in the OpenAPI document, and checks it.
func (AppPatch) Schema(huma.Registry) *huma.Schema {
	var scopes []any
	for _, s := range auth.Scopes() {
		scopes = append(scopes, string(s))
	}
	least, most, none, devices := 1, 1e6, 0.0, 10000
	number := func(kind, doc string) *huma.Schema {
		return &huma.Schema{Type: kind, Nullable: true, Minimum: &none, Maximum: &most, Description: doc}
	}
	s := &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: false, Description: "What is missing stays as it is, null clears",
		Properties: map[string]*huma.Schema{
			"scopes": {
				Type: huma.TypeArray, MinItems: &least, Description: "All that it may do",
				Items: &huma.Schema{Type: huma.TypeString, Enum: scopes},
			},
			"devices": {
				Type: huma.TypeArray, Nullable: true, MaxItems: &devices, Description: "All that it may see: ids or label=value; null or none: every device",
				Items: &huma.Schema{Type: huma.TypeString},
			},
			"limits": {
				Type: huma.TypeObject, Nullable: true, AdditionalProperties: false, Description: "Limits that are missing stay; null or 0: the node's default",
				Properties: map[string]*huma.Schema{
					"requests":  number(huma.TypeNumber, "Requests of the API a second"),
					"publishes": number(huma.TypeNumber, "Publishes over MQTT a second"),
					"sessions":  number(huma.TypeInteger, "Sessions over MQTT"),
				},
			},
		},
	}
	s.PrecomputeMessages()
	return s
}

// apply changes the app; the patch has been checked against the schema.
func (p AppPatch) apply(app *auth.App) error {
	var err error
	if text, ok := p["scopes"]; ok {
		app.Scopes = nil // json would write into the array that is shared
		err = errors.Join(err, json.Unmarshal(text, &app.Scopes))
	}
	if text, ok := p["devices"]; ok {
		app.Devices = nil
		err = errors.Join(err, json.Unmarshal(text, &app.Devices))
	}
	if text, ok := p["limits"]; ok {
		err = errors.Join(err, mergeLimits(&app.Limits, text))
	}
	if err != nil {
		return huma.Error422UnprocessableEntity("the patch cannot be read")
	}
	return nil
}

func mergeLimits(l *auth.Limits, text json.RawMessage) error {
	if isNull(text) {
		*l = auth.Limits{}
		return nil
	}
	var changes map[string]*float64
	if err := json.Unmarshal(text, &changes); err != nil {
		return err
	}
	for name, value := range changes {
		if value == nil {
			value = new(float64)
		}
		switch name {
		case "requests":
			l.Requests = *value
		case "publishes":
			l.Publishes = *value
		case "sessions":
			l.Sessions = int(*value)
		}
	}
	return nil
}

func (a *API) addAppChanges() {
	admin, tags := []auth.Scope{auth.ScopeAdmin}, []string{"apps"}
	refusals := []int{http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed}
	register(a, huma.Operation{
		OperationID: "patch-app", Method: http.MethodPatch, Path: "/v1/apps/{name}", Summary: "Change an app",
		Description: "A merge patch (RFC 7396). It holds from the next request and the next message on, and its MQTT sessions get what they still may.",
		Tags:        tags, Errors: refusals,
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{mergePatch: {Schema: AppPatch{}.Schema(nil)}}},
	}, admin, a.patchApp)
	register(a, huma.Operation{
		OperationID: "put-app", Method: http.MethodPut, Path: "/v1/apps/{name}", Summary: "Replace or create an app",
		Description: "Its key stays; an app that is created gets one, which is returned this once. If-None-Match: * only creates, If-Match only replaces.",
		Tags:        tags, Errors: refusals, Responses: map[string]*huma.Response{"201": {Description: "Created"}},
	}, admin, a.putApp)
	register(a, huma.Operation{
		OperationID: "rotate-app-key", Method: http.MethodPost, Path: "/v1/apps/{name}/key", Summary: "Give an app a new key",
		Description: "It is returned this once. The key so far stays valid for the window; see oldKeyEndsAt.",
		Tags:        tags, DefaultStatus: http.StatusCreated, Errors: refusals,
	}, admin, a.rotateAppKey)
}

type patchAppInput struct {
	ChangeAppInput
	Body AppPatch
}

func (a *API) patchApp(ctx context.Context, in *patchAppInput) (*oneApp, error) {
	stored, err := a.registry.UpdateApp(ctx, in.Name, auth.AnyRevision, func(app *auth.App) error {
		if err := in.check(app.Revision()); err != nil {
			return err
		}
		return in.Body.apply(app)
	})
	if err != nil {
		return nil, err
	}
	return newOneApp(&stored), nil
}

// AppReplacement is a whole app.
type AppReplacement struct {
	AppInput
	Name string `json:"name,omitempty" doc:"That of the path, if any" maxLength:"100"`
}

type putAppInput struct {
	ChangeAppInput
	IfNoneMatch string `header:"If-None-Match" maxLength:"10" enum:"*" doc:"*: only create"`
	Body        AppReplacement
}

type putApp struct {
	Status   int
	Location string `header:"Location" doc:"Path of the app, if it was created"`
	ETag     string `header:"ETag"`
	Body     App
}

func (a *API) putApp(ctx context.Context, in *putAppInput) (*putApp, error) {
	if in.Body.Name != "" && in.Body.Name != in.Name {
		return nil, invalid("body.name", "it is not the app of the path", in.Body.Name)
	}
	app := in.Body.app(in.Name)
	if in.IfNoneMatch == "" {
		out, err := a.replaceApp(ctx, in, &app)
		if !errors.Is(err, auth.ErrUnknown) {
			return out, err
		}
		if in.IfMatch.IfMatch != "" {
			return nil, auth.ErrRevision
		}
	}
	stored, key, err := a.registry.PutApp(ctx, app, auth.Create)
	if errors.Is(err, auth.ErrExists) && in.IfNoneMatch != "" {
		return nil, auth.ErrRevision
	}
	if err != nil {
		return nil, err
	}
	out := &putApp{http.StatusCreated, appPath(stored.Name), entityTag(stored.Revision()), showApp(&stored)}
	out.Body.Key = key
	return out, nil
}

func (a *API) replaceApp(ctx context.Context, in *putAppInput, app *auth.App) (*putApp, error) {
	stored, err := a.registry.UpdateApp(ctx, in.Name, auth.AnyRevision, func(old *auth.App) error {
		if err := in.check(old.Revision()); err != nil {
			return err
		}
		old.Scopes, old.Devices, old.Limits = app.Scopes, app.Devices, app.Limits
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &putApp{Status: http.StatusOK, ETag: entityTag(stored.Revision()), Body: showApp(&stored)}, nil
}

// KeyInput says how an app's key is replaced.
type KeyInput struct {
	Window string `json:"window,omitempty" default:"0s" maxLength:"40" example:"1h" doc:"How long the key so far stays valid beside the new one"`
}

type rotateKeyInput struct {
	ChangeAppInput
	Body *KeyInput
}

func (a *API) rotateAppKey(ctx context.Context, in *rotateKeyInput) (*oneApp, error) {
	var window string
	if in.Body != nil {
		window = in.Body.Window
	}
	if window == "" {
		window = "0s"
	}
	old, err := parseWindow("body.window", window)
	if err != nil {
		return nil, err
	}
	revision, err := a.revisionOf(ctx, &in.ChangeAppInput)
	if err != nil {
		return nil, err
	}
	stored, key, err := a.registry.RotateAppKey(ctx, in.Name, revision, old)
	if err != nil {
		return nil, err
	}
	out := newOneApp(&stored)
	out.Body.Key = key
	return out, nil
}
