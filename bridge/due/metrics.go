package due

import "github.com/prometheus/client_golang/prometheus"

// metrics are a worker's.
type metrics struct {
	claims, bare, lapsed, refused prometheus.Counter
	late                          prometheus.Histogram
}

func newMetrics(registerer prometheus.Registerer, kind Kind) *metrics {
	labels := prometheus.Labels{"kind": string(kind)}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "m2mbridge_due_" + name, Help: help, ConstLabels: labels})
	}
	m := &metrics{
		claims:  counter("claimed_total", "Due entries that this node has claimed."),
		bare:    counter("without_data_total", "Due entries without data that this node has come across; doctor mends them."),
		lapsed:  counter("lapsed_total", "Claims that this node could not settle while Redis was away; their entries come again."),
		refused: counter("refused_total", "Claims that were not this node's any more when it settled them."),
		late: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "m2mbridge_due_late_seconds", Help: "How late the first entry of each claim was.", ConstLabels: labels,
			Buckets: []float64{.001, .002, .004, .008, .016, .064, .25, 1, 4, 16, 64, 256},
		}),
	}
	if registerer != nil {
		registerer.MustRegister(m.claims, m.bare, m.lapsed, m.refused, m.late)
	}
	return m
}

func (m *metrics) claimed(b Batch) {
	if n := len(b.Claims); n > 0 {
		m.claims.Add(float64(n))
		m.late.Observe(b.Late.Seconds())
	}
	m.bare.Add(float64(b.Bare))
}
