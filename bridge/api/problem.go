package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"m2mbridge/auth"
	"m2mbridge/bridge/downlink"
	"m2mbridge/bridge/session"
	"m2mbridge/bridge/stream"
	"m2mbridge/bridge/trace"
)

// problem is the one place where errors become HTTP answers: RFC 9457 problem
// documents. What it does not know is logged and answered without its text.
func (a *API) problem(ctx context.Context, err error) error {
	var known huma.StatusError
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, auth.ErrUnknown), errors.Is(err, session.ErrUnknown), errors.Is(err, downlink.ErrUnknown):
		return huma.Error404NotFound("there is no such thing, or it is not among what this app may see")
	case errors.Is(err, auth.ErrDamaged):
		return huma.Error500InternalServerError("the device's record is damaged: remove it, or replace it with PUT")
	case errors.Is(err, auth.ErrRevision):
		return huma.Error412PreconditionFailed("it is not as If-Match or If-None-Match wants it: get it again, and its ETag")
	case errors.Is(err, auth.ErrExists):
		return huma.Error409Conflict(err.Error())
	case errors.Is(err, errStopping):
		return unavailable("the bridge is stopping: try again")
	case errors.Is(err, auth.ErrConflict):
		return unavailable(err.Error() + ": others change it all the time: try again")
	case errors.Is(err, auth.ErrInUse):
		return huma.Error409Conflict(auth.ErrInUse.Error() + ": revoke the newer one to go back to it, or see force")
	case errors.Is(err, auth.ErrInvalid):
		return huma.Error422UnprocessableEntity(err.Error())
	case errors.Is(err, downlink.ErrInvalid):
		return invalidDownlink(err)
	case errors.Is(err, downlink.ErrDevice):
		return invalid("body.device", "there is no such device", "")
	case errors.Is(err, downlink.ErrNoSMS):
		return invalid("body.device", err.Error(), "")
	case errors.Is(err, downlink.ErrFull), errors.Is(err, downlink.ErrOther), errors.Is(err, downlink.ErrHanded), errors.Is(err, downlink.ErrFinal):
		return huma.Error409Conflict(err.Error())
	case errors.Is(err, stream.ErrRedis), errors.Is(err, auth.ErrUnavailable), errors.Is(err, auth.ErrBusy),
		errors.Is(err, session.ErrUnavailable), errors.Is(err, trace.ErrUnavailable), errors.Is(err, downlink.ErrUnavailable):
		a.log.Warn("request not answered: redis", "request", requestID(ctx), "error", err)
		return unavailable("Redis cannot answer now: try again")
	}
	if errors.Is(err, trace.ErrShare) {
		return shareTaken(err.Error() + ": try again in a while")
	}
	if errors.Is(err, trace.ErrBusy) {
		return unavailable(err.Error() + ": try again in a while")
	}
	if ctx.Err() == nil {
		a.log.Error("request failed", "request", requestID(ctx), "error", err)
	}
	return huma.Error500InternalServerError("the request failed for a reason that is in the bridge's log, under the id in X-Request-Id")
}

// invalid names what of a request is wrong, and where it was.
func invalid(location, message, value string) error {
	return huma.Error422UnprocessableEntity("validation failed", &huma.ErrorDetail{Location: location, Message: message, Value: value})
}

func unavailable(detail string) error {
	return huma.ErrorWithHeaders(huma.Error503ServiceUnavailable(detail), http.Header{"Retry-After": {"1"}})
}

// plain keeps what was sent out of problem documents: a body may hold secrets,
// and whoever sent it has it.
func plain(_ huma.Context, _ string, v any) (any, error) {
	if model, ok := v.(*huma.ErrorModel); ok {
		for _, d := range model.Errors {
			if strings.HasPrefix(d.Location, "body") {
				d.Value = nil
			}
		}
	}
	return v, nil
}
