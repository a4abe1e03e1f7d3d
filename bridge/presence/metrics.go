package presence

import "github.com/prometheus/client_golang/prometheus"

type metrics struct{ takenOver prometheus.Counter }

func newMetrics(p *Presence, registerer prometheus.Registerer) *metrics {
	m := &metrics{takenOver: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "m2mbridge_presence_taken_over_total", Help: "MQTT sessions of devices ended since the device has a newer one on another node.",
	})}
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "m2mbridge_presence_" + name, Help: help, ConstLabels: labels}, value)
	}
	const devices = "Devices online: over MQTT those with a session on this node, over HTTP those that this node has heard of late."
	if registerer != nil {
		registerer.MustRegister(
			m.takenOver,
			gauge("devices", devices, prometheus.Labels{"via": viaMQTT}, func() float64 { return float64(p.links.online()) }),
			gauge("devices", devices, prometheus.Labels{"via": viaHTTP}, func() float64 { return float64(p.pulses.held()) }),
			gauge("waiting", "Changes of devices' presence that wait to be written.", nil, func() float64 { return float64(p.links.waiting() + p.pulses.waiting()) }),
		)
	}
	return m
}

// online is how many devices have a session here.
func (ls *links) online() (n int) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, l := range ls.of {
		if !l.ended {
			n++
		}
	}
	return n
}

func (ls *links) waiting() int {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return len(ls.queue)
}

func (ps *pulses) held() int {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return len(ps.holds)
}

func (ps *pulses) waiting() int {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return len(ps.heard)
}
