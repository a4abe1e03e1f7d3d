package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/auth"
)

// caller is who makes a request: its app as it was found when the request
// came, and the key to find it again.
type caller struct {
	app *auth.App
	key string
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

const securityScheme = "appKey"

// require lets only apps through that have one of the scopes; the first of
// them is the one to ask for.
func (a *API) require(scopes ...auth.Scope) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		key, ok := bearer(ctx.Header("Authorization"))
		if !ok {
			a.challenge(ctx, `Bearer realm="m2mbridge"`, "an app's key is needed, as header Authorization: Bearer <key>")
			return
		}
		app, err := a.registry.AppByKey(ctx.Context(), key)
		switch {
		case errors.Is(err, auth.ErrUnknown):
			a.challenge(ctx, `Bearer realm="m2mbridge", error="invalid_token"`, "no app has this key")
		case err != nil:
			a.writeProblem(ctx, a.problem(ctx.Context(), err))
		case !a.limits.admit(ctx, app): // before its scopes: what is refused costs too
			a.writeProblem(ctx, tooMany(app))
		case !hasAny(app, scopes):
			a.writeProblem(ctx, lacks(app, scopes[0]))
		default:
			next(huma.WithValue(ctx, callerKey{}, caller{app, key}))
		}
	}
}

// bearer takes the key out of an Authorization header (RFC 6750 §2.1).
func bearer(header string) (string, bool) {
	scheme, key, ok := strings.Cut(header, " ")
	key = strings.TrimSpace(key)
	return key, ok && strings.EqualFold(scheme, "Bearer") && key != ""
}

func hasAny(app *auth.App, scopes []auth.Scope) bool {
	for _, s := range scopes {
		if app.Has(s) {
			return true
		}
	}
	return false
}

func lacks(app *auth.App, s auth.Scope) error {
	return huma.Error403Forbidden("app " + app.Name + " lacks the scope " + string(s))
}

func (a *API) challenge(ctx huma.Context, scheme, detail string) {
	ctx.SetHeader("WWW-Authenticate", scheme)
	a.writeProblem(ctx, huma.Error401Unauthorized(detail))
}

func (a *API) writeProblem(ctx huma.Context, err error) {
	var headers huma.HeadersError
	if errors.As(err, &headers) {
		for name, values := range headers.GetHeaders() {
			ctx.SetHeader(name, values[0])
		}
	}
	status, detail := http.StatusInternalServerError, err.Error()
	var known huma.StatusError
	if errors.As(err, &known) {
		status = known.GetStatus()
	}
	// An answer that cannot be written has no reader.
	_ = huma.WriteErr(a.huma, ctx, status, detail)
}

// seen makes sure that the app may see the device. The refusal is the same
// whether the device exists or not.
func (a *API) seen(ctx context.Context, id auth.DeviceID) error {
	app := callerOf(ctx).app
	ok, err := a.registry.Sees(ctx, app, id)
	if err != nil {
		return err
	}
	if !ok {
		return notAmong(app, id)
	}
	return nil
}

func notAmong(app *auth.App, id auth.DeviceID) error {
	return huma.Error403Forbidden("device " + string(id) + " is not among the devices of app " + app.Name)
}

// parseDevice reads a device id of a request and names where it was wrong.
func parseDevice(location, text string) (auth.DeviceID, error) {
	id, err := auth.ParseDeviceID(text)
	if err != nil {
		return "", invalid(location, err.Error(), text)
	}
	return id, nil
}
