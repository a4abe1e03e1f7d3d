package reference_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/bridge/asyncapi"
	"m2mbridge/bridge/reference"
)

func write(w io.Writer, text string) error {
	api, messages := documents(text)
	return reference.Write(w, api, messages)
}

func documents(text string) (*huma.OpenAPI, *asyncapi.Document) {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	api := &huma.OpenAPI{Info: &huma.Info{Title: text, Version: "1", Description: text}, Components: &huma.Components{Schemas: registry}}
	api.AddOperation(&huma.Operation{
		OperationID: text, Method: "GET", Path: "/x", Summary: text, Tags: []string{text}, Description: "First `" + text + "`.\n\nSecond.",
		Parameters: []*huma.Param{{Name: text, In: "query", Description: text, Schema: &huma.Schema{Type: "string", Enum: []any{text}, Pattern: text}}},
		Responses:  map[string]*huma.Response{"200": {Description: text, Content: map[string]*huma.MediaType{text: {Schema: &huma.Schema{Type: "string"}}}}},
	})
	messages := &asyncapi.Document{
		Info: asyncapi.Info{Description: text}, Channels: map[string]asyncapi.Channel{}, Operations: map[string]asyncapi.Operation{},
		Components: asyncapi.Components{
			Schemas:  huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
			Messages: map[string]asyncapi.Message{"m": {ContentType: text, Payload: &huma.Schema{Type: "array", Items: &huma.Schema{Type: "object"}}}},
		},
	}
	messages.Add("c", asyncapi.Channel{
		Address: text, Title: text, Parameters: map[string]asyncapi.Parameter{text: {Description: text, Enum: []string{text}}},
		Messages: map[string]asyncapi.Ref{"m": asyncapi.ToMessage("m")},
	}, asyncapi.Operation{Action: asyncapi.Send, Scopes: []string{text}})
	return api, messages
}

// No text of a document can become anything but text.
func TestTextStaysText(t *testing.T) {
	const hostile = `<b onclick="x">'&`
	var b strings.Builder
	if err := write(&b, hostile); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	if strings.Contains(page, "<b ") || strings.Contains(page, `onclick="`) || strings.Count(page, "&lt;b onclick=&#34;x&#34;&gt;&#39;&amp;") < 15 {
		t.Error(page)
	}
}

func TestPage(t *testing.T) {
	var b strings.Builder
	if err := write(&b, "word"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`<h3 id="word"><code>GET /x</code> word</h3>`, "<p>First <code>word</code>.</p>\n<p>Second.</p>", "one of word; as word",
		"Needs the scope <code>word</code>.", "Payload: list of object, <code>word</code>", `<a href="#word">GET /x</a>`,
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in %s", want, b.String())
		}
	}
}

var errGone = errors.New("gone")

type gone struct{}

func (gone) Write([]byte) (int, error) { return 0, errGone }

func TestWriteTells(t *testing.T) {
	if err := write(gone{}, "word"); !errors.Is(err, errGone) {
		t.Errorf("got %v", err)
	}
}
