package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/bridge/reference"
)

// Media types of the documents.
const (
	typeOpenAPI  = "application/openapi+json"
	typeAsyncAPI = "application/asyncapi+json"
	typeHTML     = "text/html; charset=utf-8"
	typeMetrics  = "text/plain"
)

// ownBody marks, as BodyReadTimeout, an operation that reads its body itself, of
// whatever size it is.
const ownBody = -1

// errorsOf adds to an operation's own errors those that any of its sort may have.
func errorsOf(op *huma.Operation) []int {
	list := append(op.Errors, http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable)
	if op.BodyReadTimeout == ownBody {
		list = append(list, http.StatusBadRequest, http.StatusRequestTimeout, http.StatusUnsupportedMediaType)
	} else if op.Method == http.MethodPost || op.Method == http.MethodPut || op.Method == http.MethodPatch {
		list = append(list, http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// addDocuments serves the OpenAPI document, the AsyncAPI document and the page
// for people, all complete only now.
func (a *API) addDocuments() {
	a.addPlain("openapi", "/openapi.json", "The API as an OpenAPI 3.1 document", typeOpenAPI)
	a.addPlain("asyncapi", "/asyncapi.json", "Topics and streams as an AsyncAPI 3.0 document", typeAsyncAPI)
	a.addPlain("reference", "/docs", "Both documents as a page for people", typeHTML)
	finish(a.huma.OpenAPI())
	a.mux.HandleFunc("GET /openapi.json", public(typeOpenAPI, func() any { return a.huma.OpenAPI() }))
	a.mux.HandleFunc("GET /asyncapi.json", public(typeAsyncAPI, func() any { return messagesOf(a.version) }))
	a.mux.HandleFunc("GET /docs", a.docs)
	a.mux.HandleFunc("GET /{$}", a.front)
}

// front leads a browser, which somebody was given this address for, to the page.
func (a *API) front(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		a.nothing(w)
		return
	}
	http.Redirect(w, r, "/docs", http.StatusFound)
}

// public serves a document to anybody: tools are web pages. It is made anew for
// each of its few readers, one at a time, so that it takes no memory.
func public(contentType string, document func() any) http.HandlerFunc {
	var turn sync.Mutex
	return func(w http.ResponseWriter, _ *http.Request) {
		turn.Lock()
		body, err := json.Marshal(document())
		turn.Unlock()
		if err != nil {
			panic(err) // recovered: it is the same at every call, and tests make it
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Access-Control-Allow-Origin", "*")
		_, _ = w.Write(body) // a reader that is gone needs no answer
	}
}

// docs serves the page, made anew as the documents are.
func (a *API) docs(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", typeHTML)
	w.Header().Set("Content-Security-Policy", reference.Policy())
	// A reader that is gone needs no answer.
	_ = reference.Write(w, a.huma.OpenAPI(), messagesOf(a.version))
}

// addPlain documents an operation that anybody may call, and that is no huma's.
func (a *API) addPlain(id, path, summary, contentType string) *huma.Operation {
	op := &huma.Operation{
		OperationID: id, Method: http.MethodGet, Path: path, Summary: summary, Tags: []string{"bridge"},
		Security: []map[string][]string{},
		Responses: map[string]*huma.Response{"200": {
			Description: http.StatusText(http.StatusOK),
			Content:     map[string]*huma.MediaType{contentType: {Schema: &huma.Schema{}}},
		}},
	}
	a.huma.OpenAPI().AddOperation(op)
	return op
}

// addProbe serves what tells of the bridge's health.
func (a *API) addProbe(id, summary string, answer http.HandlerFunc) *huma.Operation {
	a.mux.HandleFunc("GET /"+id, answer)
	op := a.addPlain(id, "/"+id, summary, "application/json")
	op.Responses["200"].Content["application/json"].Schema = a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[health](), true, "")
	return op
}

// finish says of every answer what is true of all, or of all with its status.
func finish(doc *huma.OpenAPI) {
	text := &huma.Schema{Type: huma.TypeString}
	doc.Components.Headers = map[string]*huma.Param{
		"X-Request-Id":     {Description: "The request's id, as the bridge's log has it: the client's own where it is 1 to 64 of A-Z a-z 0-9 - _ . and else a new one", Schema: text},
		"Retry-After":      {Description: "Seconds to wait before another try", Schema: &huma.Schema{Type: huma.TypeInteger}},
		"WWW-Authenticate": {Description: "RFC 6750 §3", Schema: text},
		"RateLimit":        {Description: "For an app with a limit: r requests are left, and in t seconds it has all of them again", Schema: text},
		"RateLimit-Policy": {Description: "For an app with a limit: it may make q requests in w seconds", Schema: text},
	}
	public, keyed := headersOf(), headersOf("RateLimit", "RateLimit-Policy")
	eachOperation(doc, func(op *huma.Operation) {
		common := public
		if len(op.Security) > 0 {
			common = keyed
		}
		underConditions(op)
		for status, r := range op.Responses {
			all, ok := common[status]
			if !ok {
				all = common[""]
			}
			if len(r.Headers) == 0 {
				r.Headers = all // one map for all answers that have no more
			} else {
				maps.Copy(r.Headers, all)
			}
		}
	})
	// huma's examples point to the outside.
	if model := doc.Components.Schemas.Map()["ErrorModel"]; model != nil {
		model.Properties["type"].Examples, model.Properties["instance"].Examples = nil, nil
		model.Properties["errors"].Nullable = false
	}
}

// underConditions says of an operation's answers what huma does not know: 304 has
// the ETag and no body, and a PUT that creates answers as one that replaces, and
// where to find it.
func underConditions(op *huma.Operation) {
	ok := op.Responses["200"]
	if same := op.Responses["304"]; same != nil {
		same.Content, same.Headers = nil, map[string]*huma.Param{"ETag": ok.Headers["ETag"]}
	}
	if created := op.Responses["201"]; created != nil && ok != nil && op.Method == http.MethodPut {
		created.Content, created.Headers = ok.Content, maps.Clone(ok.Headers)
		delete(ok.Headers, "Location")
	}
}

// headersOf are the headers of all answers with a status; of any other: "".
// Those given are of all that were let through.
func headersOf(admitted ...string) map[string]map[string]*huma.Param {
	refer := func(names ...string) map[string]*huma.Param {
		all := map[string]*huma.Param{}
		for _, name := range append(names, "X-Request-Id") {
			all[name] = &huma.Param{Ref: "#/components/headers/" + name}
		}
		return all
	}
	return map[string]map[string]*huma.Param{
		"": refer(admitted...), "401": refer("WWW-Authenticate"),
		"429": refer(append([]string{"Retry-After"}, admitted...)...), "503": refer(append([]string{"Retry-After"}, admitted...)...),
	}
}

func eachOperation(doc *huma.OpenAPI, visit func(*huma.Operation)) {
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Patch, item.Delete} {
			if op != nil {
				visit(op)
			}
		}
	}
}
