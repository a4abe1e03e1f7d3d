package reference

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// group is the operations of one tag.
type group struct {
	name string
	ops  []*huma.Operation
}

// groupsOf are the operations by their first tag, in the order of their paths.
func groupsOf(api *huma.OpenAPI) []group {
	byTag := map[string][]*huma.Operation{}
	for _, item := range api.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op != nil && len(op.Tags) > 0 {
				byTag[op.Tags[0]] = append(byTag[op.Tags[0]], op)
			}
		}
	}
	var groups []group
	for _, tag := range slices.Sorted(maps.Keys(byTag)) {
		slices.SortFunc(byTag[tag], func(a, b *huma.Operation) int {
			return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
		})
		groups = append(groups, group{tag, byTag[tag]})
	}
	return groups
}

func (p *page) group(g group) {
	p.anchored("h2", g.name, g.name)
	for _, op := range g.ops {
		p.operation(op)
	}
}

func (p *page) operation(op *huma.Operation) {
	p.anchored("h3", op.OperationID, "`"+op.Method+" "+op.Path+"` "+op.Summary)
	p.prose(op.Description)
	if len(op.Security) == 0 {
		p.prose("Needs no key.")
	}
	p.parameters(op.Parameters)
	if op.RequestBody != nil {
		p.raw("<h4>Body</h4>\n")
		p.content(op.RequestBody.Content)
	}
	p.raw("<h4>Answers</h4>\n<table>\n")
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		p.answer(status, op.Responses[status])
	}
	p.raw("</table>\n")
}

func (p *page) parameters(list []*huma.Param) {
	if len(list) == 0 {
		return
	}
	p.raw("<h4>Parameters</h4>\n<table>\n")
	for _, param := range list {
		p.raw("<tr><td>")
		p.tag("code", param.Name)
		p.raw("<td>")
		p.text(param.In)
		p.raw("<td>")
		p.typeOf(param.Schema, "s-")
		p.raw("<td>")
		p.inline(param.Description)
		p.limits(param.Schema, param.Required)
		p.raw("\n")
	}
	p.raw("</table>\n")
}

// answer is a row: the status, what it holds, and its headers.
func (p *page) answer(status string, r *huma.Response) {
	p.raw("<tr><td>")
	p.tag("code", status)
	p.raw("<td>")
	p.text(r.Description)
	p.raw("<td>")
	p.content(r.Content)
	p.raw("<td>")
	p.text(strings.Join(slices.Sorted(maps.Keys(r.Headers)), ", "))
	p.raw("\n")
}

func (p *page) content(content map[string]*huma.MediaType) {
	for _, contentType := range slices.Sorted(maps.Keys(content)) {
		p.tag("code", contentType)
		p.raw(" ")
		if schema := content[contentType].Schema; schema != nil {
			p.typeOf(schema, "s-")
			if len(schema.Properties) > 0 {
				p.properties(schema, "s-")
			}
		}
		p.raw("\n")
	}
}
