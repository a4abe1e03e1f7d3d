package api

import (
	"context"
	"encoding/csv"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"m2mbridge/auth"
)

type exportParams struct {
	Format string `query:"format" enum:"csv,ndjson" default:"ndjson" doc:"Of the answer"`
	SearchParams
}

func (a *API) addExport() {
	text := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	register(a, huma.Operation{
		OperationID: "export-devices", Method: http.MethodGet, Path: "/v1/devices/export", Tags: []string{"devices"},
		Summary: "Get all devices, or those of a search, as a file",
		Description: "It can be imported again, and then changes nothing. No secret is in it. It is written as it is read: an answer that is cut short is not whole. " +
			"In CSV a ' stands before texts that a spreadsheet would take for a formula; an import takes it off again.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The devices", Content: map[string]*huma.MediaType{typeNDJSON: text, typeCSV: text},
			Headers: map[string]*huma.Param{"Content-Disposition": {Description: "A name for the file", Schema: &huma.Schema{Type: huma.TypeString}}},
		}},
	}, []auth.Scope{auth.ScopeDeviceRead}, a.exportDevices)
}

// exportWriter writes devices in one format.
type exportWriter interface {
	begin() error
	device(d *auth.Device) error
	flush() error
}

func (a *API) exportDevices(_ context.Context, in *exportParams) (*huma.StreamResponse, error) {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		media := typeNDJSON
		if in.Format == formatCSV {
			media = typeCSV + "; charset=utf-8"
		}
		w.Header().Set("Content-Type", media)
		w.Header().Set("Content-Disposition", `attachment; filename="devices.`+in.Format+`"`)
		if r.Method == http.MethodHead {
			return
		}
		lines := newNDJSONWriter(w)
		if err := a.export(r.Context(), callerOf(hc.Context()).app, in.query(), newExportWriter(in.Format, lines)); err != nil {
			if !lines.begun() {
				w.Header().Del("Content-Disposition")
				a.writeProblem(hc, a.problem(r.Context(), err))
				return
			}
			a.log.Warn("export cut short", "request", requestID(r.Context()), "error", err)
			panic(http.ErrAbortHandler) // half an answer must not look like a whole one
		}
	}}, nil
}

func (a *API) export(ctx context.Context, app *auth.App, q auth.ListQuery, out exportWriter) error {
	q.Limit = scanLimit
	found := a.sourceOf(app, q, place{})
	if err := out.begin(); err != nil {
		return err
	}
	for {
		d, err := a.nextOf(ctx, found)
		if err != nil {
			return err
		}
		if d == nil {
			return out.flush()
		}
		if err := out.device(d); err != nil {
			return err
		}
	}
}

// nextOf gives each read its own time, and ends with the server.
func (a *API) nextOf(ctx context.Context, found source) (*auth.Device, error) {
	select {
	case <-stopping(ctx):
		return nil, errStopping
	default:
	}
	return found.next(ctx)
}

func newExportWriter(format string, lines *ndjsonWriter) exportWriter {
	if format == formatCSV {
		return &csvExport{lines, csv.NewWriter(lines.buf), attributes(), nil}
	}
	return &objectExport{lines}
}

// objectExport writes every attribute of a device, so that an import restores it.
type objectExport struct{ *ndjsonWriter }

func (*objectExport) begin() error { return nil }

func (o *objectExport) device(d *auth.Device) error {
	return o.write(exported{string(d.ID), d.Name, d.ICCID, d.MSISDN, d.RatePlan, d.SMS, d.RequireToken, d.Unsigned, d.Disabled, d.Labels})
}

type exported struct {
	ID           string            `json:"id"`
	Name         string            `json:"name"`
	ICCID        string            `json:"iccid"`
	MSISDN       string            `json:"msisdn"`
	RatePlan     string            `json:"ratePlan"`
	SMS          *bool             `json:"sms"`
	RequireToken bool              `json:"requireToken"`
	Unsigned     bool              `json:"unsigned"`
	Disabled     bool              `json:"disabled"`
	Labels       map[string]string `json:"labels"`
}

// csvExport writes the same as cells.
type csvExport struct {
	*ndjsonWriter
	csv   *csv.Writer
	known attributeList
	cells []string
}

func (c *csvExport) begin() error {
	names := []string{"id"}
	for _, a := range c.known {
		names = append(names, a.name)
	}
	return c.csv.Write(names)
}

func (c *csvExport) device(d *auth.Device) error {
	c.cells = append(c.cells[:0], string(d.ID))
	for _, a := range c.known {
		c.cells = append(c.cells, a.show(d))
	}
	return c.csv.Write(c.cells)
}

func (c *csvExport) flush() error {
	c.csv.Flush()
	if err := c.csv.Error(); err != nil {
		return err
	}
	return c.ndjsonWriter.flush()
}
