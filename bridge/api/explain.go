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
	Device string `json:"device,omitempty" maxLength:"100" doc:"The device it is of, where its body does not say"`
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
		Description: "Makes the token again with every mistake devices are known to make, and names the one that gives the token sent. No secret is shown.",
	}, []auth.Scope{auth.ScopeDeviceRead}, a.explain)
}

type explainInput struct{ Body ExplainInput }

type explanation struct{ Body Explanation }

func (a *API) explain(ctx context.Context, in *explainInput) (*explanation, error) {
	body, err := decodeBase64(in.Body.Body)
	if err != nil {
		return nil, err
	}
	id, err := whose(in.Body.Device, body)
	if err != nil {
		return nil, err
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
		secrets, err := a.registry.Secrets(ctx, id)
		if err != nil {
			return nil, err
		}
		out.Body.Report = explain.Explain(explain.Input{
			Body: body, Token: in.Body.Token, Secrets: secrets, Logins: []string{id.BaseName()},
		})
	}
	out.Body.Findings = slices.Concat(explain.Pack(body), state, out.Body.Findings)
	if out.Body.Findings == nil {
		out.Body.Findings = []explain.Finding{} // an empty list is [] in JSON, not null
	}
	return out, nil
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

// whose is the device a message claims to be of; "" when that cannot be told.
func whose(given string, body []byte) (auth.DeviceID, error) {
	if given != "" {
		return parseDevice("body.device", given)
	}
	id, _ := explain.Device(body)
	return id, nil
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
			Code: "device-unknown", Text: "there is no such device", Fix: "register it: POST /v1/devices, or m2mbridge device add",
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
