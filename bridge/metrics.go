package bridge

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"m2mbridge/auth"
	"m2mbridge/bridge/trace"
	"m2mbridge/broker"
)

// collector turns the counters that auth and broker keep into metrics, so that
// those packages need not know how they are shown.
type collector struct {
	registry *auth.Registry
	broker   *broker.Broker
	trace    *trace.Trace // nil: there is none
	refused  *prometheus.Desc
}

func newCollector(r *auth.Registry, b *broker.Broker, t *trace.Trace) *collector {
	return &collector{r, b, t, prometheus.NewDesc("m2mbridge_mqtt_refused_total", "MQTT logins and publishes refused, by MQTT 5 reason code.", []string{"code"}, nil)}
}

// sample is one metric without labels.
type sample struct {
	name, help string
	kind       prometheus.ValueType
	value      float64
}

func (c *collector) samples() []sample {
	const count, gauge = prometheus.CounterValue, prometheus.GaugeValue
	r, b := c.registry.Stats(), c.broker.Stats()
	lease := 0.0
	if r.LeaseValid {
		lease = 1
	}
	var t trace.Stats
	if c.trace != nil {
		t = c.trace.Stats()
	}
	return []sample{
		{"m2mbridge_trace_devices", "Devices whose last steps are remembered.", gauge, float64(t.Devices)},
		{"m2mbridge_trace_bytes", "Memory of the steps, bounded by --trace-memory.", gauge, float64(t.Bytes)},
		{"m2mbridge_trace_evictions_total", "Devices whose steps were forgotten for others'.", count, float64(t.Evicted)},
		{"m2mbridge_registry_hits_total", "Devices found in the cache.", count, float64(r.Hits)},
		{"m2mbridge_registry_misses_total", "Devices not found in the cache.", count, float64(r.Misses)},
		{"m2mbridge_registry_loads_total", "Devices read from Redis.", count, float64(r.Loads)},
		{"m2mbridge_registry_load_errors_total", "Devices that could not be read from Redis.", count, float64(r.LoadErrors)},
		{"m2mbridge_registry_busy_total", "Refusals that could not be checked for too many at once.", count, float64(r.Busy)},
		{"m2mbridge_registry_drops_total", "Times the whole cache was dropped since a change could have been missed.", count, float64(r.Drops)},
		{"m2mbridge_registry_evictions_total", "Devices evicted from the cache.", count, float64(r.Evictions)},
		{"m2mbridge_registry_cached_devices", "Devices in the cache.", gauge, float64(r.Entries)},
		{"m2mbridge_registry_cache_bytes", "Memory of the cache.", gauge, float64(r.Bytes)},
		{"m2mbridge_registry_lease_valid", "1 while the cache may be trusted.", gauge, lease},
		{"m2mbridge_mqtt_connections", "Open MQTT connections.", gauge, float64(b.Connections)},
		{"m2mbridge_mqtt_device_sessions", "MQTT sessions of devices.", gauge, float64(b.Devices)},
		{"m2mbridge_mqtt_app_sessions", "MQTT sessions of apps.", gauge, float64(b.Apps)},
		{"m2mbridge_mqtt_subscriptions", "Subscriptions of all sessions.", gauge, float64(b.Subscriptions)},
		{"m2mbridge_mqtt_uplinks_in_flight", "Uplinks over MQTT without a verdict.", gauge, float64(b.InFlight)},
		{"m2mbridge_mqtt_accepted_total", "MQTT connections accepted.", count, float64(b.Accepted)},
		{"m2mbridge_mqtt_turned_away_total", "MQTT connections closed because of a limit.", count, float64(b.Turned)},
		{"m2mbridge_mqtt_taken_over_total", "MQTT sessions ended by a new one of the same client.", count, float64(b.TakenOver)},
		{"m2mbridge_mqtt_cut_total", "MQTT connections cut because the peer took nothing.", count, float64(b.Cut)},
		{"m2mbridge_mqtt_panics_total", "MQTT connections ended by a packet the decoder could not take.", count, float64(b.Panics)},
		{"m2mbridge_mqtt_published_total", "Publishes of MQTT clients.", count, float64(b.Published)},
		{"m2mbridge_mqtt_delivered_total", "Messages given to MQTT connections.", count, float64(b.Delivered)},
		{"m2mbridge_mqtt_gaps_total", "Times a session was told that it missed messages.", count, float64(b.Gaps)},
		{"m2mbridge_mqtt_missed_total", "Entries of streams that sessions missed.", count, float64(b.Missed)},
		{"m2mbridge_mqtt_pages_total", "Pages of streams read for sessions that were behind.", count, float64(b.Pages)},
	}
}

// Describe leaves the collector unchecked: its samples are fixed.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the counters.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.samples() {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(s.name, s.help, nil, nil), s.kind, s.value)
	}
	for code, n := range c.broker.Stats().Refused {
		ch <- prometheus.MustNewConstMetric(c.refused, prometheus.CounterValue, float64(n), fmt.Sprintf("0x%02X", code))
	}
}
