package api

import (
	"encoding/json"
	"errors"

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
					"requests":  number(huma.TypeNumber, "Requests of the API a second, at least 0.01; 0: the node's default"),
					"publishes": number(huma.TypeNumber, "Publishes over MQTT a second, at least 0.01; 0: the node's default"),
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
