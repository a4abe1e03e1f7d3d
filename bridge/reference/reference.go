// Package reference writes the reference of the bridge, a page for people, from
// its OpenAPI and AsyncAPI documents. The page has no script, and nothing in it
// is loaded from anywhere. It knows what documents say, and nothing of the bridge.
//
// It is in place of a library: Swagger UI and html/template find methods by name,
// which keeps the linker from dropping any. The program was 8.6 MB larger with
// github.com/swaggest/swgui, and its page needs scripts that set styles.
package reference

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/bridge/asyncapi"
)

// Policy is the Content-Security-Policy under which the page is whole: its one
// style sheet, and nothing else.
func Policy() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// Write writes the page.
func Write(w io.Writer, api *huma.OpenAPI, messages *asyncapi.Document) error {
	p := &page{Writer: bufio.NewWriter(w)}
	p.raw("<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>")
	p.text(api.Info.Title + " " + api.Info.Version)
	p.raw("</title><style>" + style + "</style></head><body>\n")
	groups := groupsOf(api)
	p.contents(groups, messages)
	p.raw("<main>\n")
	p.head(api)
	for _, g := range groups {
		p.group(g)
	}
	p.messages(messages)
	p.schemas("Schemas of the API", "s-", api.Components.Schemas)
	p.schemas("Schemas of messages", "m-", messages.Components.Schemas)
	p.raw("</main></body></html>\n")
	return p.Flush()
}

// page is what is written. Its buffer keeps the first error, which Flush gives.
type page struct{ *bufio.Writer }

func (p *page) raw(s string)  { _, _ = p.WriteString(s) }
func (p *page) text(s string) { p.raw(html.EscapeString(s)) }

// tag writes an element with text in it.
func (p *page) tag(name, text string) {
	p.raw("<" + name + ">")
	p.text(text)
	p.raw("</" + name + ">")
}

// prose writes the little of CommonMark that descriptions use: paragraphs and
// code in backticks.
func (p *page) prose(s string) {
	for paragraph := range strings.SplitSeq(s, "\n\n") {
		if paragraph == "" {
			continue
		}
		p.raw("<p>")
		p.inline(paragraph)
		p.raw("</p>\n")
	}
}

func (p *page) inline(s string) {
	for i, part := range strings.Split(s, "`") {
		if i%2 == 1 {
			p.tag("code", part)
		} else {
			p.text(part)
		}
	}
}

// anchored writes a heading that can be linked to.
func (p *page) anchored(level, id, text string) {
	p.raw("<" + level + " id=\"" + html.EscapeString(id) + "\">")
	p.inline(text)
	p.raw("</" + level + ">\n")
}

func (p *page) link(to, text string) {
	p.raw("<a href=\"" + html.EscapeString(to) + "\">")
	p.text(text)
	p.raw("</a>")
}

func (p *page) contents(groups []group, messages *asyncapi.Document) {
	p.raw("<nav><ul>\n")
	for _, g := range groups {
		p.raw("<li>")
		p.link("#"+g.name, g.name)
		p.raw("<ul>\n")
		for _, op := range g.ops {
			p.raw("<li>")
			p.link("#"+op.OperationID, op.Method+" "+op.Path)
			p.raw("\n")
		}
		p.raw("</ul>\n")
	}
	p.raw("<li><a href=\"#messages\">topics and streams</a><ul>\n")
	for _, name := range slices.Sorted(maps.Keys(messages.Channels)) {
		p.raw("<li>")
		p.link("#c-"+name, messages.Channels[name].Address)
		p.raw("\n")
	}
	p.raw("</ul>\n</ul></nav>\n")
}

func (p *page) head(api *huma.OpenAPI) {
	p.raw("<h1>")
	p.text(api.Info.Title + " ")
	p.tag("small", api.Info.Version)
	p.raw("</h1>\n")
	p.prose(api.Info.Description)
	p.raw("<p>For tools: <a href=\"/openapi.json\">openapi.json</a>, <a href=\"/asyncapi.json\">asyncapi.json</a>.</p>\n")
}

// schemas writes what other parts of the page refer to.
func (p *page) schemas(title, prefix string, registry huma.Registry) {
	p.anchored("h2", prefix, title)
	all := registry.Map()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		p.anchored("h3", prefix+name, name)
		p.prose(all[name].Description)
		p.properties(all[name], prefix)
	}
}

// count is a number and its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
