package reference

import (
	"maps"
	"slices"
	"strings"

	"m2mbridge/bridge/asyncapi"
)

func (p *page) messages(d *asyncapi.Document) {
	p.anchored("h2", "messages", "topics and streams")
	p.prose(d.Info.Description)
	p.raw("<table>\n")
	for _, name := range slices.Sorted(maps.Keys(d.Components.SecuritySchemes)) {
		p.raw("<tr><td>")
		p.text("login of " + name)
		p.raw("<td>")
		p.inline(d.Components.SecuritySchemes[name].Description)
		p.raw("\n")
	}
	p.raw("</table>\n")
	for _, name := range slices.Sorted(maps.Keys(d.Channels)) {
		p.channel(d, name)
	}
}

func (p *page) channel(d *asyncapi.Document, name string) {
	c, op := d.Channels[name], d.Operations[name]
	p.anchored("h3", "c-"+name, "`"+c.Address+"` "+c.Title)
	p.prose(direction(d, &c, &op))
	p.prose(c.Description)
	p.raw("<table>\n")
	for _, parameter := range slices.Sorted(maps.Keys(c.Parameters)) {
		p.parameter(parameter, c.Parameters[parameter])
	}
	p.raw("</table>\n")
	for _, ref := range slices.Sorted(maps.Keys(c.Messages)) {
		p.message(d.Components.Messages[ref])
	}
}

// direction says who sends, where, and who may.
func direction(d *asyncapi.Document, c *asyncapi.Channel, op *asyncapi.Operation) string {
	var servers []string
	for _, s := range c.Servers {
		servers = append(servers, d.Servers[s.To[strings.LastIndexByte(s.To, '/')+1:]].Protocol)
	}
	text := map[string]string{asyncapi.Send: "Sent by the bridge", asyncapi.Receive: "Taken by the bridge"}[op.Action] + ", " + strings.Join(servers, ", ") + "."
	if len(op.Scopes) > 0 {
		text += " Needs the scope `" + strings.Join(op.Scopes, "` or `") + "`."
	}
	return text
}

func (p *page) parameter(name string, of asyncapi.Parameter) {
	p.raw("<tr><td>")
	p.tag("code", "{"+name+"}")
	p.raw("<td>")
	p.inline(of.Description)
	if len(of.Enum) > 0 {
		p.text(": " + strings.Join(of.Enum, ", "))
	}
	if len(of.Examples) > 0 {
		p.text(", such as " + strings.Join(of.Examples, ", "))
	}
	p.raw("\n")
}

func (p *page) message(m asyncapi.Message) {
	p.raw("<p>Payload: ")
	p.typeOf(m.Payload, "m-")
	if m.ContentType != "" {
		p.raw(", ")
		p.tag("code", m.ContentType)
	}
	if m.Headers != nil {
		p.raw("; user properties: ")
		p.typeOf(m.Headers, "m-")
	}
	p.raw("</p>\n")
}
