package texter

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	attempts, receipts *prometheus.CounterVec
	parked             prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer, ready func() bool) *metrics {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "m2mbridge_sms_attempts_total", Help: "Attempts by SMS of this node, by what became of them."}, []string{"outcome"}),
		receipts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "m2mbridge_sms_receipts_total", Help: "Receipts that this node got of attempts that are known, by what they say."}, []string{"state"}),
		parked:   prometheus.NewCounter(prometheus.CounterOpts{Name: "m2mbridge_sms_receipts_unknown_total", Help: "Receipts of messages that nobody knew of when they came; they wait an hour for one who does."}),
	}
	gateway := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "m2mbridge_sms_gateway_ready", Help: "1 while the SMS gateway would take an SMS from this node, 0 while it is left alone."}, func() float64 {
		if ready() {
			return 1
		}
		return 0
	})
	if registerer != nil {
		registerer.MustRegister(m.attempts, m.receipts, m.parked, gateway)
	}
	return m
}
