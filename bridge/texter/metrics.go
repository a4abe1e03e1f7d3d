package texter

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	attempts, receipts *prometheus.CounterVec
	parked             prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "m2mbridge_sms_attempts_total", Help: "Attempts by SMS of this node, by what became of them."}, []string{"outcome"}),
		receipts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "m2mbridge_sms_receipts_total", Help: "Receipts that this node got of attempts that are known, by what they say."}, []string{"state"}),
		parked:   prometheus.NewCounter(prometheus.CounterOpts{Name: "m2mbridge_sms_receipts_unknown_total", Help: "Receipts of messages that nobody knew of when they came; they wait an hour for one who does."}),
	}
	if registerer != nil {
		registerer.MustRegister(m.attempts, m.receipts, m.parked)
	}
	return m
}
