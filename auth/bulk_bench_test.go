package auth

import (
	"testing"

	"m2mbridge/auth/redistest"
)

// BenchmarkPutDevices is what an import costs, for each device.
func BenchmarkPutDevices(b *testing.B) {
	r := testRegistry(b, redistest.Start(b))
	const batch = 500
	ids := make([]DeviceID, batch)
	b.ReportAllocs()
	for n := 0; n < b.N; n += batch {
		for i := range ids {
			ids[i] = benchID(n + i)
		}
		changes, err := r.PutDevices(b.Context(), ids, Bulk{}, func(i int, _ *Device) (Device, error) {
			return Device{Secret: secret, Name: "Pump seven", Labels: map[string]string{"site": "depot"}}, nil
		})
		if err != nil || changes[0].Err != nil {
			b.Fatal(err, changes[0].Err)
		}
	}
}
