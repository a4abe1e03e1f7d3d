package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/auth"
	"m2mbridge/bridge/session"
)

// Sessions are what is kept of apps' MQTT sessions. *session.Keeper is one.
type Sessions interface {
	List(ctx context.Context, q session.Query) (page []session.Session, next string, err error)
	Get(ctx context.Context, app, clientID string) (session.Session, error)
	Remove(ctx context.Context, app, clientID string) error
}

// Session is an app's MQTT session as the API shows it.
type Session struct {
	App           string                `json:"app" example:"dashboard"`
	ClientID      string                `json:"clientId" example:"dashboard-1"`
	Connected     bool                  `json:"connected"`
	Node          string                `json:"node" doc:"Node that has it, or had it last"`
	Remote        string                `json:"remote" doc:"Address of the client" example:"192.0.2.7:50123"`
	Version       string                `json:"version" enum:"3.1.1,5" doc:"Version of MQTT"`
	CreatedAt     time.Time             `json:"createdAt"`
	SeenAt        time.Time             `json:"seenAt" doc:"When its node last said that it has it"`
	Expiry        string                `json:"expiry" example:"168h0m0s" doc:"How long it is kept without a connection"`
	ExpiresAt     time.Time             `json:"expiresAt" doc:"When it is forgotten, if it is not seen again"`
	Subscriptions []SessionSubscription `json:"subscriptions" nullable:"false"`
	InFlight      int                   `json:"inFlight" doc:"Messages sent and not acknowledged"`
	Lag           Lag                   `json:"lag" doc:"Entries of all its streams together, and the age of the oldest"`
	Streams       []SessionStream       `json:"streams,omitempty" nullable:"false" doc:"Not in lists"`
}

// SessionSubscription is one topic filter of a session.
type SessionSubscription struct {
	Filter string `json:"filter" example:"uplinks/#"`
	QoS    int    `json:"qos"`
	ID     int    `json:"id,omitempty" doc:"Subscription identifier"`
}

// Lag is how far a session is behind.
type Lag struct {
	Entries *int64  `json:"entries" doc:"Entries it has not read; null: not known"`
	Seconds float64 `json:"seconds" doc:"Age of the oldest entry it has not read; 0: it has read all"`
}

// SessionStream is how far a session has read one stream.
type SessionStream struct {
	Stream    string `json:"stream" enum:"uplinks,rejects,events"`
	Partition int    `json:"partition"`
	Cursor    string `json:"cursor" doc:"Id of the last entry it has read" example:"1700000000000-0"`
	Lag
}

func showSession(s *session.Session) Session {
	out := Session{
		App: s.App, ClientID: s.ClientID, Connected: s.Connected, Node: s.Node, Remote: s.Remote,
		Version: versionName(s.Version), CreatedAt: s.CreatedAt, SeenAt: s.SeenAt, Expiry: s.Expiry.String(), ExpiresAt: s.ExpiresAt,
		Subscriptions: []SessionSubscription{}, InFlight: s.InFlight, Lag: showLag(s.Lag),
	}
	for _, sub := range s.Subscriptions {
		out.Subscriptions = append(out.Subscriptions, SessionSubscription{sub.Filter, int(sub.QoS), sub.ID})
	}
	for _, l := range s.Streams {
		out.Streams = append(out.Streams, SessionStream{l.Kind, l.Partition, l.Cursor, showLag(l.Lag)})
	}
	return out
}

// versionName spells MQTT's protocol level (MQTT 5 §3.1.2.2).
func versionName(level byte) string {
	if level == 5 {
		return "5"
	}
	return "3.1.1"
}

func showLag(l session.Lag) Lag {
	out := Lag{Seconds: l.Age.Round(time.Millisecond).Seconds()}
	if l.Entries != session.Unknown {
		out.Entries = &l.Entries
	}
	return out
}

func (a *API) addSessions() {
	admin := []auth.Scope{auth.ScopeAdmin}
	tags := []string{"sessions"}
	register(a, huma.Operation{
		OperationID: "list-sessions", Method: http.MethodGet, Path: "/v1/sessions", Summary: "List MQTT sessions of apps",
		Description: "In the order of their apps' names, then their client ids.",
		Tags:        tags,
	}, admin, a.listSessions)
	register(a, huma.Operation{
		OperationID: "get-session", Method: http.MethodGet, Path: "/v1/sessions/{app}/{clientId}", Summary: "Get a session",
		Tags: tags, Errors: []int{http.StatusNotFound},
	}, admin, a.getSession)
	register(a, huma.Operation{
		OperationID: "delete-session", Method: http.MethodDelete, Path: "/v1/sessions/{app}/{clientId}", Summary: "Remove a session",
		Description: "Its subscriptions and cursors are forgotten; its connection, if it has one, is cut within about two seconds.",
		Tags:        tags, DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusNotFound},
	}, admin, a.deleteSession)
}

// wide lets a client id be anything: ServeMux takes one that is only an escaped
// slash for the end of a path, unless its wildcard is for all that follows. That
// would have it take no client id at all too, and lead there from the path above.
type wide struct {
	*http.ServeMux
	nothing func(http.ResponseWriter)
}

// HandleFunc is part of humago.Mux.
func (w wide) HandleFunc(pattern string, handle func(http.ResponseWriter, *http.Request)) {
	above, found := strings.CutSuffix(pattern, "/{clientId}")
	if !found {
		w.ServeMux.HandleFunc(pattern, handle)
		return
	}
	w.ServeMux.HandleFunc(above, func(rw http.ResponseWriter, _ *http.Request) { w.nothing(rw) })
	w.ServeMux.HandleFunc(above+"/{clientId...}", func(rw http.ResponseWriter, r *http.Request) {
		if r.PathValue("clientId") == "" {
			w.nothing(rw)
			return
		}
		handle(rw, r)
	})
}

type listSessionsInput struct {
	Cursor string `query:"cursor" doc:"Cursor of the page before" maxLength:"70000"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"Items in a page, at most"`
	App    string `query:"app" doc:"Only this app's" maxLength:"100"`
}

type sessionPage struct{ Body Page[Session] }

func (a *API) listSessions(ctx context.Context, in *listSessionsInput) (*sessionPage, error) {
	page, next, err := a.sessions.List(ctx, session.Query{App: in.App, After: in.Cursor, Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	out := &sessionPage{Page[Session]{Items: []Session{}, Cursor: next}}
	for i := range page {
		item := showSession(&page[i])
		item.Streams = nil
		out.Body.Items = append(out.Body.Items, item)
	}
	return out, nil
}

type sessionParam struct {
	App      string `path:"app" doc:"Name of the app" example:"dashboard" maxLength:"100"`
	ClientID string `path:"clientId" doc:"Client id, percent-encoded" example:"dashboard-1" maxLength:"65535"`
}

type oneSession struct{ Body Session }

func (a *API) getSession(ctx context.Context, in *sessionParam) (*oneSession, error) {
	s, err := a.sessions.Get(ctx, in.App, in.ClientID)
	if err != nil {
		return nil, err
	}
	return &oneSession{showSession(&s)}, nil
}

func (a *API) deleteSession(ctx context.Context, in *sessionParam) (*struct{}, error) {
	return nil, a.sessions.Remove(ctx, in.App, in.ClientID)
}
