package smpp

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"m2mbridge/sms/smpp/pdu"
	"m2mbridge/sms/smpp/smpptest"
)

// BenchmarkSubmit is a submit and its answer on loopback, with as many under way as the window holds. The SMSC's own work
// is in it.
func BenchmarkSubmit(b *testing.B) {
	for _, window := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("Window%d", window), func(b *testing.B) {
			s := smpptest.Listen(b, nil, nil)
			client := run(b, Config{Addr: s.Addr, SystemID: "m2m", Window: window}).bound(b)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ReportAllocs()
			b.ResetTimer()
			done := make(chan error)
			for range window {
				go func() {
					for left.Add(-1) >= 0 {
						if _, err := client.Submit(context.Background(), wake()); err != nil {
							done <- err
							return
						}
					}
					done <- nil
				}()
			}
			for range window {
				if err := <-done; err != nil {
					b.Error(err)
				}
			}
		})
	}
}

// BenchmarkEncode is a wake-up from its fields to the octets.
func BenchmarkEncode(b *testing.B) {
	client := encoder(b, nil)
	m := wake()
	m.Text = `[{"bn":"IMEI:356726104408422:","n":"temp","v":21.5}]`
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.encode(m); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReceipt is a delivery receipt from its octets to its fields.
func BenchmarkReceipt(b *testing.B) {
	raw, err := pdu.PDU{Command: pdu.DeliverSM, Body: &pdu.Message{ESMClass: 4, ShortMessage: []byte(receiptText)}}.Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		p, err := pdu.Frame{Command: pdu.DeliverSM, Body: raw[16:]}.Decode()
		if err != nil {
			b.Fatal(err)
		}
		if newIncoming(p).receipt().State != StateDelivered {
			b.Fatal("not read")
		}
	}
}
