package api

import (
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/bridge/asyncapi"
)

const (
	senml   = "application/senml+json"
	onMQTT  = "mqtt"
	onRedis = "redis"

	reservedText = "Reserved: the bridge does nothing with it yet."
)

// messagesOf describes the topics and streams. The payloads are what the types
// say; that the topics are so is what the tests hold it to.
func messagesOf(version string) *asyncapi.Document {
	d := &asyncapi.Document{
		AsyncAPI: asyncapi.Version, Info: asyncapi.Info{Title: "m2mbridge", Version: version, Description: messagesText}, DefaultContentType: "application/json",
		Servers: servers(), Channels: map[string]asyncapi.Channel{}, Operations: map[string]asyncapi.Operation{},
		Components: asyncapi.Components{
			Schemas:  huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
			Messages: map[string]asyncapi.Message{}, SecuritySchemes: logins(),
		},
	}
	m := &messages{d}
	m.apps()
	m.devices()
	m.streams()
	return d
}

const messagesText = "Topics of devices and apps over MQTT 3.1.1 and 5, and streams in Redis. What the bridge sends a client receives, at least once and in order per device. " +
	"Wildcards and $share work within an app's scopes and devices. A SUBSCRIBE of MQTT 5 with the user property after=<stream id> starts behind that entry."

func logins() map[string]asyncapi.Security {
	return map[string]asyncapi.Security{
		"app":    {Type: asyncapi.UserPassword, Description: "User name: the app's name. Password: its key."},
		"device": {Type: asyncapi.UserPassword, Description: "User name: the base name, urn:dev:TYPE:value: with its last colon. Password: the shared secret, or in hex sha256(user name, secret)."},
		"redis":  {Type: asyncapi.UserPassword, Description: "As the site's Redis has it."},
	}
}

func servers() map[string]asyncapi.Server {
	return map[string]asyncapi.Server{
		onMQTT:  serverOf("mqtt", "5.0", "1883", "The broker; 3.1.1 too, which has no user properties", "app", "device"),
		onRedis: serverOf("redis", "", "6379", "Redis, for integrations that read its streams", "redis"),
	}
}

func serverOf(protocol, version, port, text string, security ...string) asyncapi.Server {
	s := asyncapi.Server{
		Host: "{host}:{port}", Protocol: protocol, ProtocolVersion: version, Description: text,
		Variables: map[string]asyncapi.Variable{"host": {Default: "127.0.0.1"}, "port": {Default: port}},
	}
	for _, name := range security {
		s.Security = append(s.Security, asyncapi.ToSecurity(name))
	}
	return s
}

// messages fills a document.
type messages struct{ *asyncapi.Document }

// add puts a channel with one message, and the operation on it, into the
// document. The payload is of the type of payload, the user properties of that
// of properties; nil: none.
func (m *messages) add(name string, c asyncapi.Channel, op asyncapi.Operation, contentType string, payload, properties any) {
	message := asyncapi.Message{Name: name, Title: c.Title, ContentType: contentType, Payload: m.schema(payload)}
	if properties != nil {
		message.Headers = m.schema(properties)
	}
	m.Components.Messages[name] = message
	c.Messages = map[string]asyncapi.Ref{name: asyncapi.ToMessage(name)}
	op.Title = c.Title
	if op.Reserved {
		c.Description = strings.TrimSpace(c.Description + " " + reservedText)
	}
	m.Add(name, c, op)
}

func (m *messages) schema(of any) *huma.Schema {
	return m.Components.Schemas.Schema(reflect.TypeOf(of), true, "")
}
