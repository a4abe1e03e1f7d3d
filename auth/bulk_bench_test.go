package auth

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth/redistest"
)

// BenchmarkPutDevices is what an import costs, for each device; redis-ns/op is the server's share.
func BenchmarkPutDevices(b *testing.B) {
	server := redistest.Start(b)
	r, c := testRegistry(b, server), server.Client()
	const batch = 500
	ids := make([]DeviceID, batch)
	b.ReportAllocs()
	before := redisCPU(b, c)
	for n := 0; n < b.N; n += batch {
		for i := range ids {
			ids[i] = benchID(n + i)
		}
		changes, err := r.PutDevices(b.Context(), ids, Bulk{}, func(i int, _ *Device) (Device, error) {
			k := n + i
			return Device{
				Secret: secret, Name: fmt.Sprintf("Pump %d", k), ICCID: fmt.Sprintf("8931%015d", k), MSISDN: fmt.Sprintf("316%08d", k),
				Labels: map[string]string{"site": fmt.Sprintf("depot%d", k%50), "line": strconv.Itoa(k % 7)},
			}, nil
		})
		if err != nil || changes[0].Err != nil {
			b.Fatal(err, changes[0].Err)
		}
	}
	b.ReportMetric((redisCPU(b, c)-before)*1e9/float64(b.N), "redis-ns/op")
}

// redisCPU is the seconds of CPU that the server has used.
func redisCPU(b *testing.B, c *redis.Client) (seconds float64) {
	for line := range strings.Lines(c.Info(b.Context(), "cpu").Val()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			s, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			seconds += s
		}
	}
	return seconds
}
