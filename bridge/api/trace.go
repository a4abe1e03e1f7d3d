package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/auth"
	"m2mbridge/bridge/trace"
)

const (
	kindSteps  = "steps"
	typeStep   = "step"
	stepsEvery = 200 * time.Millisecond // between looks for new steps
)

// Steps are the last steps of a device's messages.
type Steps struct {
	Items []trace.Step `json:"items" nullable:"false"`
}

type stepsInput struct {
	Device string `query:"device" required:"true" doc:"Of which device" example:"IMEI:356726104408422" maxLength:"100"`
}

type stepsOutput struct{ Body Steps }

func (a *API) addTrace() {
	register(a, huma.Operation{
		OperationID: "trace", Method: http.MethodGet, Path: "/v1/trace", Tags: []string{"streams"},
		Summary: "See what became of a device's last messages",
		Description: "The last 50 steps that any node remembers, in the order of their time: bytes in, verdict, pack, stream id, deliveries, downlinks, SMS, " +
			"connections. Of a refused message nothing is shown but why, and where it came from. The answer takes 0.3 s, in which the nodes are asked.",
		Errors: []int{http.StatusNotFound},
	}, []auth.Scope{auth.ScopeDeviceRead}, a.lastSteps)
}

func (a *API) lastSteps(ctx context.Context, in *stepsInput) (*stepsOutput, error) {
	f, err := a.filter(ctx, in.Device)
	if err != nil {
		return nil, err
	}
	if a.trace == nil {
		return nil, noTrace()
	}
	if err := a.registered(ctx, f.device); err != nil {
		return nil, err
	}
	steps, err := a.trace.Last(ctx, callerOf(ctx).app.Name, f.device)
	if err != nil {
		return nil, err
	}
	out := &stepsOutput{Steps{Items: []trace.Step{}}}
	for i := range steps {
		ok, err := a.registry.SeesAt(ctx, callerOf(ctx).app, f.device, steps[i].At)
		if err != nil {
			return nil, err
		}
		if ok {
			out.Body.Items = append(out.Body.Items, steps[i])
		}
	}
	return out, nil
}

// registered refuses to follow an id that is no device's: invented ones would
// take the places of those that are.
func (a *API) registered(ctx context.Context, id auth.DeviceID) error {
	_, err := a.registry.Labels(ctx, id)
	return err
}

func noTrace() error {
	return huma.Error404NotFound("this bridge keeps no steps: its --trace-memory is 0")
}

// wantsSteps tells whether a live stream has steps in it: those of one device,
// where they are asked for, or nothing else is and the app may see them.
func (a *API) wantsSteps(app *auth.App, in *liveParams) (bool, error) {
	if !slices.Contains(in.Kind, kindSteps) {
		return len(in.Kind) == 0 && in.Device != "" && app.Has(auth.ScopeDeviceRead) && a.trace != nil, nil
	}
	switch {
	case !app.Has(auth.ScopeDeviceRead):
		return false, lacks(app, auth.ScopeDeviceRead)
	case in.Device == "":
		return false, invalid("query.kind", "steps are followed of one device at a time: give device, too", kindSteps)
	case a.trace == nil:
		return false, noTrace()
	}
	return true, nil
}

// awaitSteps waits until the nodes have told what they remember, so that it
// comes before what is new.
func (l *liveStream) awaitSteps(ctx context.Context) {
	if l.steps == nil {
		return
	}
	select {
	case <-ctx.Done():
	case <-stopping(ctx):
	case <-time.After(time.Until(l.steps.Ready())):
	}
}

// maySeeSteps asks again: the app's scopes and filter may have changed, and the
// device's labels.
func (l *liveStream) maySeeSteps(ctx context.Context, app *auth.App) (bool, error) {
	if l.steps == nil {
		return true, nil
	}
	if !app.Has(auth.ScopeDeviceRead) {
		return false, nil
	}
	return l.api.registry.Sees(ctx, app, l.filter.device)
}

// tellSteps hands on the steps that came since the last pass. They have no ids:
// the client's position is one in the streams.
func (l *liveStream) tellSteps(ctx context.Context) error {
	if l.steps == nil {
		return nil
	}
	steps, err := l.steps.Next(ctx)
	if err != nil {
		return err
	}
	for i := range steps {
		if ok, err := l.api.registry.SeesAt(ctx, l.caller.app, l.filter.device, steps[i].At); err != nil {
			return err
		} else if !ok {
			continue
		}
		if err := l.out.send(typeStep, "", &steps[i]); err != nil {
			return err
		}
		l.api.metrics.sent.WithLabelValues(typeStep).Inc()
	}
	return nil
}
