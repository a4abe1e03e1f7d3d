package bridge

import (
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"time"

	"m2mbridge/sms"
)

// SettingError is what is wrong with the setting of a key. Who knows where its
// value comes from can say so beside the key.
type SettingError struct{ Key, Reason string }

func (e *SettingError) Error() string { return e.Key + ": " + e.Reason }

const maxPartitions = 4096

func refuse(key, format string, args ...any) error {
	return &SettingError{key, fmt.Sprintf(format, args...)}
}

// Validate finds settings that cannot be, alone or together. The error names
// every key at fault, one a line; they are joined [SettingError]s.
func (c *Config) Validate() error {
	return errors.Join(
		c.checkChoices(), c.checkRanges(), c.checkDurations(), c.checkListeners(), c.checkPairs(), c.checkSMS(),
	)
}

func (c *Config) checkChoices() error {
	return errors.Join(
		oneOf("profile", c.Profile, "kpn", "strict"),
		oneOf("once", c.Once, "off", "observe", "dedupe", "enforce"),
		oneOf("log-format", c.LogFormat, "text", "json"),
	)
}

func (c *Config) checkSMS() error {
	var errs []error
	if _, err := c.schedule(); err != nil {
		errs = append(errs, refuse("sms-schedule", "%v", err))
	}
	if _, err := sms.ParseClasses(c.SMSErrors); err != nil {
		errs = append(errs, refuse("sms-errors", "%v", err))
	}
	if err := sms.CheckOriginator(c.SMSOriginator); err != nil {
		errs = append(errs, refuse("sms-originator", "%v", err))
	}
	if !strings.HasPrefix(c.SMS, "http:") { // else its file and the secrets in it are for who serves to read
		if _, err := c.openGateway(sms.Options{}); err != nil && len(errs) == 0 {
			errs = append(errs, refuse("sms", "%v", err))
		}
	}
	if n, err := sms.Parts(c.SMSWakeText, nil); err != nil || n > 1 {
		errs = append(errs, refuse("sms-wake-text", "it does not fit one SMS"))
	}
	return errors.Join(errs...)
}

func oneOf(key, value string, choices ...string) error {
	if slices.Contains(choices, value) {
		return nil
	}
	return refuse(key, "%q is none of %s", value, strings.Join(choices, ", "))
}

func (c *Config) checkRanges() error {
	const unlimited = 1 << 60
	var errs []error
	for _, n := range []struct {
		key              string
		value, low, high int64
	}{
		{"partitions", int64(c.Partitions), 1, maxPartitions},
		{"uplinks-max", c.UplinksMax, 0, unlimited},
		{"rejects-max", c.RejectsMax, 0, unlimited},
		{"reject-rate", int64(c.RejectRate), 0, unlimited},
		{"events-max", c.EventsMax, 0, unlimited},
		{"max-body", int64(c.MaxBody), 1, 64 << 20},
		{"http-max-connections", int64(c.HTTPMaxConnections), 0, unlimited},
		{"mqtt-max-connections", int64(c.MQTTMaxConnections), 0, unlimited},
		{"mqtt-receive-maximum", int64(c.MQTTReceiveMaximum), 1, 65535}, // MQTT 5 §3.2.2.3.3
		{"mqtt-max-packet", c.MaxPacket(), 1 << 10, 268435455 + 5},      // MQTT 5 §1.5.5
		{"once-window", int64(c.OnceWindow), 1, 10000},
		{"device-burst", int64(c.DeviceBurst), 0, unlimited},
		{"device-cache", int64(c.DeviceCache), 0, unlimited},
		{"trace-memory", int64(c.TraceMemory), 0, 1 << 40},
	} {
		switch {
		case n.value < n.low:
			errs = append(errs, refuse(n.key, "%d is below %d", n.value, n.low))
		case n.value > n.high:
			errs = append(errs, refuse(n.key, "%d is above %d", n.value, n.high))
		}
	}
	for _, r := range []struct {
		key   string
		value float64
	}{{"device-rate", c.DeviceRate}, {"app-rate", c.AppRate}} {
		if !(r.value >= 0 && r.value <= 1e6) { // NaN is neither
			errs = append(errs, refuse(r.key, "%v is not between 0 and 1000000", r.value))
		}
	}
	return errors.Join(errs...)
}

// maxSessionExpiry is the longest that MQTT can say without saying for ever
// (MQTT 5 §3.1.2.11.2), in whole hours.
const maxSessionExpiry = (math.MaxUint32 - 1) * time.Second / time.Hour * time.Hour

func (c *Config) checkDurations() error {
	var errs []error
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"uplinks-age", c.UplinksAge}, {"tolerance", c.Tolerance},
		{"http-header-timeout", c.HTTPHeaderTimeout}, {"http-read-timeout", c.HTTPReadTimeout},
		{"http-idle-timeout", c.HTTPIdleTimeout}, {"session-expiry", c.SessionExpiry},
	} {
		if d.value < 0 {
			errs = append(errs, refuse(d.key, "%v is negative", d.value))
		}
	}
	if c.SessionExpiry > maxSessionExpiry {
		errs = append(errs, refuse("session-expiry", "%v is above %v", c.SessionExpiry, maxSessionExpiry))
	}
	if c.DownlinkAckWait < time.Second || c.DownlinkAckWait > 48*time.Hour {
		errs = append(errs, refuse("downlink-ack-wait", "%v is not between %v and %v", c.DownlinkAckWait, time.Second, 48*time.Hour))
	}
	if c.DownlinkLease < time.Second || c.DownlinkLease > time.Hour {
		errs = append(errs, refuse("downlink-lease", "%v is not between %v and %v", c.DownlinkLease, time.Second, time.Hour))
	}
	return errors.Join(errs...)
}

func (c *Config) checkListeners() error {
	var errs []error
	seen := map[string]string{}
	for _, l := range []struct{ key, address string }{
		{"http", c.HTTP}, {"api", c.API}, {"mqtt", c.MQTT}, {"mqtt-tls", c.MQTTTLS}, {"mqtt-ws", c.MQTTWS}, {"pprof", c.Pprof},
	} {
		if Off(l.address) {
			continue
		}
		_, port, err := net.SplitHostPort(l.address)
		if err != nil {
			errs = append(errs, refuse(l.key, "%q is no host:port", l.address))
			continue
		}
		if other, taken := seen[l.address]; taken && port != "0" {
			errs = append(errs, refuse(l.key, "%s is the address of %s too", l.address, other))
		}
		seen[l.address] = l.key
	}
	if len(seen) == 0 && len(errs) == 0 {
		errs = append(errs, refuse("http, api, mqtt, mqtt-tls, mqtt-ws", "at least one listener is needed"))
	}
	return errors.Join(errs...)
}

func (c *Config) checkPairs() error {
	var errs []error
	for _, pair := range []struct {
		impossible bool
		key, why   string
	}{
		{c.Redis == "", "redis", `empty; write "embedded" or a URL`},
		{c.Redis != "embedded" && c.Data != "", "data", `is of use with redis = "embedded" only`},
		{c.TLSCert != "" && c.TLSKey == "", "tls-key", "missing beside tls-cert"},
		{c.TLSCert == "" && c.TLSKey != "", "tls-cert", "missing beside tls-key"},
		{!Off(c.MQTTTLS) && c.TLSCert == "", "tls-cert", "needed by mqtt-tls"},
		{Off(c.MQTTTLS) && c.TLSCert != "", "mqtt-tls", "needed by tls-cert, which nothing else uses"},
		{c.DeviceBurst > 0 && c.DeviceRate == 0, "device-burst", "is of use with device-rate only"},
		{
			c.HTTPReadTimeout > 0 && c.HTTPHeaderTimeout > c.HTTPReadTimeout,
			"http-header-timeout", "is longer than http-read-timeout, which includes it",
		},
		{c.MaxPacket() < int64(c.MaxBody), "mqtt-max-packet", "is smaller than max-body"},
	} {
		if pair.impossible {
			errs = append(errs, refuse(pair.key, "%s", pair.why))
		}
	}
	return errors.Join(errs...)
}
