package api

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// contract is the served OpenAPI document, to hold answers against. It notes
// what it has seen: what was never tried holds nothing.
type contract struct {
	t       *testing.T
	api     *testAPI
	doc     document
	schemas *jsonschema.Compiler
	seen    map[string]map[int]bool // statuses by operation id
	types   map[string]bool         // "<operation id> <media type>" of answers that are no problems
	slow    string                  // key of an app whose limit is used up
	limited bool                    // the answer is that app's
}

type document struct {
	Paths      map[string]map[string]*operation
	Components struct{ Schemas map[string]map[string]any }
}

type operation struct {
	method, path string
	OperationID  string
	Security     []map[string][]string
	Parameters   []parameter
	RequestBody  *struct {
		Required bool
		Content  map[string]any
	}
	Responses map[string]struct {
		Headers map[string]any
		Content map[string]any
	}
}

type parameter struct {
	Name, In string
	Required bool
	Schema   struct {
		Type, Format string
		Enum         []any
		Maximum      *float64
		MaxLength    *int
		MaxItems     *int
		Items        struct{ Enum []any }
	}
}

func newContract(a *testAPI) *contract {
	a.t.Helper()
	c := &contract{t: a.t, api: a, schemas: jsonschema.NewCompiler(), seen: map[string]map[int]bool{}, types: map[string]bool{}}
	got := a.want(http.StatusOK, "", "GET", "/openapi.json", "", &c.doc)
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(got.body))
	if err != nil {
		a.t.Fatal(err)
	}
	c.schemas.DefaultDraft(jsonschema.Draft2020)
	c.schemas.AssertFormat()
	c.schemas.AssertContent()
	if err := c.schemas.AddResource("urn:openapi", whole); err != nil {
		a.t.Fatal(err)
	}
	for path, item := range c.doc.Paths {
		for method, op := range item {
			op.method, op.path = strings.ToUpper(method), path
			c.seen[op.OperationID] = map[int]bool{}
		}
	}
	c.closed()
	return c
}

// closed makes sure that a name which the document does not have is a failure.
func (c *contract) closed() {
	for name, schema := range c.doc.Components.Schemas {
		if _, said := schema["additionalProperties"]; schema["type"] == "object" && !said {
			c.t.Errorf("schema %s says nothing of names that are not in it", name)
		}
	}
}

// operations are all, in the order of their ids.
func (c *contract) operations() []*operation {
	var all []*operation
	for _, item := range c.doc.Paths {
		all = slices.AppendSeq(all, maps.Values(item))
	}
	slices.SortFunc(all, func(a, b *operation) int { return strings.Compare(a.OperationID, b.OperationID) })
	return all
}

func (c *contract) operation(id string) *operation {
	c.t.Helper()
	for _, op := range c.operations() {
		if op.OperationID == id {
			return op
		}
	}
	c.t.Fatalf("there is no operation %s", id)
	return nil
}

// sample is a path of the operation, for things that there are not.
func (op *operation) sample() string {
	id := imei2
	if op.ofDownlinks() {
		id = noDownlink
	}
	path := strings.NewReplacer("{id}", id, "{name}", "nobody", "{app}", "nobody", "{clientId}", "none", "{which}", "old").Replace(op.path)
	for _, p := range op.Parameters {
		if p.In == "query" && p.Required {
			path += "?" + p.Name + "=" + imei2 // there is but one
		}
	}
	return path
}

// with is a sample with something else, or more, in its query.
func with(path, query string) string {
	bare, given, found := strings.Cut(path, "?")
	name, _, _ := strings.Cut(query, "=")
	if !found || strings.HasPrefix(given, name+"=") {
		return bare + "?" + query
	}
	return path + "&" + query
}

// media is the type that the operation's body is sent as; JSON where it may be.
func (op *operation) media() string {
	if op.RequestBody == nil || op.RequestBody.Content["application/json"] != nil {
		return "application/json"
	}
	return slices.Min(slices.Collect(maps.Keys(op.RequestBody.Content)))
}

// isFile tells a body that is a file of any size from one that is JSON.
func (op *operation) isFile() bool { return op.media() == typeNDJSON }

// everywhere are headers that every answer may have, and that no document lists.
var everywhere = []string{
	"Content-Type", "Content-Length", "Date", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "Content-Security-Policy",
	"Cache-Control", "Access-Control-Allow-Origin", "Connection", "Vary", "X-Accel-Buffering",
}

// ofLimits are headers for apps that have a limit, and for no others.
var ofLimits = []string{"Ratelimit", "Ratelimit-Policy"}

// try makes a request and holds its answer against the document.
func (c *contract) try(op *operation, status int, key, path, body string, header ...string) answer {
	c.t.Helper()
	got := c.api.call(key, op.method, path, body, append([]string{"X-Request-Id", "contract-" + op.OperationID}, header...)...)
	if got.status != status {
		c.t.Errorf("%s %s: %d %s, want %d", op.method, path, got.status, got.body, status)
	}
	c.limited = key == c.slow && key != ""
	c.hold(op, got)
	c.limited = false
	return got
}

func (c *contract) hold(op *operation, got answer) {
	c.t.Helper()
	where := fmt.Sprintf("%s answers %d", op.OperationID, got.status)
	c.seen[op.OperationID][got.status] = true
	said, ok := op.Responses[strconv.Itoa(got.status)]
	if !ok {
		c.t.Errorf("%s, which is not documented: %s", where, got.body)
		return
	}
	if id := got.header.Get("X-Request-Id"); id != "contract-"+op.OperationID {
		c.t.Errorf("%s with request id %q", where, id)
	}
	for name := range said.Headers {
		wanted := c.limited || !slices.Contains(ofLimits, http.CanonicalHeaderKey(name))
		if there := got.header.Get(name) != ""; there != wanted {
			c.t.Errorf("%s with %s: %v", where, name, there)
		}
	}
	documented := slices.Clone(everywhere)
	for name := range said.Headers {
		documented = append(documented, http.CanonicalHeaderKey(name))
	}
	for name := range got.header {
		if !slices.Contains(documented, name) {
			c.t.Errorf("%s with %s, which is not documented", where, name)
		}
	}
	c.holdBody(op, got, said.Content)
}

func (c *contract) holdBody(op *operation, got answer, said map[string]any) {
	c.t.Helper()
	where := fmt.Sprintf("%s answers %d", op.OperationID, got.status)
	if len(said) == 0 {
		if len(got.body) > 0 {
			c.t.Errorf("%s with a body: %s", where, got.body)
		}
		return
	}
	mediaType, _, err := mime.ParseMediaType(got.header.Get("Content-Type"))
	known := func(name string) bool { bare, _, _ := mime.ParseMediaType(name); return bare == mediaType }
	i := slices.IndexFunc(slices.Collect(maps.Keys(said)), known)
	if err != nil || i < 0 {
		c.t.Errorf("%s as %q, which is not documented", where, got.header.Get("Content-Type"))
		return
	}
	c.types[op.OperationID+" "+mediaType] = true
	if strings.HasSuffix(mediaType, "json") && mediaType != typeNDJSON {
		at := strings.Join([]string{"paths", op.path, strings.ToLower(op.method), "responses", strconv.Itoa(got.status), "content", mediaType, "schema"}, "\x00")
		c.fits(where, at, got.body)
	}
}

// fits holds JSON against the schema at a place of the document.
func (c *contract) fits(where, at string, body []byte) {
	c.t.Helper()
	var pointer strings.Builder
	for part := range strings.SplitSeq(at, "\x00") {
		pointer.WriteString("/" + url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(part)))
	}
	schema, err := c.schemas.Compile("urn:openapi#" + pointer.String())
	if err != nil {
		c.t.Errorf("%s: the schema is no schema: %v", where, err)
		return
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = schema.Validate(value)
	}
	if err != nil {
		c.t.Errorf("%s with %s: %v", where, body, err)
	}
}

// untested are statuses that a request of good and bad input cannot bring
// about: 500 is a fault of the bridge, and 408 takes seconds (TestSlowBody).
var untested = []int{http.StatusInternalServerError, http.StatusRequestTimeout}

// complete fails for what was documented and never seen.
func (c *contract) complete() {
	for _, op := range c.operations() {
		for text, said := range op.Responses {
			for media := range said.Content {
				bare, _, err := mime.ParseMediaType(media)
				if err != nil || !c.types[op.OperationID+" "+bare] {
					c.t.Errorf("%s never answered in %s, which it documents", op.OperationID, media)
				}
			}
			status, err := strconv.Atoi(text)
			if err != nil {
				c.t.Errorf("%s documents %q", op.OperationID, text)
			} else if !c.seen[op.OperationID][status] && !slices.Contains(untested, status) {
				c.t.Errorf("%s never answered %d, which it documents", op.OperationID, status)
			}
		}
	}
}

// badQueries are queries that the document forbids.
func (op *operation) badQueries() (list []string) {
	list = append(list, "nothing-of-the-sort=1")
	for _, p := range op.Parameters {
		if p.In != "query" {
			continue
		}
		switch {
		case p.Schema.Type == "boolean":
			list = append(list, p.Name+"=x")
		case len(p.Schema.Items.Enum) > 0:
			list = append(list, p.Name+"=nothing-of-the-sort")
		case p.Schema.Type == "array" && p.Schema.MaxItems != nil:
			list = append(list, strings.Repeat(p.Name+"=x&", *p.Schema.MaxItems)+p.Name+"=x")
		case p.Schema.Type == "integer":
			list = append(list, p.Name+"=x", p.Name+"=0")
			if p.Schema.Maximum != nil {
				list = append(list, fmt.Sprintf("%s=%.0f", p.Name, *p.Schema.Maximum+1))
			}
		default:
			list = append(list, p.Name+"="+p.bad())
		}
	}
	return list
}

// bad is a text that the document forbids.
func (p *parameter) bad() string {
	switch {
	case p.Schema.Format != "" || len(p.Schema.Enum) > 0:
		return "nothing-of-the-sort"
	case p.Schema.MaxLength != nil:
		return strings.Repeat("x", *p.Schema.MaxLength+1)
	}
	return "" // it is bounded by nothing: what is asked is answered, and fails
}

// badPath is the sample with a bad value for a parameter.
func (op *operation) badPath(p *parameter) string {
	other := *op
	other.path = strings.Replace(op.path, "{"+p.Name+"}", p.bad(), 1)
	return other.sample()
}

// bad makes of every operation the requests that none may take. lacking may only
// write downlinks, reader only read them.
func (c *contract) bad(lacking, reader string) {
	for _, op := range c.operations() {
		if len(op.Security) == 0 {
			continue
		}
		path := op.sample()
		c.try(op, http.StatusUnauthorized, "", path, "")
		c.try(op, http.StatusUnauthorized, "no-such-key", path, "")
		if op.ofDownlinks() && op.method != "GET" {
			c.try(op, http.StatusForbidden, reader, path, "")
		} else {
			c.try(op, http.StatusForbidden, lacking, path, "")
		}
		for _, query := range op.badQueries() {
			c.try(op, http.StatusUnprocessableEntity, adminKey, with(path, query), "")
		}
		for _, p := range op.Parameters {
			switch p.In {
			case "path":
				c.try(op, http.StatusUnprocessableEntity, adminKey, op.badPath(&p), goodBodies[op.OperationID], "Content-Type", op.media())
			case "header":
				c.try(op, http.StatusUnprocessableEntity, adminKey, path, goodBodies[op.OperationID], "Content-Type", op.media(), p.Name, p.bad())
			}
		}
		if op.RequestBody != nil {
			c.badBodies(op)
		}
		c.try(op, http.StatusTooManyRequests, c.slow, path, "")
	}
}

// badBodies are bodies that the operation may not take.
func (c *contract) badBodies(op *operation) {
	path := op.sample()
	c.tryTyped(op, "text/plain")
	if op.isFile() {
		c.tryTyped(op, "application/json")
		c.tryBroken(op)
		c.try(op, http.StatusOK, adminKey, path, "", "Content-Type", op.media())
		return
	}
	empty := http.StatusNotFound // it is taken, for a thing that is not there
	if op.RequestBody.Required {
		empty = http.StatusBadRequest
	}
	c.try(op, empty, adminKey, path, "")
	c.try(op, http.StatusBadRequest, adminKey, path, "{")
	c.try(op, http.StatusUnprocessableEntity, adminKey, path, `{"nothing-of-the-sort":1}`)
	c.try(op, http.StatusUnprocessableEntity, adminKey, path, `[]`)
	c.try(op, http.StatusRequestEntityTooLarge, adminKey, path, `{"x":"`+strings.Repeat("x", maxBody)+`"}`)
}

// tryBroken sends a body that is not what HTTP says a body is.
func (c *contract) tryBroken(op *operation) {
	c.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.api.url, "http://"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nX-Request-Id: contract-%s\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
		op.method, op.sample(), op.OperationID, adminKey, op.media())
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		c.t.Errorf("%s of a broken body: %d %s, %v", op.OperationID, resp.StatusCode, body, err)
	}
	c.hold(op, answer{resp.StatusCode, resp.Header, body})
}

// tryTyped sends a body of a type that is not taken.
func (c *contract) tryTyped(op *operation, contentType string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), op.method, c.api.url+op.sample(), strings.NewReader("{}"))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer " + adminKey}, "Content-Type": {contentType}, "X-Request-Id": {"contract-" + op.OperationID}}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		c.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusUnsupportedMediaType {
		c.t.Errorf("%s takes %s: %d", op.OperationID, contentType, resp.StatusCode)
	}
	c.hold(op, answer{resp.StatusCode, resp.Header, body.Bytes()})
}

// event holds the data of a message of /v1/live against its schema.
func (c *contract) event(m message) {
	c.t.Helper()
	at := []string{"paths", livePath, "get", "responses", "200", "content", "text/event-stream", "schema", "properties", m.event}
	c.fits("live "+m.event, strings.Join(at, "\x00"), []byte(m.data))
}
