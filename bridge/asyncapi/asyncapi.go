// Package asyncapi is the part of an AsyncAPI 3.0 document that the bridge
// needs, with its spelling in JSON. It knows no topic and no stream: whoever
// makes a document does.
package asyncapi

import (
	"maps"
	"slices"

	"github.com/danielgtaylor/huma/v2"
)

// Version of the specification.
const Version = "3.0.0"

// Document describes what is sent over servers, channel by channel.
type Document struct {
	AsyncAPI           string               `json:"asyncapi"`
	Info               Info                 `json:"info"`
	DefaultContentType string               `json:"defaultContentType"`
	Servers            map[string]Server    `json:"servers"`
	Channels           map[string]Channel   `json:"channels"`
	Operations         map[string]Operation `json:"operations"`
	Components         Components           `json:"components"`
}

// Info is the head of a document.
type Info struct {
	Title       string `json:"title"`
	Version     string `json:"version"`
	Description string `json:"description"`
}

// Ref points to another part of the document.
type Ref struct {
	To string `json:"$ref"`
}

// Server is where channels are.
type Server struct {
	Host            string              `json:"host"`
	Protocol        string              `json:"protocol"`
	ProtocolVersion string              `json:"protocolVersion,omitempty"`
	Description     string              `json:"description,omitempty"`
	Variables       map[string]Variable `json:"variables,omitempty"`
	Security        []Ref               `json:"security,omitempty"`
}

// Variable is a part of a server's host that differs from site to site.
type Variable struct {
	Default     string `json:"default"`
	Description string `json:"description,omitempty"`
}

// Channel is a topic or a stream; braces in its address are parameters.
type Channel struct {
	Address     string               `json:"address"`
	Title       string               `json:"title"`
	Description string               `json:"description,omitempty"`
	Servers     []Ref                `json:"servers"`
	Parameters  map[string]Parameter `json:"parameters,omitempty"`
	Messages    map[string]Ref       `json:"messages"`
}

// Parameter is a part of an address.
type Parameter struct {
	Description string   `json:"description,omitempty"`
	Enum        []string `json:"enum,omitempty"`
	Examples    []string `json:"examples,omitempty"`
}

// Actions, as the bridge sees them: what it sends a client receives.
const (
	Send    = "send"
	Receive = "receive"
)

// Operation is what the bridge does on a channel.
type Operation struct {
	Action      string         `json:"action"`
	Channel     Ref            `json:"channel"`
	Title       string         `json:"title"`
	Description string         `json:"description,omitempty"`
	Security    []Ref          `json:"security,omitempty"`
	Bindings    map[string]any `json:"bindings,omitempty"`
	Messages    []Ref          `json:"messages"`

	// Scopes are what an app must have, one of them.
	Scopes []string `json:"x-scopes,omitempty"`
	// Reserved: the address is kept for this, and the bridge does nothing with it yet.
	Reserved bool `json:"x-reserved,omitempty"`
}

// Message is what one message holds.
type Message struct {
	Name        string       `json:"name"`
	Title       string       `json:"title"`
	Summary     string       `json:"summary,omitempty"`
	ContentType string       `json:"contentType,omitempty"`
	Headers     *huma.Schema `json:"headers,omitempty"` // user properties, over MQTT
	Payload     *huma.Schema `json:"payload"`
}

// Components are what the rest refers to.
type Components struct {
	Schemas         huma.Registry       `json:"schemas"`
	Messages        map[string]Message  `json:"messages"`
	SecuritySchemes map[string]Security `json:"securitySchemes"`
}

// Security is how a client says who it is.
type Security struct {
	Type        string `json:"type"`
	Description string `json:"description"`
}

// UserPassword is the type of a login by name and password.
const UserPassword = "userPassword"

// Add puts an operation and its channel, both under one name, into the document.
func (d *Document) Add(name string, c Channel, op Operation) {
	op.Channel = Ref{"#/channels/" + name}
	for _, key := range slices.Sorted(maps.Keys(c.Messages)) {
		op.Messages = append(op.Messages, Ref{"#/channels/" + name + "/messages/" + key})
	}
	d.Channels[name], d.Operations[name] = c, op
}

// ToMessage refers to a message of the components.
func ToMessage(name string) Ref { return Ref{"#/components/messages/" + name} }

// ToServer refers to a server.
func ToServer(name string) Ref { return Ref{"#/servers/" + name} }

// ToSecurity refers to a security scheme.
func ToSecurity(name string) Ref { return Ref{"#/components/securitySchemes/" + name} }
