package bridge_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"m2mbridge/bridge"
)

func TestDefaultConfig(t *testing.T) {
	t.Setenv("M2M_PARTITIONS", "7") // the environment is the command line's business
	c := defaults(t)
	if err := c.Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	if c.Partitions != 1 || c.MaxBody != 64<<10 || c.UplinksAge != 168*time.Hour || c.SessionExpiry != 168*time.Hour || !c.TrailingNUL {
		t.Errorf("%+v", c)
	}
	if c.MaxPacket() != 68<<10 {
		t.Errorf("largest packet %d", c.MaxPacket())
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*bridge.Config)
		says string
	}{
		{"profile", func(c *bridge.Config) { c.Profile = "loose" }, `profile: "loose" is none of kpn, strict`},
		{"once", func(c *bridge.Config) { c.Once = "" }, `once: "" is none of off`},
		{"log format", func(c *bridge.Config) { c.LogFormat = "xml" }, "log-format: "},
		{"no partitions", func(c *bridge.Config) { c.Partitions = 0 }, "partitions: 0 is below 1"},
		{"many partitions", func(c *bridge.Config) { c.Partitions = 4097 }, "partitions: 4097 is above 4096"},
		{"negative length", func(c *bridge.Config) { c.UplinksMax = -1 }, "uplinks-max: -1 is below 0"},
		{"no body", func(c *bridge.Config) { c.MaxBody = 0 }, "max-body: 0 is below 1"},
		{"receive maximum", func(c *bridge.Config) { c.MQTTReceiveMaximum = 65536 }, "mqtt-receive-maximum: 65536 is above"},
		{"rate", func(c *bridge.Config) { c.DeviceRate = -0.5 }, "device-rate: -0.5 is not between"},
		{"rate of apps", func(c *bridge.Config) { c.AppRate = math.NaN() }, "app-rate: NaN is not between"},
		{"age", func(c *bridge.Config) { c.UplinksAge = -time.Second }, "uplinks-age: -1s is negative"},
		{"session expiry", func(c *bridge.Config) { c.SessionExpiry = -time.Second }, "session-expiry: -1s is negative"},
		{"session expiry for ever", func(c *bridge.Config) { c.SessionExpiry = 1193047 * time.Hour }, "session-expiry: 1193047h0m0s is above 1193046h0m0s"},
		{"no lease", func(c *bridge.Config) { c.DownlinkLease = 0 }, "downlink-lease: 0s is not between 1s and 1h0m0s"},
		{"address", func(c *bridge.Config) { c.HTTP = "8080" }, `http: "8080" is no host:port`},
		{"same address", func(c *bridge.Config) { c.API = c.HTTP }, "api: 127.0.0.1:8080 is the address of http too"},
		{"no listener", func(c *bridge.Config) { c.HTTP, c.API, c.MQTT = "off", "off", "" }, "at least one listener"},
		{"no store", func(c *bridge.Config) { c.Redis = "" }, "redis: empty"},
		{"data of a server", func(c *bridge.Config) { c.Redis, c.Data = "redis://h", "/d" }, "data: is of use with redis"},
		{"certificate alone", func(c *bridge.Config) { c.MQTTTLS, c.TLSCert = ":8883", "c" }, "tls-key: missing beside tls-cert"},
		{"key alone", func(c *bridge.Config) { c.MQTTTLS, c.TLSKey = ":8883", "k" }, "tls-cert: missing beside tls-key"},
		{"TLS without certificate", func(c *bridge.Config) { c.MQTTTLS = ":8883" }, "tls-cert: needed by mqtt-tls"},
		{"certificate for nothing", func(c *bridge.Config) { c.TLSCert, c.TLSKey = "c", "k" }, "mqtt-tls: needed by tls-cert"},
		{"burst without rate", func(c *bridge.Config) { c.DeviceBurst = 3 }, "device-burst: is of use with device-rate"},
		{"header slower than all", func(c *bridge.Config) { c.HTTPHeaderTimeout = time.Minute }, "http-header-timeout: is longer"},
		{"packet below body", func(c *bridge.Config) { c.MQTTMaxPacket = 2048 }, "mqtt-max-packet: is smaller than max-body"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := defaults(t)
			c.set(&cfg)
			if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

func TestValidateNamesAll(t *testing.T) {
	cfg := defaults(t)
	cfg.Profile, cfg.Partitions, cfg.DeviceBurst = "", 0, 1
	if err := cfg.Validate(); err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("%v", err)
	}
}

func TestValidateTakes(t *testing.T) {
	for name, set := range map[string]func(*bridge.Config){
		"free ports twice": func(c *bridge.Config) { c.HTTP, c.API = "127.0.0.1:0", "127.0.0.1:0" },
		"TLS":              func(c *bridge.Config) { c.MQTTTLS, c.TLSCert, c.TLSKey = ":8883", "c", "k" },
		"MQTT alone":       func(c *bridge.Config) { c.HTTP, c.API = "off", "" },
		"no limits": func(c *bridge.Config) {
			c.UplinksMax, c.UplinksAge, c.HTTPReadTimeout, c.HTTPMaxConnections = 0, 0, 0, 0
		},
	} {
		cfg := defaults(t)
		set(&cfg)
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]bridge.Size{
		"0": 0, "65536": 65536, "64KiB": 65536, "64kib": 65536, "64k": 65536, "1.5MB": 1500000, " 2 GiB ": 2 << 30, "7b": 7, "1T": 1 << 40,
	} {
		var got bridge.Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
		var again bridge.Size
		if err := again.UnmarshalText([]byte(want.String())); err != nil || again != want {
			t.Errorf("%d is written %s, read %d", want, want, again)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "1 KB s", "NaN", "Inf", "9e99", "0x10MiBB"} {
		var got bridge.Size
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken as %d", text, got)
		}
	}
}

func defaults(t *testing.T) bridge.Config {
	t.Helper()
	c, err := bridge.DefaultConfig()
	if err != nil {
		t.Fatal(err)
	}
	return c
}
