//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// profiled wraps our side so that its first round of the chosen job is profiled, for as long as it is measured.
func (b *bench) profiled(p *program, ours side) side {
	if b.o.profile != b.job {
		return ours
	}
	first := true
	return func(ctx context.Context) (sample, error) {
		if !first {
			return ours(ctx)
		}
		first = false
		captured := make(chan error, 1)
		go func() { captured <- b.capture(ctx, p) }()
		s, err := ours(ctx)
		if problem := <-captured; problem != nil {
			b.note("no profile: %v", problem)
		} else {
			b.note("profile of the first round: go tool pprof -top %s", b.profileName())
		}
		return s, err
	}
}

func (b *bench) profileName() string { return b.job + ".pprof" }

// capture asks the bridge for a profile of as many seconds as a round has, at least one.
func (b *bench) capture(ctx context.Context, p *program) error {
	if err := sleep(ctx, b.o.warm); err != nil {
		return err
	}
	seconds := max(int(b.o.measure/time.Second), 1)
	body, err := get(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", p.pprof, seconds))
	if err != nil {
		return err
	}
	return os.WriteFile(b.profileName(), body, 0o644)
}

func get(ctx context.Context, url string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	return body, err
}
