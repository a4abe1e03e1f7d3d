package api

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/auth"
	"m2mbridge/bridge/explain"
)

// ExplainInput is a message that was refused, as it arrived.
type ExplainInput struct {
	Body   string `json:"body" doc:"The raw body in base64" contentEncoding:"base64"`
	Token  string `json:"token" maxLength:"4096" doc:"The message token as it was sent"`
	Device string `json:"device,omitempty" maxLength:"100" doc:"The device that sent it; without it, the one that its body names"`
}

// Explanation says what is wrong with a message.
type Explanation struct {
	Device string `json:"device,omitempty" doc:"The device whose secrets were tried"`
	explain.Report
}

func (a *API) addExplain() {
	register(a, huma.Operation{
		OperationID: "explain", Method: http.MethodPost, Path: "/v1/explain", Tags: []string{"devices"},
		Summary:     "Find out why a message is refused",
		Description: "Makes the token again with every mistake devices are known to make, and names the one that gives the token sent. No secret is shown. A node explains one message at a time; one app may have one more waiting.",
	}, []auth.Scope{auth.ScopeDeviceRead}, a.explain)
}

type explainInput struct{ Body ExplainInput }

type explanation struct{ Body Explanation }

func (a *API) explain(ctx context.Context, in *explainInput) (*explanation, error) {
	body, err := decodeBase64(in.Body.Body)
	if err != nil {
		return nil, err
	}
	id, other, err := whose(in.Body.Device, body)
	if err != nil {
		return nil, err
	}
	leave, err := a.waiting.take(callerOf(ctx).app.Name)
	if err != nil {
		return nil, err
	}
	defer leave()
	select { // each takes a processor for a tenth of a second; who came first is first
	case a.explains <- struct{}{}:
		defer func() { <-a.explains }()
	case <-ctx.Done():
		return nil, unavailable("too many messages are being explained: try again")
	}
	out := &explanation{}
	if id == "" {
		out.Body.Findings = append(explain.Pack(body), noDevice())
		return out, nil
	}
	out.Body.Device = string(id)
	state, known, err := a.deviceFindings(ctx, id)
	if err != nil {
		return nil, err
	}
	if known {
		if out.Body.Report, err = a.explainToken(ctx, id, other, explain.Input{Body: body, Token: in.Body.Token}); err != nil {
			return nil, err
		}
	}
	if other != "" {
		out.Body.Match, state = false, append(state, otherDevice(other))
	}
	out.Body.Findings = slices.Concat(explain.Pack(body), state, out.Body.Findings)
	if out.Body.Findings == nil {
		out.Body.Findings = []explain.Finding{} // an empty list is [] in JSON, not null
	}
	return out, nil
}

// explainToken tries the secrets of the device, and of the other that the body
// names, where the app may see it: else a token could be tried on any device.
func (a *API) explainToken(ctx context.Context, id, other auth.DeviceID, in explain.Input) (r explain.Report, err error) {
	if in.Secrets, err = a.registry.Secrets(ctx, id); err != nil {
		return r, err
	}
	if a.pastSecrets != nil {
		if in.Retired, err = a.pastSecrets(ctx, id); err != nil {
			return r, err
		}
	}
	in.Logins = []string{id.BaseName()}
	if other != "" {
		if in.Others, err = a.visibleSecrets(ctx, other); err != nil {
			return r, err
		}
	}
	return explain.Explain(in), nil
}

// visibleSecrets are none of a device that the app does not see, or that is none.
func (a *API) visibleSecrets(ctx context.Context, id auth.DeviceID) ([]string, error) {
	seen, err := a.registry.Sees(ctx, callerOf(ctx).app, id)
	if err != nil || !seen {
		return nil, err
	}
	secrets, err := a.registry.Secrets(ctx, id)
	if errors.Is(err, auth.ErrUnknown) {
		return nil, nil
	}
	return secrets, err
}

func otherDevice(id auth.DeviceID) explain.Finding {
	return explain.Finding{
		Code: "device-differs", Text: "the body's base name is of another device: " + string(id),
		Fix: "give the device its own base name, or name the right one here",
	}
}

func decodeBase64(text string) ([]byte, error) {
	bare := strings.TrimRight(strings.Join(strings.Fields(text), ""), "=")
	if b, err := base64.RawStdEncoding.DecodeString(bare); err == nil {
		return b, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(bare)
	if err != nil {
		return nil, huma.Error422UnprocessableEntity("validation failed", &huma.ErrorDetail{
			Location: "body.body", Message: "want the raw body in base64",
		})
	}
	return b, nil
}

// whose is the device a message is of, "" when that cannot be told, and the other
// one that its body names where it should be that.
func whose(given string, body []byte) (id, other auth.DeviceID, err error) {
	named, _ := explain.Device(body)
	if given == "" {
		return named, "", nil
	}
	if id, err = parseDevice("body.device", given); err != nil || named == id {
		return id, "", err
	}
	return id, named, nil
}

func noDevice() explain.Finding {
	return explain.Finding{
		Code: "no-device", Text: "no base name can be read from the body, so that there is no secret to try",
		Fix: `name the device in this request's "device"`,
	}
}

// deviceFindings tells what stands in the registry that refuses, or ignores,
// any token. A device that the app may not see is unknown to it.
func (a *API) deviceFindings(ctx context.Context, id auth.DeviceID) (found []explain.Finding, known bool, err error) {
	seen, err := a.registry.Sees(ctx, callerOf(ctx).app, id)
	if err != nil {
		return nil, false, err
	}
	var d auth.Device
	if seen {
		d, err = a.registry.GetDevice(ctx, id)
	}
	if !seen || errors.Is(err, auth.ErrUnknown) {
		return []explain.Finding{{
			Code: "device-unknown", Text: "there is no such device, or it is not among what this app may see",
			Fix: "look for it with a key that sees every device; if there is none, register it: POST /v1/devices, or m2mbridge device add",
		}}, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if d.Disabled {
		found = append(found, explain.Finding{Code: "device-disabled", Text: "the device is disabled: all it sends is refused", Fix: "enable it"})
	}
	if d.Unsigned {
		found = append(found, explain.Finding{
			Code: "device-unsigned", Text: "the device is unsigned: its token is ignored, and it is accepted by the network it comes from",
			Fix: "see --unsigned-from, or give it a secret",
		})
	}
	return found, true, nil
}
