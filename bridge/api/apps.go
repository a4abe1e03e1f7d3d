package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/auth"
)

// App is an app as the API shows it.
type App struct {
	Name       string       `json:"name" example:"dashboard"`
	Scopes     []auth.Scope `json:"scopes" nullable:"false"`
	Devices    []string     `json:"devices,omitempty" nullable:"false" doc:"Ids or label=value; none: every device"`
	Limits     Limits       `json:"limits,omitzero" doc:"What it may ask of each node; missing: the node's defaults"`
	Key        string       `json:"key,omitempty" doc:"Only in the answer that made it: it is never shown again"`
	CreatedAt  time.Time    `json:"createdAt"`
	ModifiedAt time.Time    `json:"modifiedAt"`

	OldKeyEndsAt time.Time `json:"oldKeyEndsAt,omitzero" doc:"Until then the key from before a rotation is valid too"`
}

// AppInput is an app to be created.
type AppInput struct {
	Name    string   `json:"name" example:"dashboard" minLength:"1" maxLength:"100" doc:"Its name, which is its user name on MQTT too"`
	Scopes  []string `json:"scopes" nullable:"false" minItems:"1" enum:"uplink.read,downlink.read,downlink.write,reject.read,device.read,device.write,admin" doc:"What it may do"`
	Devices []string `json:"devices,omitempty" nullable:"false" maxItems:"10000" example:"[\"IMEI:356726104408422\",\"site=depot\"]" doc:"Ids or label=value; none: every device"`
	Limits  Limits   `json:"limits,omitzero" doc:"What it may ask of each node"`
}

// Limits bound what an app may ask of a node; what is missing or 0 is the node's default.
type Limits struct {
	Requests  float64 `json:"requests,omitempty" minimum:"0" maximum:"1000000" doc:"Requests of the API a second, at least 0.01; 0: the node's default" example:"50"`
	Publishes float64 `json:"publishes,omitempty" minimum:"0" maximum:"1000000" doc:"Publishes over MQTT a second, at least 0.01; 0: the node's default"`
	Sessions  int     `json:"sessions,omitempty" minimum:"0" maximum:"1000000" doc:"Sessions over MQTT"`
}

func showApp(app *auth.App) App {
	return App{
		Name: app.Name, Scopes: app.Scopes, Devices: app.Devices, Limits: Limits(app.Limits),
		CreatedAt: app.CreatedAt, ModifiedAt: app.ModifiedAt, OldKeyEndsAt: app.OldKeyEndsAt,
	}
}

// app is the app of that name that the input describes.
func (in *AppInput) app(name string) auth.App {
	app := auth.App{Name: name, Devices: in.Devices, Limits: auth.Limits(in.Limits)}
	for _, s := range in.Scopes {
		app.Scopes = append(app.Scopes, auth.Scope(s))
	}
	return app
}

func (a *API) addApps() {
	admin := []auth.Scope{auth.ScopeAdmin}
	tags := []string{"apps"}
	register(a, huma.Operation{
		OperationID: "create-app", Method: http.MethodPost, Path: "/v1/apps", Summary: "Create an app and its key",
		Tags: tags, DefaultStatus: http.StatusCreated, Errors: []int{http.StatusConflict},
	}, admin, a.createApp)
	register(a, huma.Operation{
		OperationID: "list-apps", Method: http.MethodGet, Path: "/v1/apps", Summary: "List apps", Tags: tags,
	}, admin, a.listApps)
	register(a, huma.Operation{
		OperationID: "get-app", Method: http.MethodGet, Path: "/v1/apps/{name}", Summary: "Get an app",
		Tags: tags, Errors: []int{http.StatusNotModified, http.StatusNotFound},
	}, admin, a.getApp)
	register(a, huma.Operation{
		OperationID: "delete-app", Method: http.MethodDelete, Path: "/v1/apps/{name}", Summary: "Remove an app",
		Description: "Its key and its sessions end.",
		Tags:        tags, DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusNotFound, http.StatusPreconditionFailed},
	}, admin, a.deleteApp)
	a.addAppChanges()
}

type createAppInput struct{ Body AppInput }

type createdApp struct {
	Location string `header:"Location" doc:"Path of the app"`
	ETag     string `header:"ETag"`
	Body     App
}

func (a *API) createApp(ctx context.Context, in *createAppInput) (*createdApp, error) {
	stored, key, err := a.registry.PutApp(ctx, in.Body.app(in.Body.Name), auth.Create)
	if err != nil {
		return nil, err
	}
	out := &createdApp{appPath(stored.Name), entityTag(stored.Revision()), showApp(&stored)}
	out.Body.Key = key
	return out, nil
}

func appPath(name string) string { return "/v1/apps/" + url.PathEscape(name) }

// AppParam is the app that a path names.
type AppParam struct {
	Name string `path:"name" doc:"Name of the app" example:"dashboard" maxLength:"100"`
}

type oneApp struct {
	ETag string `header:"ETag"`
	Body App
}

func newOneApp(app *auth.App) *oneApp { return &oneApp{entityTag(app.Revision()), showApp(app)} }

type getAppInput struct {
	AppParam
	IfNoneMatch
}

func (a *API) getApp(ctx context.Context, in *getAppInput) (*oneApp, error) {
	app, err := a.registry.GetApp(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	if err := in.check(app.Revision()); err != nil {
		return nil, err
	}
	return newOneApp(&app), nil
}

// ChangeAppInput is a change of an app, and its condition.
type ChangeAppInput struct {
	AppParam
	IfMatch
}

// revisionOf is what a change of the app is to be held against.
func (a *API) revisionOf(ctx context.Context, in *ChangeAppInput) (int64, error) {
	if in.IfMatch.IfMatch == "" {
		return auth.AnyRevision, nil
	}
	app, err := a.registry.GetApp(ctx, in.Name)
	if err != nil {
		return 0, err
	}
	return app.Revision(), in.check(app.Revision())
}

func (a *API) deleteApp(ctx context.Context, in *ChangeAppInput) (*struct{}, error) {
	revision, err := a.revisionOf(ctx, in)
	if err != nil {
		return nil, err
	}
	return nil, a.registry.DeleteApp(ctx, in.Name, revision)
}

type listAppsInput struct {
	ListParams
	Sort string `query:"sort" enum:"name,-name" default:"name" doc:"Order; - turns it round"`
}

type appPage struct{ Body Page[App] }

func (a *API) listApps(ctx context.Context, in *listAppsInput) (*appPage, error) {
	page, next, err := a.registry.ListApps(ctx, in.query(in.Sort))
	if err != nil {
		return nil, err
	}
	out := &appPage{Page[App]{Items: []App{}, Cursor: next}}
	for i := range page {
		out.Body.Items = append(out.Body.Items, showApp(&page[i]))
	}
	return out, nil
}
