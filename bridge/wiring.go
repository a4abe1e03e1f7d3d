package bridge

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"m2mbridge/auth"
	"m2mbridge/bridge/ingest"
	"m2mbridge/bridge/latest"
	"m2mbridge/bridge/session"
	"m2mbridge/bridge/stream"
	"m2mbridge/bridge/trace"
	"m2mbridge/bridge/uplink"
	"m2mbridge/broker"
	"m2mbridge/senml"
)

func (b *Bridge) uplinkConfig(keys auth.Keyspace, metrics prometheus.Registerer) uplink.Config {
	c := b.cfg
	profile := senml.KPN
	if c.Profile == "strict" {
		profile = senml.Strict
	}
	return uplink.Config{
		Trace:  b.tracer(),
		Client: b.store.Client, Keys: keys, Registry: b.registry, Log: b.log,
		SenML: senml.Options{Profile: profile},
		Once:  uplink.Once(c.Once), Window: c.OnceWindow, Tolerance: c.Tolerance,
		KeepRaw: c.KeepRaw, MaxUplinks: c.UplinksMax, MaxAge: c.UplinksAge,
		MaxRejects: c.RejectsMax, RejectRate: float64(c.RejectRate),
		DeviceRate: c.DeviceRate, DeviceBurst: c.DeviceBurst,
		MaxBody: int(c.MaxBody), RevealUnknown: c.RevealUnknown, TrailingNUL: c.TrailingNUL, UnsignedFrom: c.UnsignedFrom,
		Metrics: uplink.NewMetrics(metrics), Downlinks: b.downlinks,
		OnCommit: func(done uplink.Commit) { // by what is made later
			b.fanout.Committed(done)
			b.presence.Committed(done)
		},
		Newest: func(p int) string { return b.fanout.Newest(p) },
	}
}

func (b *Bridge) brokerConfig(tlsConfig *tlsConfig) broker.Config {
	c := b.cfg
	return broker.Config{
		Registry: b.registry, Log: b.log, TLS: tlsConfig,
		Submit: b.submit, Downlink: b.createDownlink, Reject: b.rejectMQTT,
		Presence: connections{b.presence, b.trace}, Retained: b.presence.Retained,
		Ready: b.courier.Ready, Taken: ingest.Taken,
		Source: b.fanout, Keeper: b.sessions, Share: b.shares, OnGap: b.fanout.Gap, OnDelivered: b.onDelivered(),
		SessionExpiry: c.SessionExpiry,
		MaxPacket:     int(c.MaxPacket()), ReceiveMaximum: c.MQTTReceiveMaximum, MaxConnections: c.MQTTMaxConnections,
		ShutdownGrace: grace,
	}
}

// event passes on what is new in the events streams.
func (b *Bridge) event(entries []stream.Entry) {
	b.presence.Events(entries)
	b.courier.Events(entries)
}

// latestConfig has what is kept of devices read from memory, and written beside
// what devices wait for.
func (b *Bridge) latestConfig(keys auth.Keyspace, metrics prometheus.Registerer) latest.Config {
	return latest.Config{
		Client: b.store.Reader, Keys: keys, Metrics: metrics, Log: b.log,
		Changed: b.fanout.Changed, Follow: b.fanout.Follow, Recent: b.fanout.Entries,
	}
}

func (b *Bridge) watchConfig(keys auth.Keyspace, metrics prometheus.Registerer) session.WatchConfig {
	c := b.cfg
	return session.WatchConfig{
		Client: b.store.Client, Keys: keys, Apps: b.registry, Keeper: b.sessions, Metrics: metrics, Log: b.log,
		UplinksMax: c.UplinksMax, UplinksAge: c.UplinksAge, RejectsMax: c.RejectsMax, EventsMax: c.EventsMax,
	}
}

// nodeName tells this process from others on this machine and elsewhere.
func nodeName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown" // the name is for people only
	}
	return host + ":" + strconv.Itoa(os.Getpid())
}

// submit hands a device's publish to the uplink path.
func (b *Bridge) submit(u broker.Uplink, done func(broker.Outcome)) {
	m := &uplink.Message{
		Via: uplink.MQTT, Remote: u.Remote, Body: u.Payload, Token: u.Token, HasToken: u.HasToken, Login: u.Device,
	}
	b.uplinks.Submit(context.Background(), m, func(v uplink.Verdict) { done(outcome(v)) })
}

// MQTT 5 reason codes of refusals (DESIGN §5).
const (
	codeImplementation = 0x83 // implementation specific: the reason says it
	codeNotAuthorized  = 0x87
	codeQuotaExceeded  = 0x97
	codePayloadInvalid = 0x99
)

// outcome spells a verdict for MQTT.
func outcome(v uplink.Verdict) broker.Outcome {
	o := broker.Outcome{Reason: v.Detail}
	switch v.Outcome {
	case uplink.Unavailable:
		o.Unavailable = true
	case uplink.BadPack:
		o.Code = codePayloadInvalid
	case uplink.TokenMissing, uplink.Forbidden, uplink.Unknown:
		o.Code = codeNotAuthorized
	case uplink.RateLimited:
		o.Code = codeQuotaExceeded
	}
	return o
}

// rejectMQTT writes what the broker refused by itself to the rejects stream.
func (b *Bridge) rejectMQTT(r broker.Refusal) {
	detail := r.Detail
	if r.App != "" { // as given, perhaps by a stranger
		detail = fmt.Sprintf("app %.64q: %s", r.App, detail)
	}
	b.uplinks.Reject(uplink.Reject{
		Device: string(r.Device), Via: uplink.MQTT, At: time.Now(),
		Reason: r.Reason, Detail: detail, Remote: r.Remote, Body: r.Body,
	})
	if b.trace != nil && r.Device != "" {
		b.trace.Note(r.Device, trace.Claimed, trace.Connection, "refused: "+r.Reason+", from "+r.Remote)
	}
}

// cacheBytes is the registry's bound; there 0 is the default, here none.
func cacheBytes(c Config) int64 {
	if c.DeviceCache == 0 {
		return -1
	}
	return int64(c.DeviceCache)
}
