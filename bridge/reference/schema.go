package reference

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// typeOf says in a word or two what a schema is of; prefix is of the anchors
// that it may link to.
func (p *page) typeOf(s *huma.Schema, prefix string) {
	switch {
	case s == nil:
		p.text("any")
	case s.Ref != "":
		name := s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
		p.link("#"+prefix+name, name)
	case s.Type == huma.TypeArray:
		p.text("list of ")
		p.typeOf(s.Items, prefix)
	case s.Type == huma.TypeObject:
		p.object(s, prefix)
	case s.Type == "":
		p.text("any")
	default:
		p.text(s.Type)
		if s.Format != "" {
			p.text(" (" + s.Format + ")")
		}
		if s.ContentEncoding != "" {
			p.text(" in " + s.ContentEncoding)
		}
		if s.Nullable {
			p.text(" or null")
		}
	}
}

// object is one whose names are not known, or one that is written out apart.
func (p *page) object(s *huma.Schema, prefix string) {
	if of, ok := s.AdditionalProperties.(*huma.Schema); ok {
		p.text("object of ")
		p.typeOf(of, prefix)
		return
	}
	p.text("object")
}

// properties is the table of an object's, or the type of what is none.
func (p *page) properties(s *huma.Schema, prefix string) {
	if len(s.Properties) == 0 {
		p.raw("<p>")
		p.typeOf(s, prefix)
		p.limits(s, false)
		p.raw("</p>\n")
		return
	}
	p.raw("<table>\n")
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		property := s.Properties[name]
		p.raw("<tr><td>")
		p.tag("code", name)
		p.raw("<td>")
		p.typeOf(property, prefix)
		p.raw("<td>")
		p.inline(property.Description)
		p.limits(property, slices.Contains(s.Required, name))
		p.raw("\n")
	}
	p.raw("</table>\n")
}

// limits says what a value must be beside its type.
func (p *page) limits(s *huma.Schema, required bool) {
	words := limitsOf(s)
	if required {
		words = append([]string{"required"}, words...)
	}
	if len(words) == 0 {
		return
	}
	p.raw(" <i>")
	p.text(strings.Join(words, "; "))
	p.raw("</i>")
}

func limitsOf(s *huma.Schema) (words []string) {
	if s == nil {
		return nil
	}
	say := func(name string, value any) { words = append(words, name+" "+plain(value)) }
	if s.Items != nil && len(s.Items.Enum) > 0 {
		s = &huma.Schema{Enum: s.Items.Enum, Default: s.Default, MinItems: s.MinItems, MaxItems: s.MaxItems}
	}
	if len(s.Enum) > 0 {
		all := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			all[i] = plain(v)
		}
		words = append(words, "one of "+strings.Join(all, ", "))
	}
	for _, bound := range []struct {
		name string
		n    *int
	}{{"at least", s.MinLength}, {"at most", s.MaxLength}} {
		if bound.n != nil {
			words = append(words, bound.name+" "+count(*bound.n, "character"))
		}
	}
	for _, bound := range []struct {
		name string
		n    *int
	}{{"at least", s.MinItems}, {"at most", s.MaxItems}} {
		if bound.n != nil {
			words = append(words, bound.name+" "+count(*bound.n, "item"))
		}
	}
	if s.Minimum != nil {
		say("from", *s.Minimum)
	}
	if s.Maximum != nil {
		say("to", *s.Maximum)
	}
	if s.Pattern != "" {
		words = append(words, "as "+s.Pattern)
	}
	if s.Default != nil {
		say("default", s.Default)
	}
	if len(s.Examples) > 0 {
		say("such as", s.Examples[0])
	}
	return words
}

// plain is a value as JSON, a text without its quotation marks.
func plain(v any) string {
	if s, ok := v.(string); ok {
		if s == "" {
			return "nothing"
		}
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
