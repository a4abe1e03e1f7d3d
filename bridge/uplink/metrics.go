package uplink

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of the uplink path.
type Metrics struct {
	uplinks   [2][len(outcomeNames)]prometheus.Counter // by via and outcome
	rejects   *prometheus.CounterVec
	untold    prometheus.Counter
	observed  prometheus.Counter
	batches   prometheus.Histogram
	durations prometheus.Histogram
}

// NewMetrics registers the metrics with reg; nil keeps them to themselves.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		rejects:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "m2mbridge_rejects_total", Help: "Refused messages, logins and requests by reason, as in the rejects stream."}, []string{"via", "reason"}),
		untold:   prometheus.NewCounter(prometheus.CounterOpts{Name: "m2mbridge_rejects_suppressed_total", Help: "Rejects that were counted but not written to the rejects stream."}),
		observed: prometheus.NewCounter(prometheus.CounterOpts{Name: "m2mbridge_repeats_observed_total", Help: "Uplinks stored although they repeat an earlier one (mode observe)."}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "m2mbridge_commit_batch_uplinks", Help: "Uplinks stored by one round trip to Redis.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 9)}),
		durations: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "m2mbridge_uplink_seconds", Help: "Seconds from the receipt of an accepted uplink to its verdict.",
			Buckets: prometheus.ExponentialBuckets(0.000125, 2, 14)}),
	}
	total := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "m2mbridge_uplinks_total", Help: "Uplinks by edge and outcome."}, []string{"via", "outcome"})
	for i, via := range [...]Via{HTTP, MQTT} {
		for o, name := range outcomeNames {
			m.uplinks[i][o] = total.WithLabelValues(string(via), name)
		}
	}
	if reg != nil {
		reg.MustRegister(total, m.rejects, m.untold, m.observed, m.batches, m.durations)
	}
	return m
}

func (m *Metrics) counter(via Via, o Outcome) prometheus.Counter {
	if via == MQTT {
		return m.uplinks[1][o]
	}
	return m.uplinks[0][o]
}

func (m *Metrics) accepted(via Via, v Verdict, at time.Time) {
	m.counter(via, v.Outcome).Inc()
	if v.observed {
		m.observed.Inc()
	}
	m.durations.Observe(time.Since(at).Seconds())
}

// refused counts a refusal. Reasons are a closed set of codes, so their number is bounded.
func (m *Metrics) refused(via Via, r *Refusal) {
	m.counter(via, r.Outcome).Inc()
	m.rejected(via, r.Reason)
}

func (m *Metrics) rejected(via Via, reason string) {
	m.rejects.WithLabelValues(string(via), reason).Inc()
}

func (m *Metrics) batch(n int)      { m.batches.Observe(float64(n)) }
func (m *Metrics) suppressed(n int) { m.untold.Add(float64(n)) }
