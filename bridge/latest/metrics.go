package latest

import "github.com/prometheus/client_golang/prometheus"

// metrics are a Projector's.
type metrics struct {
	lag, partitions prometheus.Gauge
	uplinks         prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		lag:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "m2mbridge_latest_lag_seconds", Help: "Age of the oldest uplink that this node has read for the latest values and not written yet."}),
		partitions: prometheus.NewGauge(prometheus.GaugeOpts{Name: "m2mbridge_latest_partitions", Help: "Partitions whose latest values this node writes."}),
		uplinks:    prometheus.NewCounter(prometheus.CounterOpts{Name: "m2mbridge_latest_uplinks_total", Help: "Uplinks that this node has read for the latest values."}),
	}
	if reg != nil {
		reg.MustRegister(m.lag, m.partitions, m.uplinks)
	}
	return m
}
