package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"

	"m2mbridge/auth"
)

const tokenHeader = "Things-Message-Token"

// overHTTP posts the uplink and shows what went over the wire.
func (x *exchange) overHTTP(ctx context.Context) error {
	if x.to.Path == "" || x.to.Path == "/" {
		x.to.Path = ingestPath(x.device.Type())
	}
	req, err := http.NewRequestWithContext(x.traced(ctx), http.MethodPost, x.to.String(), bytes.NewReader(x.body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if x.hasToken {
		req.Header.Set(tokenHeader, x.token)
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("no bridge answers at %s (--to says where to send): %w", x.to.Host, errors.Unwrap(err))
	}
	defer func() { _ = resp.Body.Close() }()
	return x.answered(resp)
}

// ingestPath is where a device of that type posts (DESIGN.md 4).
func ingestPath(deviceType string) string {
	if deviceType == auth.TypeUUID {
		return "/ingestion/ip/senml/v1"
	}
	return "/ingestion/m2m/senml/v1"
}

// traced shows the request as it is written on a connection that there is.
func (x *exchange) traced(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { x.show('>', "POST "+x.to.RequestURI()+" HTTP/1.1") },
		WroteHeaderField: func(name string, values []string) {
			for _, value := range values {
				if name == tokenHeader {
					value = short(value)
				}
				x.show('>', name+": "+value)
			}
		},
		WroteRequest: func(httptrace.WroteRequestInfo) {
			fmt.Fprintln(x.w, ">")
			x.show('>', string(x.body))
		},
	})
}

func (x *exchange) answered(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	x.result.Status = resp.StatusCode
	switch text := strings.TrimSpace(string(body)); {
	case resp.StatusCode != http.StatusOK:
		x.result.Reason = text
	case len(body) > 0:
		x.result.Downlinks = append(x.result.Downlinks, string(body))
	}
	x.show('<', resp.Proto+" "+resp.Status)
	for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
		x.show('<', name+": "+strings.Join(resp.Header[name], ", "))
	}
	if len(body) > 0 {
		fmt.Fprintln(x.w, "<")
		x.show('<', string(body))
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s", errRefused, resp.Status)
	}
	return nil
}
