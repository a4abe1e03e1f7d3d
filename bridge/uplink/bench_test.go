package uplink

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/downlink"
)

// BenchmarkAccept is a stored uplink of 8 records, 32 devices at once, against
// a real Redis without persistence.
func BenchmarkAccept(b *testing.B) { benchmarkAccept(b, MQTT, false) }

// BenchmarkAcceptHTTP is the same over HTTP, and where downlinks could be taken
// along, of which none waits.
func BenchmarkAcceptHTTP(b *testing.B) {
	b.Run("plain", func(b *testing.B) { benchmarkAccept(b, HTTP, false) })
	b.Run("downlinks", func(b *testing.B) { benchmarkAccept(b, HTTP, true) })
}

func benchmarkAccept(b *testing.B, via Via, downlinks bool) {
	s := redistest.Start(b)
	client := s.Client()
	registry, err := auth.NewRegistry(auth.RegistryConfig{Client: client, Blocking: s.Client()})
	if err != nil {
		b.Fatal(err)
	}
	cfg := Config{Client: client, Registry: registry, MaxUplinks: 100_000}
	if downlinks {
		cfg.Downlinks = downlink.New(downlink.Config{Client: client})
	}
	service, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = service.Run(ctx) }()
	go func() { _ = registry.Run(ctx) }()
	defer func() { cancel(); <-done }()
	if _, err := registry.PutDevice(ctx, auth.Device{ID: testID, Secret: testSecret}, auth.Create); err != nil {
		b.Fatal(err)
	}
	var n atomic.Int64
	b.SetParallelism(16)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			body := fmt.Appendf(nil, `[{"bn":"urn:dev:IMEI:356726104408422:","bt":%d},{"n":"temperature","u":"Cel","v":21.5},{"n":"humidity","u":"%%RH","v":47.25},{"n":"battery","u":"V","v":3.61},{"n":"latitude","u":"lat","v":52.0907},{"n":"longitude","u":"lon","v":5.1214},{"n":"active","vb":true},{"n":"modus","vs":"Active"}]`, 1_700_000_000+n.Add(1))
			m := Message{Via: via, Login: testID, Body: body}
			if via == HTTP {
				m = Message{Via: HTTP, PathType: "IMEI", Body: body, Token: auth.Token(body, testSecret), HasToken: true}
			}
			if v := service.Accept(ctx, &m); v.Outcome != Stored {
				b.Fatalf("%+v", v)
			}
		}
	})
}
