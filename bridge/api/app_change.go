package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/auth"
)

func (a *API) addAppChanges() {
	admin, tags := []auth.Scope{auth.ScopeAdmin}, []string{"apps"}
	refusals := []int{http.StatusNotFound, http.StatusPreconditionFailed}
	register(a, huma.Operation{
		OperationID: "patch-app", Method: http.MethodPatch, Path: "/v1/apps/{name}", Summary: "Change an app",
		Description: "A merge patch (RFC 7396). It holds from the next request and the next message on, and its MQTT sessions get what they still may.",
		Tags:        tags, Errors: refusals,
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{mergePatch: {Schema: AppPatch{}.Schema(nil)}}},
	}, admin, a.patchApp)
	register(a, huma.Operation{
		OperationID: "put-app", Method: http.MethodPut, Path: "/v1/apps/{name}", Summary: "Replace or create an app",
		Description: "Its key stays; an app that is created gets one, which is returned this once. If-None-Match: * only creates, If-Match only replaces.",
		Tags:        tags, Errors: []int{http.StatusPreconditionFailed}, Responses: map[string]*huma.Response{"201": {Description: "Created"}},
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
	for {
		if in.IfNoneMatch == "" {
			out, err := a.replaceApp(ctx, in, &app)
			if !errors.Is(err, auth.ErrUnknown) {
				return out, err
			}
			if in.IfMatch.IfMatch != "" {
				return nil, auth.ErrRevision
			}
		}
		out, err := a.putNewApp(ctx, app)
		switch {
		case !errors.Is(err, auth.ErrExists):
			return out, err
		case in.IfNoneMatch != "":
			return nil, auth.ErrRevision
		case ctx.Err() != nil:
			return nil, err
		} // it was made by another meanwhile
	}
}

func (a *API) putNewApp(ctx context.Context, app auth.App) (*putApp, error) {
	stored, key, err := a.registry.PutApp(ctx, app, auth.Create)
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
