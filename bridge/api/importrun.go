package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/auth"
)

// importBatch is how many rows go to the registry at once.
const importBatch = 500

// importRun is one import under way.
type importRun struct {
	api    *API
	params *importParams
	window time.Duration
	key    string // of the app, which is looked up anew for each batch
	rows   rowReader
	seen   *idSet
	out    *ndjsonWriter
	total  importTotal
	leave  func()
	halted bool // by a fault: what comes is only checked
}

// importTotal is the last line of an answer.
type importTotal struct {
	Done      bool `json:"done"`
	Rows      int  `json:"rows"`
	Created   int  `json:"created"`
	Changed   int  `json:"changed"`
	Unchanged int  `json:"unchanged"`
	Faults    int  `json:"faults"`
	Left      int  `json:"left,omitempty"`
}

var (
	errStopping   = errors.New("the bridge is stopping: import the same again")
	errKeyEnded   = errors.New("the app's key or its scope device.write has ended")
	errTooMany    = errors.New("more than 2000000 devices: part the file")
	errImportRead = errors.New("the body could not be read to its end")
	errSlow       = errors.New("the body does not come: it was not waited for any longer")
)

// run reads, changes and answers batch by batch. What it returns has no line.
func (r *importRun) run(ctx context.Context) error {
	for ended := false; !ended; {
		batch, err := r.read()
		if ended = errors.Is(err, io.EOF) || errors.Is(err, errHeader); err != nil && !ended {
			return errors.Join(errImportRead, err)
		}
		if err := r.handle(ctx, batch); err != nil {
			return err
		}
		if err := r.progress(ended); err != nil {
			return err
		}
	}
	return nil
}

// read gives the next rows; at the end io.EOF beside the last.
func (r *importRun) read() (batch []row, err error) {
	for len(batch) < importBatch {
		one, err := r.rows.next()
		if err != nil {
			return batch, err
		}
		r.total.Rows++
		if one.fault == nil {
			one.fault = r.repeated(&one)
		}
		batch = append(batch, one)
		if errors.Is(one.fault, errHeader) {
			r.total.Rows-- // it is none
			return batch, errHeader
		}
	}
	return batch, nil
}

// handle changes the devices of a batch.
func (r *importRun) handle(ctx context.Context, batch []row) error {
	select {
	case <-stopping(ctx):
		return errStopping
	default:
	}
	if r.seen.len() > maxRows {
		return errTooMany
	}
	app, err := r.app(ctx)
	if err != nil {
		return err
	}
	b := &importPart{run: r, app: app}
	for i := range batch {
		if batch[i].fault == nil {
			b.rows = append(b.rows, &batch[i])
		} else {
			r.halt()
		}
	}
	if err := b.put(ctx); err != nil {
		return err
	}
	return b.answer(batch)
}

func (r *importRun) halt() { r.halted = r.halted || !r.params.SkipFaults }

// dry reports whether nothing is to be changed.
func (r *importRun) dry() bool { return r.params.DryRun || r.halted }

// app finds the app again: its key may have ended since, and its filter changed.
func (r *importRun) app(ctx context.Context) (*auth.App, error) {
	app, err := r.api.registry.AppByKey(ctx, r.key)
	if errors.Is(err, auth.ErrUnknown) || err == nil && !app.Has(auth.ScopeDeviceWrite) {
		return nil, errKeyEnded
	}
	return app, err
}

// progress lets the client hear of it: when the first batch is done, once a
// second, and where there is something to say.
func (r *importRun) progress(ended bool) error {
	switch {
	case ended:
		r.total.Done = true
		r.leave() // who has read the last line may begin the next import
		if err := r.out.write(r.total); err != nil {
			return err
		}
	case r.out.due():
		if err := r.out.write(map[string]int{"rows": r.total.Rows}); err != nil {
			return err
		}
	case r.out.buf.Buffered() == 0 && r.out.begun():
		return nil
	}
	return r.out.flush()
}

// refusal is what the client is told if the first batch fails: then nothing has
// been sent yet.
func (r *importRun) refusal(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return huma.NewError(http.StatusRequestTimeout, errSlow.Error())
	case errors.Is(err, errImportRead):
		return huma.Error400BadRequest(errImportRead.Error())
	case errors.Is(err, errKeyEnded):
		return huma.Error403Forbidden(err.Error())
	}
	return r.api.problem(ctx, err)
}

// broken tells the client, if it can, that the import was cut short, and cuts
// the connection: half an answer must not look like a whole one.
func (r *importRun) broken(ctx context.Context, err error) {
	text := "the import was cut short for a reason that is in the bridge's log, under the id in X-Request-Id"
	switch {
	case errors.Is(err, errStopping), errors.Is(err, errKeyEnded), errors.Is(err, errTooMany):
		text = err.Error()
	case errors.Is(err, os.ErrDeadlineExceeded):
		text = errSlow.Error()
	case errors.Is(err, errImportRead):
		text = errImportRead.Error()
	case errors.Is(err, auth.ErrUnavailable), errors.Is(err, auth.ErrBusy):
		text = "Redis cannot answer now: import the same again"
	}
	r.api.log.Warn("import cut short", "request", requestID(ctx), "rows", r.total.Rows, "error", err)
	if r.out.write(importFault{Error: text}) == nil && r.out.flush() == nil {
		return // the answer ends without its last line, which says enough
	}
	panic(http.ErrAbortHandler)
}
