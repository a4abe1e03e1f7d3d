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
	Key        string       `json:"key,omitempty" doc:"Only in the answer to its creation: it is never shown again"`
	CreatedAt  time.Time    `json:"createdAt"`
	ModifiedAt time.Time    `json:"modifiedAt"`
}

// AppInput is an app to be created.
type AppInput struct {
	Name    string   `json:"name" example:"dashboard" minLength:"1" maxLength:"100" doc:"Its name, which is its user name on MQTT too"`
	Scopes  []string `json:"scopes" nullable:"false" minItems:"1" enum:"uplink.read,downlink.read,downlink.write,reject.read,device.read,device.write,admin" doc:"What it may do"`
	Devices []string `json:"devices,omitempty" nullable:"false" maxItems:"10000" example:"[\"IMEI:356726104408422\",\"site=depot\"]" doc:"Ids or label=value; none: every device"`
}

func showApp(app *auth.App) App {
	return App{Name: app.Name, Scopes: app.Scopes, Devices: app.Devices, CreatedAt: app.CreatedAt, ModifiedAt: app.ModifiedAt}
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
		Tags: tags, Errors: []int{http.StatusNotFound},
	}, admin, a.getApp)
	register(a, huma.Operation{
		OperationID: "delete-app", Method: http.MethodDelete, Path: "/v1/apps/{name}", Summary: "Remove an app",
		Description: "Its key and its sessions end.",
		Tags:        tags, DefaultStatus: http.StatusNoContent, Errors: []int{http.StatusNotFound},
	}, admin, a.deleteApp)
}

type createAppInput struct{ Body AppInput }

type createdApp struct {
	Location string `header:"Location" doc:"Path of the app"`
	Body     App
}

func (a *API) createApp(ctx context.Context, in *createAppInput) (*createdApp, error) {
	app := auth.App{Name: in.Body.Name, Devices: in.Body.Devices}
	for _, s := range in.Body.Scopes {
		app.Scopes = append(app.Scopes, auth.Scope(s))
	}
	stored, key, err := a.registry.PutApp(ctx, app, auth.Create)
	if err != nil {
		return nil, err
	}
	out := &createdApp{Location: "/v1/apps/" + url.PathEscape(stored.Name), Body: showApp(&stored)}
	out.Body.Key = key
	return out, nil
}

type appParam struct {
	Name string `path:"name" doc:"Name of the app" example:"dashboard" maxLength:"100"`
}

type oneApp struct{ Body App }

func (a *API) getApp(ctx context.Context, in *appParam) (*oneApp, error) {
	app, err := a.registry.GetApp(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	return &oneApp{showApp(&app)}, nil
}

func (a *API) deleteApp(ctx context.Context, in *appParam) (*struct{}, error) {
	return nil, a.registry.DeleteApp(ctx, in.Name, auth.AnyRevision)
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
