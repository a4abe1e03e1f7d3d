package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// apiFlags say where the bridge's API is and who asks.
type apiFlags struct {
	APIURL   string `name:"api-url" env:"M2M_API_URL" default:"http://127.0.0.1:8081" placeholder:"URL" help:"Where the bridge's API is."`
	Key      string `name:"key" env:"M2M_KEY" secret:"" placeholder:"KEY" help:"Key of the app to act as; without one, the admin key of M2M_ADMIN_KEY."`
	AdminKey string `name:"admin-key" env:"M2M_ADMIN_KEY" secret:"" hidden:""`
	JSON     bool   `name:"json" help:"Print JSON, one object a line, for other programs."`
}

// apiLimit bounds a request that is not a live stream.
const apiLimit = 30 * time.Second

// apiClient asks the bridge's API.
type apiClient struct {
	base *url.URL
	key  string
	http *http.Client
}

func (f *apiFlags) client() (*apiClient, error) {
	base, err := url.Parse(f.APIURL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, Usagef("--api-url %q is no URL such as http://127.0.0.1:8081", f.APIURL)
	}
	key := f.Key
	if key == "" {
		key = f.AdminKey
	}
	if key == "" {
		return nil, Usagef("no key: give --key or M2M_KEY (or M2M_ADMIN_KEY, as serve has it)")
	}
	return &apiClient{base: base, key: key, http: &http.Client{}}, nil
}

// request is one call of the API.
type request struct {
	method string
	path   string // not escaped
	query  url.Values
	header http.Header
	body   any       // nil: none
	stream io.Reader // in place of body, of the Content-Type in header; nil: none
}

// call makes a request and gives its answer's body as it came; nil for none.
func (c *apiClient) call(ctx context.Context, r request) (json.RawMessage, error) {
	body, _, err := c.exchange(ctx, r)
	return body, err
}

// exchange is call with the answer's header.
func (c *apiClient) exchange(ctx context.Context, r request) (json.RawMessage, http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, apiLimit)
	defer cancel()
	resp, err := c.open(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("read answer of %s: %w", c.base, err)
	}
	return body, resp.Header, nil
}

// open makes a request; a status that is no success is an error.
func (c *apiClient) open(ctx context.Context, r request) (*http.Response, error) {
	body := r.stream
	if r.body != nil {
		text, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("write request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	u := c.base.JoinPath(r.path)
	u.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer func() { _ = resp.Body.Close() }()
		return nil, refusedBy(resp)
	}
	return resp, nil
}

// unreachable says what to look at when nothing answers.
func (c *apiClient) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return context.Canceled
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op
	}
	return fmt.Errorf("no bridge's API answers at %s (--api-url or M2M_API_URL says where it is; is the bridge running?): %w", c.base, err)
}

// apiError is an answer that is no success.
type apiError struct {
	status int
	text   string
}

func (e *apiError) Error() string { return e.text }

// problem is RFC 9457's document.
type problem struct {
	Detail string `json:"detail"`
	Errors []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors"`
}

func refusedBy(resp *http.Response) error {
	e := &apiError{resp.StatusCode, resp.Status}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var p problem
	if err == nil && json.Unmarshal(body, &p) == nil && p.Detail != "" {
		e.text += ": " + p.Detail
		for _, at := range p.Errors {
			e.text += "; " + strings.TrimPrefix(at.Location, "body.") + ": " + at.Message
		}
	}
	if resp.StatusCode == http.StatusUnauthorized {
		e.text += " (--key, M2M_KEY or M2M_ADMIN_KEY)"
	}
	return e
}

// list calls show with every item of a list, page after page; limit 0 is all.
func (c *apiClient) list(ctx context.Context, path string, query url.Values, limit int, show func(json.RawMessage) error) error {
	if query == nil {
		query = url.Values{}
	}
	for shown := 0; ; {
		query.Set("limit", "500")
		if left := limit - shown; limit > 0 && left < 500 {
			query.Set("limit", fmt.Sprint(left))
		}
		body, err := c.call(ctx, request{method: http.MethodGet, path: path, query: query})
		if err != nil {
			return err
		}
		var page struct {
			Items  []json.RawMessage `json:"items"`
			Cursor string            `json:"cursor"`
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return fmt.Errorf("read list of %s: %w", c.base, err)
		}
		for _, item := range page.Items {
			if err := show(item); err != nil {
				return err
			}
		}
		shown += len(page.Items)
		if page.Cursor == "" || limit > 0 && shown >= limit {
			return nil
		}
		query.Set("cursor", page.Cursor)
	}
}
