package api

import (
	"context"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"m2mbridge/auth"
)

// importsAtOnce is how many imports a node takes at a time.
const importsAtOnce = 2

const (
	formatCSV    = "csv"
	formatNDJSON = "ndjson"
	typeCSV      = "text/csv"
	typeNDJSON   = "application/x-ndjson"
)

type importParams struct {
	DryRun          bool   `query:"dryRun" doc:"Change nothing, but say what would change"`
	Format          string `query:"format" enum:"csv,ndjson" doc:"Of the body; none: what Content-Type says"`
	GenerateSecrets bool   `query:"generateSecrets" doc:"Make a secret for each device that needs one and has none; the answer shows it this once"`
	SkipFaults      bool   `query:"skipFaults" doc:"Go on with the other rows where one is at fault; else nothing is changed behind a fault, only checked"`
	Window          string `query:"window" default:"168h" maxLength:"40" doc:"How long the secret that a device has stays valid beside a new one"`
	ContentType     string `header:"Content-Type" hidden:"true"`
}

func (a *API) addImport() {
	text := func(doc string) *huma.MediaType {
		return &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Description: doc}}
	}
	register(a, huma.Operation{
		OperationID: "import-devices", Method: http.MethodPost, Path: "/v1/devices/import", Tags: []string{"devices"},
		Summary: "Create and change many devices",
		Description: "The body may be of any size: it is read, and answered, as it comes, so that a client has to read the answer while it sends. " +
			"Without the scope `device.read` the changes do not show from what. A row creates its device, or changes what it names of it; doing so twice changes nothing. A device may be in a body once.\n\n" +
			"The answer has a line for each fault, {\"line\",\"id\",\"error\"}; with dryRun for each difference, {\"line\",\"id\",\"action\",\"changes\"}; " +
			"with generateSecrets for each secret made, {\"line\",\"id\",\"secret\"}; {\"rows\"} about every second; and at its end " +
			"{\"done\":true,\"rows\",\"created\",\"changed\",\"unchanged\",\"faults\",\"left\"}, where left are rows that were only checked because of a fault before them. " +
			"Without that line the import was cut short: an {\"error\"} without a line says why, if it can. " +
			"Where the first " + strconv.Itoa(importBatch) + " rows already cannot be read or stored, a status says so. " +
			"A body of which nothing comes for 10 s, or for 30 s once there was much, or which comes at less than 8 KiB a second, is not waited for any longer than that. One app may run one import at a node. An empty body of NDJSON is a file of no rows; one of CSV has at least its header.",
		BodyReadTimeout: ownBody,
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{
			typeNDJSON: text("JSON objects as for the creation of a device, one a line. A field that is missing stays as it is, null clears; labels are all labels, of which null is none. A name given twice is a fault."),
			typeCSV: text("A header names the columns: " + strings.Join(columns(), ", ") + ". An empty cell clears, but for that of secret; a column that is missing stays as it is. " +
				"A line sep=; may come before the header. labels are written a=b;c=d, with a backslash before a ; or backslash in a value. The ' that an export puts before = + - @ is taken off."),
		}},
		Responses: map[string]*huma.Response{"200": {
			Description: "What was done, as it is done",
			Content:     map[string]*huma.MediaType{typeNDJSON: {Schema: &huma.Schema{Type: huma.TypeString}}},
		}},
	}, []auth.Scope{auth.ScopeDeviceWrite}, a.importDevices)
}

func (a *API) importDevices(ctx context.Context, in *importParams) (*huma.StreamResponse, error) {
	format, err := in.format()
	if err != nil {
		return nil, err
	}
	window, err := parseWindow("query.window", in.Window)
	if err != nil {
		return nil, err
	}
	leave, err := a.imports.take(callerOf(ctx).app.Name)
	if err != nil {
		return nil, err
	}
	leave = sync.OnceFunc(leave)
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer leave()
		r, w := humago.Unwrap(hc)
		conn := http.NewResponseController(w)
		// A server that cannot, as of tests, reads the body before it answers.
		_ = conn.EnableFullDuplex()
		w.Header().Set("Content-Type", typeNDJSON)
		run := &importRun{
			api: a, params: in, window: window, key: callerOf(hc.Context()).key, seen: newIDSet(),
			rows: newRowReader(format, &flowing{r.Body, conn, firstPatience}), out: newNDJSONWriter(w), leave: leave,
		}
		err := run.run(r.Context())
		switch {
		case err == nil:
		case run.out.begun():
			run.broken(r.Context(), err)
		default:
			_ = conn.SetWriteDeadline(time.Now().Add(writeLimit))
			hc.SetHeader("Connection", "close") // what is left of the body is not read
			a.writeProblem(hc, run.refusal(r.Context(), err))
		}
	}}, nil
}

func (in *importParams) format() (string, error) {
	if in.Format != "" {
		return in.Format, nil
	}
	media, _, _ := mime.ParseMediaType(in.ContentType)
	switch media {
	case typeCSV:
		return formatCSV, nil
	case typeNDJSON, "application/ndjson", "application/jsonl":
		return formatNDJSON, nil
	}
	return "", huma.Error415UnsupportedMediaType("want a body of Content-Type " + typeCSV + " or " + typeNDJSON + ", or format=csv or ndjson")
}

func newRowReader(format string, body io.Reader) rowReader {
	lines := newLineReader(body)
	if format == formatCSV {
		return &cellRows{lines: lines, known: attributes()}
	}
	return &objectRows{lines, attributes()}
}

// How long an import waits for its body.
const (
	firstPatience = 10 * time.Second // at its beginning, and never less than what is left of that
	fullPatience  = 240 << 10        // bytes with which it is readLimit again: 8 KiB a second go on for ever
)

// flowing bounds how long is waited for a body, in place of one limit for the
// whole: what is waited is taken from its patience, and what comes adds to it. A
// client that sends nothing, or less than a pace, comes to its end. The time that
// the import takes over what came is not its client's.
type flowing struct {
	r        io.Reader
	conn     *http.ResponseController
	patience time.Duration
}

func (f *flowing) Read(b []byte) (int, error) {
	start := time.Now()
	_ = f.conn.SetReadDeadline(start.Add(f.patience))
	n, err := f.r.Read(b)
	f.patience = min(readLimit, f.patience-time.Since(start)+time.Duration(n)*readLimit/fullPatience)
	return n, err
}
