package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// API registers a fleet with the bridge's API.
type API struct {
	URL string // such as http://127.0.0.1:8081
	Key string // an app key with device.write, and admin for AddApp
}

// AddDevices registers devices, a few at a time. One that is there already is taken to be this one, of an earlier run.
func (a API) AddDevices(ctx context.Context, devices []Device) error {
	client, done := a.client()
	defer done()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for _, d := range devices {
		group.Go(func() error {
			body := map[string]string{"id": d.ID, "secret": d.Secret, "name": "simulated"}
			status, answer, err := a.post(ctx, client, "/v1/devices", body)
			if err != nil || status == http.StatusCreated || status == http.StatusConflict {
				return err
			}
			return fmt.Errorf("register %s: status %d: %s", d.ID, status, bytes.TrimSpace(answer))
		})
	}
	return group.Wait()
}

// AddApp registers an app and returns its key.
func (a API) AddApp(ctx context.Context, name string, scopes ...string) (key string, err error) {
	client, done := a.client()
	defer done()
	status, answer, err := a.post(ctx, client, "/v1/apps", map[string]any{"name": name, "scopes": scopes})
	if err != nil {
		return "", err
	}
	var app struct {
		Key string `json:"key"`
	}
	if status != http.StatusCreated || json.Unmarshal(answer, &app) != nil || app.Key == "" {
		return "", fmt.Errorf("register app %s: status %d: %s", name, status, bytes.TrimSpace(answer))
	}
	return app.Key, nil
}

func (a API) client() (client *http.Client, done func()) {
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}, transport.CloseIdleConnections
}

func (a API) post(ctx context.Context, client *http.Client, path string, body any) (status int, answer []byte, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.URL+path, bytes.NewReader(text))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+a.Key)
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(response.Body, 64<<10))
	return response.StatusCode, answer, err
}
