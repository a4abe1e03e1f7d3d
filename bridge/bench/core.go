//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"time"

	"m2mbridge/auth"
	"m2mbridge/bridge/fleet"
	"m2mbridge/bridge/store"
	"m2mbridge/senml"
)

// core measures what an uplink costs before it is stored, in this process: its pack is decoded and checked, its device found
// in the cache, its token verified. The reference is one SHA-256 over the same bytes, which no implementation can go below.
func (b *bench) core(ctx context.Context) error {
	s, err := b.startRedis(ctx, aofOff)
	if err != nil {
		return err
	}
	defer s.stop()
	device := fleet.Devices(seed, 0, 1)[0]
	registry, stop, err := openRegistry(ctx, s.url, device)
	if err != nil {
		return err
	}
	defer stop()
	body := fleet.Reference(nil, device.ID, 1, time.Now())
	token, signed := device.Token(body), append(body[:len(body):len(body)], device.Secret...)
	var pack senml.Pack
	check := func() error {
		if err := pack.Decode(body, senml.Options{}); err != nil {
			return err
		}
		id, _, err := auth.ParseBaseName(pack.Records[0].BaseName)
		if err != nil {
			return err
		}
		_, err = registry.VerifyToken(ctx, id, body, token)
		return err
	}
	hash := func() error { _ = sha256.Sum256(signed); return nil }
	r, allocations, err := b.compare("token and SenML check, to one SHA-256", check, hash, atMost(4))
	if err != nil {
		return err
	}
	b.add(r, row{job: "  allocations", unit: number, ours: allocations, goal: atMost(1)})
	return nil
}

// openRegistry opens the registry as the program does, with one device in it.
func openRegistry(ctx context.Context, url string, devices ...fleet.Device) (r *auth.Registry, stop func(), err error) {
	st, err := store.Open(ctx, store.Config{URL: url})
	if err != nil {
		return nil, nil, err
	}
	r, err = auth.NewRegistry(auth.RegistryConfig{Client: st.Client, Blocking: st.Blocking, Keys: auth.Keyspace{Partitions: 1}})
	if err != nil {
		_ = st.Close()
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = r.Run(ctx)
	}()
	stop = func() { cancel(); <-ended; _ = st.Close() }
	for _, d := range devices {
		if _, err := r.PutDevice(ctx, auth.Device{ID: auth.DeviceID(d.ID), Secret: d.Secret}, auth.Upsert); err != nil {
			stop()
			return nil, nil, err
		}
	}
	return r, stop, nil
}

// senml measures the decoder against encoding/json, which checks far less.
func (b *bench) senml(context.Context) error {
	body := fleet.Reference(nil, fleet.Devices(seed, 0, 1)[0].ID, 1, time.Now())
	var pack senml.Pack
	var records []jsonRecord
	r, _, err := b.compare("SenML decoded and checked, to encoding/json",
		func() error { return pack.Decode(body, senml.Options{}) },
		func() error { records = records[:0]; return json.Unmarshal(body, &records) }, goal{})
	if err != nil {
		return err
	}
	b.add(r)
	return nil
}

// jsonRecord is a record as one would declare it for encoding/json.
type jsonRecord struct {
	BaseName    *string  `json:"bn"`
	BaseTime    *float64 `json:"bt"`
	BaseUnit    *string  `json:"bu"`
	BaseValue   *float64 `json:"bv"`
	BaseSum     *float64 `json:"bs"`
	BaseVersion *int     `json:"bver"`
	Name        *string  `json:"n"`
	Unit        *string  `json:"u"`
	Value       *float64 `json:"v"`
	StringValue *string  `json:"vs"`
	BoolValue   *bool    `json:"vb"`
	DataValue   *string  `json:"vd"`
	Sum         *float64 `json:"s"`
	Time        *float64 `json:"t"`
	UpdateTime  *float64 `json:"ut"`
}

// compare runs two functions in turn, and gives their times and the allocations of the first.
func (b *bench) compare(name string, ours, reference func() error, g goal) (row, float64, error) {
	var times, references, ratios, allocations []float64
	for range b.o.rounds {
		ns, n, err := b.repeat(ours)
		if err != nil {
			return row{}, 0, fmt.Errorf("%s: %w", name, err)
		}
		against, _, err := b.repeat(reference)
		if err != nil {
			return row{}, 0, fmt.Errorf("%s: the reference: %w", name, err)
		}
		times, references = append(times, ns), append(references, against)
		ratios, allocations = append(ratios, ns/against), append(allocations, n)
	}
	r := row{job: name, unit: duration, ours: median(times), reference: median(references), ratio: median(ratios), goal: g}
	return r, median(allocations), nil
}

// repeat calls f for a fifth of a round, and returns nanoseconds and allocations of one call.
func (b *bench) repeat(f func() error) (ns, allocations float64, err error) {
	const batch = 1000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	calls, start := 0, time.Now()
	for time.Since(start) < b.o.measure/5 {
		for range batch {
			if err := f(); err != nil {
				return 0, 0, err
			}
		}
		calls += batch
	}
	elapsed := time.Since(start)
	runtime.ReadMemStats(&after)
	// Whole allocations, as package testing counts them: the runtime's own few are no call's.
	return float64(elapsed) / float64(calls), math.Floor(float64(after.Mallocs-before.Mallocs) / float64(calls)), nil
}
