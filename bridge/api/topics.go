package api

import (
	"m2mbridge/auth"
	"m2mbridge/bridge/asyncapi"
	"m2mbridge/bridge/stream"
)

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
	event := topic("events", "/{kind}", "An event about a device", "Events of presence need uplink.read or downlink.read, others downlink.read. "+
		"Of kind sms there is one for each thing that is known of an attempt: that the gateway accepted it is not that the device has it.")
	event.Parameters["kind"] = asyncapi.Parameter{Description: "As in the payload", Examples: []string{"downlink", "sms", "presence"}}
	m.add("events", event, to(asyncapi.Send, readScopes(events)...), "", Event{}, idProperty{})
	m.appEvents()
	m.presence()
	m.add("downlinks", topic("downlinks", "", "A downlink to enqueue", "Base names may be left out. What the pack does not say is in user properties (MQTT 5); with `as` the payload is the text or the octets of an SMS."),
		to(asyncapi.Receive, auth.ScopeDownlinkWrite), senml, DownlinkPack{}, downlinkProperties{})
}

func (m *messages) presence() {
	op := to(asyncapi.Send, auth.ScopeUplinkRead)
	op.Bindings = mqttBinding(true)
	m.add("presence", topic("presence", "", "Whether a device is online",
		"Retained: whoever subscribes gets what is, then each change, of which events/{type}/{value}/presence keeps all. A retained message has no user properties."),
		op, "", PresenceState{}, presenceProperty{})
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
	op.Action = asyncapi.Send
	m.add("deviceDownlink", topic("things", "/downlink", "A downlink to a device",
		"One at a time: the next comes when this one is acknowledged. First a record of the base name alone, then one for each value. One that the device is to acknowledge "+
			"itself has its id in a last record, downlinkId, which the device sends back as the string value of a record downlinkAck."),
		op, senml, DownlinkPack{}, nil)
}

func (m *messages) streams() {
	send := asyncapi.Operation{Action: asyncapi.Send, Security: []asyncapi.Ref{asyncapi.ToSecurity("redis")}}
	m.add("uplinksStream", streamChannel(string(stream.Uplinks), "Accepted uplinks"), send, "", uplinkEntry{}, nil)
	m.add("rejectsStream", streamChannel(string(stream.Rejects), "Refused messages"), send, "", rejectEntry{}, nil)
	m.add("eventsStream", streamChannel(string(stream.Events), "Events"), send, "", eventEntry{}, nil)
	send.Action = asyncapi.Receive
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
