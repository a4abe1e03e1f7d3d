package api

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"
)

// metrics are the API's own.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	live     prometheus.Gauge
	sent     *prometheus.CounterVec
	limited  *prometheus.CounterVec
}

func newMetrics(registry *prometheus.Registry, client redis.UniversalClient) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "m2mbridge_api_requests_total", Help: "Requests of apps, by operation and status.",
		}, []string{"operation", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "m2mbridge_api_request_seconds", Help: "Time to answer a request, live streams aside.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}, []string{"operation"}),
		live: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "m2mbridge_api_live_streams", Help: "Clients of /v1/live that are connected.",
		}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "m2mbridge_api_live_sent_total", Help: "Messages sent to clients of /v1/live, by type.",
		}, []string{"type"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "m2mbridge_api_limited_total", Help: "Requests refused because their app made too many, by app.",
		}, []string{"app"}),
	}
	all := []prometheus.Collector{
		m.requests, m.seconds, m.live, m.sent, m.limited, newPoolCollector(client),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}
	for _, c := range all {
		var already prometheus.AlreadyRegisteredError
		if err := registry.Register(c); err != nil && !errors.As(err, &already) {
			return nil, err
		}
	}
	return m, nil
}

// observe counts an answered request. The pattern stands for the path, whose
// variety has no bound.
func (m *metrics) observe(pattern string, status int, took time.Duration) {
	if pattern == "" {
		pattern = "none"
	}
	m.requests.WithLabelValues(pattern, strconv.Itoa(status)).Inc()
	if pattern != livePattern {
		m.seconds.WithLabelValues(pattern).Observe(took.Seconds())
	}
}

// poolCollector shows a Redis client's connection pool.
type poolCollector struct {
	client redis.UniversalClient
	hits, misses, timeouts, waits, waitSeconds,
	total, idle, stale, unusable *prometheus.Desc
}

func newPoolCollector(client redis.UniversalClient) *poolCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("m2mbridge_redis_pool_"+name, help, nil, nil)
	}
	return &poolCollector{
		client:      client,
		hits:        desc("hits_total", "Times a free connection was found."),
		misses:      desc("misses_total", "Times no free connection was found."),
		timeouts:    desc("timeouts_total", "Times no connection became free in time."),
		waits:       desc("waits_total", "Times a connection was waited for."),
		waitSeconds: desc("wait_seconds_total", "Time spent waiting for connections."),
		total:       desc("connections", "Connections open."),
		idle:        desc("connections_idle", "Connections open and not in use."),
		stale:       desc("stale_total", "Connections dropped as stale."),
		unusable:    desc("unusable_total", "Connections found broken."),
	}
}

// Describe is part of prometheus.Collector.
func (c *poolCollector) Describe(ch chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(c, ch)
}

// Collect is part of prometheus.Collector.
func (c *poolCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.client.PoolStats()
	counter := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v)
	}
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	counter(c.hits, float64(s.Hits))
	counter(c.misses, float64(s.Misses))
	counter(c.timeouts, float64(s.Timeouts))
	counter(c.waits, float64(s.WaitCount))
	counter(c.waitSeconds, time.Duration(s.WaitDurationNs).Seconds())
	counter(c.stale, float64(s.StaleConns))
	counter(c.unusable, float64(s.Unusable))
	gauge(c.total, float64(s.TotalConns))
	gauge(c.idle, float64(s.IdleConns))
}
