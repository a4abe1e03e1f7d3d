package auth

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth/redistest"
)

// benchBody is as long as the pack of eight records that the project measures with.
func benchBody() []byte {
	b := make([]byte, 302)
	for i := range b {
		b[i] = byte('a' + i%26)
	}
	return b
}

// BenchmarkToken compares a verified token of a cached device with the bare hash of the same bytes.
func BenchmarkToken(b *testing.B) {
	body := benchBody()
	b.Run("sha256", func(b *testing.B) {
		signed := append(body[:len(body):len(body)], secret...)
		b.ReportAllocs()
		for b.Loop() {
			sha256.Sum256(signed)
		}
	})
	b.Run("VerifyToken", func(b *testing.B) {
		r := follow(b, testRegistry(b, redistest.Start(b))).Registry
		put(b, r, Device{ID: imei, Secret: secret})
		ctx, token := context.Background(), Token(body, secret)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.VerifyToken(ctx, imei, body, token); err != nil {
				b.Fatal(err)
			}
		}
		if st := r.Stats(); st.Misses > 10 {
			b.Errorf("%d misses", st.Misses)
		}
	})
	b.Run("Seal", func(b *testing.B) {
		r := follow(b, testRegistry(b, redistest.Start(b))).Registry
		put(b, r, Device{ID: imei, Secret: secret})
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.Seal(context.Background(), imei, body); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkMiss asks for devices of a large registry at random, most of which are not cached: 64 callers at once, as
// under load. It reports this process's CPU per lookup and the cache's bytes per device. M2M_BENCH_DEVICES sets how many
// devices there are (20 000; the goal is for a million).
func BenchmarkMiss(b *testing.B) {
	devices := 20000
	if text := os.Getenv("M2M_BENCH_DEVICES"); text != "" {
		devices, _ = strconv.Atoi(text)
	}
	s := redistest.Start(b)
	c := s.Client()
	r := follow(b, testRegistry(b, s, func(c *RegistryConfig) { c.CacheBytes = 1 << 20 })).Registry
	fillDevices(b, r, c, devices)
	body := benchBody()
	token := Token(body, secret)
	ids := make([]DeviceID, devices)
	for i := range ids {
		ids[i] = benchID(i)
	}
	var failed atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	before := cpu()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		ctx := context.Background()
		for pb.Next() {
			if _, err := r.VerifyToken(ctx, ids[rand.IntN(devices)], body, token); err != nil {
				if failed.Add(1) == 1 {
					b.Log(err)
				}
			}
		}
	})
	b.StopTimer()
	if n := failed.Load(); n > 0 {
		b.Fatalf("%d failed", n)
	}
	st := r.Stats()
	b.ReportMetric(float64(cpu()-before)/float64(b.N)/1e3, "cpu-µs/op")
	b.ReportMetric(float64(st.Hits)/float64(st.Hits+st.Misses), "hits")
	b.ReportMetric(float64(st.Bytes)/float64(st.Entries), "B/device")
}

func benchID(i int) DeviceID { return DeviceID("IMEI:" + fmt.Sprintf("%015d", i)) }

// fillDevices writes many devices at once, without their change streams: nothing is cached yet.
func fillDevices(b *testing.B, r *Registry, c *redis.Client, n int) {
	b.Helper()
	pipe := c.Pipeline()
	for i := range n {
		id := benchID(i)
		rec := record{matched: '0', revision: 1800000000000}
		rec.secrets[0] = r.newSecret(id, secret, 1800000000000)
		pipe.HSet(context.Background(), r.keys.device(id), fieldAuth, rec.append(nil), fieldRev, rec.revision, fieldAbout, "{}")
		if pipe.Len() == 1000 || i == n-1 {
			if _, err := pipe.Exec(context.Background()); err != nil {
				b.Fatalf("fill: %v", err)
			}
		}
	}
}

// cpu is the processor time of this process so far, in nanoseconds.
func cpu() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
