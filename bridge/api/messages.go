package api

import (
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/auth"
	"m2mbridge/bridge/asyncapi"
	"m2mbridge/bridge/stream"
)

// GapNotice tells a session, and it alone, which messages it missed.
type GapNotice struct {
	Kind   string `json:"kind" enum:"gap"`
	Stream string `json:"stream" doc:"Which stream, with its partition where there are several" example:"uplinks"`
	From   string `json:"from" doc:"All up to this stream id was sent" example:"1700000000000-0"`
	To     string `json:"to" doc:"What lies behind from was missed, up to this stream id" example:"1700000000009-0"`
	Count  *int64 `json:"count,omitempty" nullable:"false" doc:"How many entries of the stream; missing: not known"`
}

// What entries of the streams hold: every value is a text.
type (
	uplinkEntry struct {
		Device   string `json:"device" doc:"TYPE:value"`
		Via      string `json:"via" enum:"http,mqtt"`
		At       string `json:"at" pattern:"^[0-9]+$" doc:"When it was received, Unix ms"`
		Token    string `json:"token" pattern:"^([0-9a-f]{64})?$" doc:"Its message token; empty where it had none"`
		Pack     string `json:"pack" contentMediaType:"application/senml+json" doc:"The normalised pack"`
		Raw      string `json:"raw,omitempty" doc:"The bytes the device sent, with --keep-raw"`
		Unsigned string `json:"unsigned,omitempty" enum:"1" doc:"The device has no secret: nothing proves that the uplink is its own"`
	}
	rejectEntry struct {
		Device string `json:"device" doc:"The device it claims to be of; empty: none"`
		Via    string `json:"via" enum:"http,mqtt,"`
		At     string `json:"at" pattern:"^[0-9]+$" doc:"When it was received, Unix ms"`
		Reason string `json:"reason" doc:"Stable short name"`
		Detail string `json:"detail"`
		Remote string `json:"remote" doc:"Address it came from"`
		Body   string `json:"body" doc:"Its first 1024 bytes"`
	}
	eventEntry struct {
		Device string `json:"device" doc:"Empty where the event is about none"`
		App    string `json:"app,omitempty" doc:"The app whose session it is about"`
		At     string `json:"at" pattern:"^[0-9]+$" doc:"Unix ms"`
		Kind   string `json:"kind" doc:"downlink, sms, presence, gap or session"`
		ID     string `json:"id" doc:"Id of the downlink, SMS or session"`
		State  string `json:"state"`
		Cause  string `json:"cause,omitempty"`
	}
	commandEntry struct {
		Device    string `json:"device" doc:"TYPE:value"`
		Channel   string `json:"channel" enum:"http,mqtt,sms,any"`
		Pack      string `json:"pack" contentMediaType:"application/senml+json"`
		TTL       string `json:"ttl,omitempty" doc:"A duration such as 48h"`
		NotBefore string `json:"not_before,omitempty" doc:"An instant, RFC 3339"`
		Key       string `json:"key,omitempty" doc:"Idempotency key"`
	}
)

// uplinkTopic are the user properties of uplinks and of what is sent along.
type (
	streamProperties struct {
		ID       string `json:"id" doc:"Stream id, for after" example:"1700000000000-0"`
		Unsigned string `json:"unsigned,omitempty" enum:"true" doc:"The device has no secret: nothing proves that the uplink is its own"`
	}
	idProperty struct {
		ID string `json:"id" doc:"Stream id, for after" example:"1700000000000-0"`
	}
	tokenProperty struct {
		Token string `json:"Things-Message-Token,omitempty" pattern:"^[0-9A-Fa-f]{64}$" doc:"sha256(payload, secret) in hex; must match where it is given"`
	}
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
		AsyncAPI: asyncapi.Version,
		Info: asyncapi.Info{
			Title: "m2mbridge", Version: version,
			Description: "Topics of devices and apps over MQTT 3.1.1 and 5, and streams in Redis. What the bridge sends a client receives, at least once and in order per device. " +
				"Wildcards and $share work within an app's scopes and devices. A SUBSCRIBE of MQTT 5 with the user property after=<stream id> starts behind that entry.",
		},
		DefaultContentType: "application/json",
		Channels:           map[string]asyncapi.Channel{}, Operations: map[string]asyncapi.Operation{},
		Components: asyncapi.Components{
			Schemas:  huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
			Messages: map[string]asyncapi.Message{},
			SecuritySchemes: map[string]asyncapi.Security{
				"app":    {Type: asyncapi.UserPassword, Description: "User name: the app's name. Password: its key."},
				"device": {Type: asyncapi.UserPassword, Description: "User name: the base name, urn:dev:TYPE:value: with its last colon. Password: the shared secret, or in hex sha256(user name, secret)."},
				"redis":  {Type: asyncapi.UserPassword, Description: "As the site's Redis has it."},
			},
		},
		Servers: map[string]asyncapi.Server{
			onMQTT:  serverOf("mqtt", "5.0", "1883", "The broker; 3.1.1 too, which has no user properties", "app", "device"),
			onRedis: serverOf("redis", "", "6379", "Redis, for integrations that read its streams", "redis"),
		},
	}
	m := &messages{d}
	m.apps()
	m.devices()
	m.streams()
	return d
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

// topic is a channel of the broker below a device's type and value.
func topic(first, last, title, text string) asyncapi.Channel {
	return asyncapi.Channel{
		Address: first + "/{type}/{value}" + last, Title: title, Description: text, Servers: []asyncapi.Ref{asyncapi.ToServer(onMQTT)},
		Parameters: map[string]asyncapi.Parameter{
			"type":  {Description: "The device id before its colon", Enum: []string{auth.TypeIMEI, auth.TypeUUID}},
			"value": {Description: "The device id behind its colon", Examples: []string{"356726104408422"}},
		},
	}
}

// to is what the bridge sends to apps of any of the scopes, or takes from them.
func to(action string, scopes ...auth.Scope) asyncapi.Operation {
	op := asyncapi.Operation{Action: action, Security: []asyncapi.Ref{asyncapi.ToSecurity("app")}, Bindings: mqttBinding(false)}
	for _, s := range scopes {
		op.Scopes = append(op.Scopes, string(s))
	}
	return op
}

func mqttBinding(retain bool) map[string]any {
	return map[string]any{"mqtt": map[string]any{"qos": 1, "retain": retain, "bindingVersion": "0.2.0"}}
}

func (m *messages) apps() {
	m.add("uplinks", topic("uplinks", "", "An accepted uplink", "The normalised pack, nothing around it."),
		to(asyncapi.Send, auth.ScopeUplinkRead), senml, Pack{}, streamProperties{})
	rejected := topic("rejects", "", "A refused message", "Nothing in it is verified, the device neither: of one that names none the topic is rejects/UNKNOWN/-.")
	rejected.Parameters["type"] = asyncapi.Parameter{Description: "The device id before its colon", Enum: []string{auth.TypeIMEI, auth.TypeUUID, "UNKNOWN"}}
	m.add("rejects", rejected, to(asyncapi.Send, auth.ScopeRejectRead), "", Reject{}, idProperty{})
	event := topic("events", "/{kind}", "An event about a device", "Events of presence need uplink.read or downlink.read, others downlink.read.")
	event.Parameters["kind"] = asyncapi.Parameter{Description: "As in the payload", Examples: []string{"downlink", "sms", "presence"}}
	m.add("events", event, to(asyncapi.Send, readScopes(events)...), "", Event{}, idProperty{})
	m.appEvents()
	presence := topic("presence", "", "Whether a device is connected", "Retained.")
	op := to(asyncapi.Send, auth.ScopeUplinkRead)
	op.Bindings, op.Reserved = mqttBinding(true), true
	m.add("presence", presence, op, "", Event{}, idProperty{})
	op = to(asyncapi.Receive, auth.ScopeDownlinkWrite)
	op.Reserved = true
	m.add("downlinks", topic("downlinks", "", "A downlink to enqueue", ""), op, senml, Pack{}, nil)
}

// appEvents are about an app's own sessions.
func (m *messages) appEvents() {
	m.add("sessionEvents", asyncapi.Channel{
		Address: "events/APP/{app}/{kind}", Title: "An event about an app's session", Servers: []asyncapi.Ref{asyncapi.ToServer(onMQTT)},
		Description: "For the app itself, and for apps with downlink.read that see every device.",
		Parameters: map[string]asyncapi.Parameter{
			"app":  {Description: "The app's name"},
			"kind": {Description: "gap: it missed messages; session: it is far behind", Enum: []string{"gap", "session"}},
		},
	}, to(asyncapi.Send, readScopes(events)...), "", Event{}, idProperty{})
	m.add("gap", asyncapi.Channel{
		Address: "events/gap", Title: "What this session missed", Servers: []asyncapi.Ref{asyncapi.ToServer(onMQTT)},
		Description: "Sent without a subscription to the session alone that missed it.",
	}, to(asyncapi.Send), "", GapNotice{}, nil)
}

func (m *messages) devices() {
	op := asyncapi.Operation{Action: asyncapi.Receive, Security: []asyncapi.Ref{asyncapi.ToSecurity("device")}, Bindings: mqttBinding(false)}
	m.add("deviceUplink", topic("things", "/uplink", "An uplink of a device", "A SenML pack (RFC 8428); a missing bn is filled from the login."),
		op, senml, Pack{}, tokenProperty{})
	signed := topic("things", "/uplink/{token}", "An uplink of a device with its token", "For MQTT 3.1.1, which has no user properties.")
	signed.Parameters["token"] = asyncapi.Parameter{Description: "sha256(payload, secret) in hex"}
	m.add("deviceUplinkToken", signed, op, senml, Pack{}, nil)
	op.Action, op.Reserved = asyncapi.Send, true
	m.add("deviceDownlink", topic("things", "/downlink", "A downlink to a device", ""), op, senml, Pack{}, nil)
}

func (m *messages) streams() {
	send := asyncapi.Operation{Action: asyncapi.Send, Security: []asyncapi.Ref{asyncapi.ToSecurity("redis")}}
	m.add("uplinksStream", streamChannel(string(stream.Uplinks), "Accepted uplinks"), send, "", uplinkEntry{}, nil)
	m.add("rejectsStream", streamChannel(string(stream.Rejects), "Refused messages"), send, "", rejectEntry{}, nil)
	m.add("eventsStream", streamChannel(string(stream.Events), "Events"), send, "", eventEntry{}, nil)
	send.Action, send.Reserved = asyncapi.Receive, true
	m.add("commandsStream", streamChannel("commands", "Downlinks to enqueue"), send, "", commandEntry{}, nil)
}

func streamChannel(kind, title string) asyncapi.Channel {
	return asyncapi.Channel{
		Address: "m2m:{partition}:" + kind, Title: title, Servers: []asyncapi.Ref{asyncapi.ToServer(onRedis)},
		Description: "A stream (XREAD, XREADGROUP, XADD): the payload is the entry's fields.",
		Parameters: map[string]asyncapi.Parameter{
			"partition": {Description: "The partition in braces, which are of the key: hash(device id) mod --partitions", Examples: []string{"{0}"}},
		},
	}
}
