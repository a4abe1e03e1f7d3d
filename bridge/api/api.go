// Package api is the HTTP API for apps and operators: devices, apps and their
// MQTT sessions, downlinks, the streams of uplinks, rejects and events in pages
// and live, health and metrics. It reads the streams, writes the registry, creates
// and cancels downlinks and removes sessions; it knows nothing of how uplinks come
// in, nor of how downlinks go out.
package api

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/stream"
	"m2mbridge/bridge/trace"
)

// Config is what an API needs.
type Config struct {
	Registry *auth.Registry
	Client   redis.UniversalClient // reads the streams
	Keys     auth.Keyspace

	Sessions  Sessions     // nil: there is nothing at /v1/sessions
	Trace     *trace.Trace // nil: no steps of devices' messages are kept
	Downlinks Downlinks    // nil: there is nothing at the paths of downlinks

	// SMSReady tells whether the SMS gateway would take a message now, and if not
	// why, in words. Nil: nobody knows.
	SMSReady func() (ready bool, why string)
	// SMSReceipts takes what the SMS gateway's operator posts to /v1/sms/receipts,
	// whose body it finds read already: the secret in it is its own to check. A
	// status of 2xx is that it is kept, 400, 403 and 404 are refusals, any other
	// asks for it once more; a text goes along with a refusal. Nil: there is no such path.
	SMSReceipts http.Handler
	// ReceiptRate is how often a second anybody without its secret is told so; 0: 20.
	ReceiptRate float64

	// What devices are shown with; nil: without it.
	Activities Activities
	Presences  Presences
	Values     Values

	// AppRate is the requests a second that each app may make, where its own
	// limits say nothing else. 0: no limit.
	AppRate float64

	// CanStore asks whether uplinks can be stored now; it is what /readyz says.
	CanStore func(context.Context) error
	// Changed gives a channel that is closed when any stream has grown since
	// the call. Nil: live streams look every half second.
	Changed func() <-chan struct{}
	// Follow has the entries of these kinds kept in memory for Recent, until stop
	// is called. Nil: nothing is in memory, and live streams read Redis.
	Follow func(kinds ...stream.Kind) (stop func())
	Recent RecentFunc

	// PastSecrets are those that a device had before, for explain. Nil: none are known.
	PastSecrets func(context.Context, auth.DeviceID) ([]string, error)

	Metrics *prometheus.Registry // nil: one of its own
	Log     *slog.Logger         // nil: nothing is logged
	Version string
	MaxLive int // clients of /v1/live at once, of which one app may have a quarter, but at least 4; 0: 64
}

// API answers requests; make one with New.
type API struct {
	registry *auth.Registry
	sessions Sessions

	downlinks Downlinks
	smsReady  func() (ready bool, why string)

	activities Activities
	presences  Presences
	values     Values

	trace    *trace.Trace
	reader   *stream.Reader
	keys     auth.Keyspace
	canStore func(context.Context) error
	changed  func() <-chan struct{}
	follow   func(kinds ...stream.Kind) (stop func())
	recent   RecentFunc
	log      *slog.Logger
	metrics  *metrics
	limits   *limits
	lives    *shares       // a place for each client of /v1/live
	imports  *shares       // a place for each import
	pages    chan struct{} // a place for each page of a stream being read
	explains chan struct{} // a place for each message being explained
	waiting  *shares       // a place for each message to be explained

	pastSecrets func(context.Context, auth.DeviceID) ([]string, error)

	mux     *http.ServeMux
	huma    huma.API
	version string
}

const (
	maxBody     = 256 << 10 // no request needs more
	opLimit     = 10 * time.Second
	liveDefault = 64
	pagesAtOnce = 4 // pages of streams being read: one can be large
)

// New makes an API with all its operations. It asks nothing of Redis.
func New(c Config) (*API, error) {
	a := &API{
		registry: c.Registry, sessions: c.Sessions, downlinks: c.Downlinks, trace: c.Trace, reader: stream.NewReader(c.Client, c.Keys), keys: c.Keys,
		canStore: c.CanStore, changed: c.Changed, follow: c.Follow, recent: c.Recent, log: c.Log,
		smsReady: c.SMSReady, activities: c.Activities, presences: c.Presences, values: c.Values,
		mux: http.NewServeMux(), version: c.Version,
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if c.MaxLive == 0 {
		c.MaxLive = liveDefault
	}
	a.lives = newShares("clients of /v1/live", c.MaxLive, quarter(c.MaxLive))
	a.pages = make(chan struct{}, pagesAtOnce)
	a.imports = newShares("imports", importsAtOnce, 1)
	a.waiting = newShares("messages to be explained", liveDefault, 2) // one under way, and one that waits
	a.explains, a.pastSecrets = make(chan struct{}, 1), c.PastSecrets
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	var err error
	if a.metrics, err = newMetrics(c.Metrics, c.Client); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	a.limits = newLimits(c.AppRate, a.metrics.limited)
	a.huma = humago.New(wide{a.mux, a.nothing}, description(c.Version))
	a.addDevices()
	a.addApps()
	if a.sessions != nil {
		a.addSessions()
	}
	if a.downlinks != nil {
		a.addDownlinks()
	}
	if c.SMSReceipts != nil {
		a.addReceipts(c.SMSReceipts, cmp.Or(c.ReceiptRate, receiptRate))
	}
	a.addStreams()
	a.addLive()
	a.addTrace()
	a.addExplain()
	a.addHealth(c.Metrics)
	a.addDocuments()
	return a, nil
}

// Handler answers requests that a server other than Serve's takes.
func (a *API) Handler() http.Handler { return http.HandlerFunc(a.serveHTTP) }

// description is the head of the OpenAPI document. Nothing of it, nor of the
// answers, refers to anything outside of the bridge.
func description(version string) huma.Config {
	c := huma.DefaultConfig("m2mbridge", version)
	c.Info.Description = "Devices, apps, sessions and streams of an m2mbridge. A request under `/v1` carries an app's key as bearer token.\n\n" +
		"A refusal is a problem document (RFC 9457). Where there is nothing at a path the answer is 404, where there is another method it is 405 with `Allow`. " +
		"Every answer has `X-Request-Id`; `HEAD` may be asked wherever `GET` may."
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", ""
	c.CreateHooks = nil // they would add a $schema to every answer
	c.RejectUnknownQueryParameters = true
	c.Transformers = []huma.Transformer{plain}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		securityScheme: {Type: "http", Scheme: "bearer", Description: "An app's key, or the admin key"},
	}
	return c
}

func (a *API) addHealth(registry *prometheus.Registry) {
	a.addProbe("livez", "The process answers", a.livez)
	ready := a.addProbe("readyz", "Whether an uplink that came now could be stored", a.readyz)
	ready.Responses["503"] = &huma.Response{Description: http.StatusText(http.StatusServiceUnavailable), Content: ready.Responses["200"].Content}
	a.addPlain("metrics", "/metrics", "Metrics in the format of Prometheus", typeMetrics)
	a.mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
}

// register adds an operation that apps with one of the scopes may call.
func register[I, O any](a *API, op huma.Operation, scopes []auth.Scope, answer func(context.Context, *I) (*O, error)) {
	op.MaxBodyBytes = maxBody
	op.Security = []map[string][]string{{securityScheme: {}}}
	op.Middlewares = huma.Middlewares{a.require(scopes...)}
	op.Errors = errorsOf(&op)
	op.Description = needs(op.Description, scopes)
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		ctx, cancel := context.WithTimeout(ctx, opLimit)
		defer cancel()
		out, err := answer(ctx, in)
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		return out, nil
	})
}

// needs says in an operation's description which scope it needs.
func needs(description string, scopes []auth.Scope) string {
	text := "Needs the scope "
	for i, s := range scopes {
		if i > 0 {
			text += " or "
		}
		text += "`" + string(s) + "`"
	}
	if description == "" {
		return text + "."
	}
	return description + "\n\n" + text + "."
}
