package bridge

import (
	"log/slog"
	"net/netip"
	"time"

	"m2mbridge/bridge/flags"
)

// Config is every setting of a running bridge. The tags make each field a
// flag, an environment variable and a TOML key of the flag's name; the command
// line gives a flag precedence over the environment over the file.
//
// A listener's address is host:port (port 0: any free one); empty or "off"
// means that it is not started.
type Config struct {
	Redis      string `name:"redis" env:"M2M_REDIS" default:"embedded" placeholder:"URL" group:"Store" help:"Where everything is kept: redis://[user:password@]host:port[/db], rediss:// for TLS, unix:///path, redis+sentinel://host:port,…/master, redis+cluster://host:port,…, or embedded: an own redis-server where one is installed, else this process's memory, lost at exit."`
	Data       string `name:"data" env:"M2M_DATA" placeholder:"DIR" group:"Store" help:"Directory of the embedded redis-server. Empty: $XDG_DATA_HOME/m2mbridge, else ~/.local/share/m2mbridge."`
	Partitions int    `name:"partitions" env:"M2M_PARTITIONS" default:"1" group:"Store" help:"Hash tags that devices are spread over, 1 to 4096; more than 1 is of use with Redis Cluster only, and the same for all nodes, for ever."`

	UplinksMax int64         `name:"uplinks-max" env:"M2M_UPLINKS_MAX" default:"1000000" group:"Streams" help:"Entries kept in each partition's stream of uplinks, about. 0: no limit."`
	UplinksAge time.Duration `name:"uplinks-age" env:"M2M_UPLINKS_AGE" default:"168h" group:"Streams" help:"How long uplinks are kept. 0: no limit."`
	KeepRaw    bool          `name:"keep-raw" env:"M2M_KEEP_RAW" negatable:"" default:"false" group:"Streams" help:"Keep the bytes the device sent beside the normalised pack."`
	RejectsMax int64         `name:"rejects-max" env:"M2M_REJECTS_MAX" default:"10000" group:"Streams" help:"Entries kept in each partition's stream of rejected messages, about. 0: rejects are not kept."`
	RejectRate int           `name:"reject-rate" env:"M2M_REJECT_RATE" default:"2000" group:"Streams" help:"Rejected messages written per second, at most; what is above is only counted. 0: no limit."`
	EventsMax  int64         `name:"events-max" env:"M2M_EVENTS_MAX" default:"100000" group:"Streams" help:"Entries kept in each partition's stream of events, about. 0: no limit."`

	HTTP               string        `name:"http" env:"M2M_HTTP" default:"127.0.0.1:8080" placeholder:"ADDR" group:"Devices over HTTP" help:"Address for devices' uplinks over HTTP."`
	MaxBody            Size          `name:"max-body" env:"M2M_MAX_BODY" default:"64KiB" placeholder:"SIZE" group:"Devices over HTTP" help:"Largest body of an uplink, on HTTP and MQTT."`
	HTTPMaxConnections int           `name:"http-max-connections" env:"M2M_HTTP_MAX_CONNECTIONS" default:"10000" group:"Devices over HTTP" help:"Connections open at once; a further one takes the place of an idle one, or is told to try again. 0: no limit."`
	HTTPHeaderTimeout  time.Duration `name:"http-header-timeout" env:"M2M_HTTP_HEADER_TIMEOUT" default:"10s" group:"Devices over HTTP" help:"Time for a request's header to arrive. 0: no limit."`
	HTTPReadTimeout    time.Duration `name:"http-read-timeout" env:"M2M_HTTP_READ_TIMEOUT" default:"30s" group:"Devices over HTTP" help:"Time for a whole request to arrive. 0: no limit."`
	HTTPIdleTimeout    time.Duration `name:"http-idle-timeout" env:"M2M_HTTP_IDLE_TIMEOUT" default:"2m" group:"Devices over HTTP" help:"How long a connection is kept for its next request. 0: no limit."`
	TrailingNUL        bool          `name:"trailing-nul" env:"M2M_TRAILING_NUL" negatable:"" default:"true" group:"Devices over HTTP" help:"Accept one NUL after the pack, which some devices count into the body."`

	MQTT               string `name:"mqtt" env:"M2M_MQTT" default:"127.0.0.1:1883" placeholder:"ADDR" group:"MQTT" help:"Address for MQTT over TCP, devices and apps."`
	MQTTTLS            string `name:"mqtt-tls" env:"M2M_MQTT_TLS" placeholder:"ADDR" group:"MQTT" help:"Address for MQTT over TLS; needs --tls-cert and --tls-key. Empty: none."`
	MQTTWS             string `name:"mqtt-ws" env:"M2M_MQTT_WS" placeholder:"ADDR" group:"MQTT" help:"Address for MQTT over WebSocket, without TLS. Empty: none."`
	TLSCert            string `name:"tls-cert" env:"M2M_TLS_CERT" placeholder:"FILE" group:"MQTT" help:"PEM file of the certificate and its chain."`
	TLSKey             string `name:"tls-key" env:"M2M_TLS_KEY" placeholder:"FILE" group:"MQTT" help:"PEM file of the certificate's private key."`
	MQTTMaxConnections int    `name:"mqtt-max-connections" env:"M2M_MQTT_MAX_CONNECTIONS" default:"100000" group:"MQTT" help:"Connections open at once, over all MQTT listeners; further ones are closed. 0: no limit."`
	MQTTReceiveMaximum int    `name:"mqtt-receive-maximum" env:"M2M_MQTT_RECEIVE_MAXIMUM" default:"64" group:"MQTT" help:"Publishes of QoS 1 and 2 that one client may have unacknowledged, 1 to 65535."`
	MQTTMaxPacket      Size   `name:"mqtt-max-packet" env:"M2M_MQTT_MAX_PACKET" default:"0" placeholder:"SIZE" group:"MQTT" help:"Largest packet taken from a client. 0: --max-body and 4KiB for topic and properties."`

	SessionExpiry time.Duration `name:"session-expiry" env:"M2M_SESSION_EXPIRY" default:"168h" group:"MQTT" help:"Longest time that an app's session is kept without a connection; it is what a 3.1.1 client with clean session 0 gets. 0: none outlives its connection."`

	API       string `name:"api" env:"M2M_API" default:"127.0.0.1:8081" placeholder:"ADDR" group:"API" help:"Address for apps: API, metrics, health."`
	AdminKey  string `name:"admin-key" env:"M2M_ADMIN_KEY" secret:"" placeholder:"KEY" group:"API" help:"Key of the admin, who may do everything. Empty: generated at start and printed once."`
	SecretKey string `name:"secret-key" env:"M2M_SECRET_KEY" secret:"" placeholder:"KEY" group:"API" help:"Encrypts devices' secrets in Redis; the same on all nodes. Empty: they are kept as they are."`

	AppRate     float64 `name:"app-rate" env:"M2M_APP_RATE" default:"200" group:"API" help:"Requests per second that each app, the admin too, may make of this node's API, twice as many at once; an app's own limit wins over it. 0: no limit."`
	TraceMemory Size    `name:"trace-memory" env:"M2M_TRACE_MEMORY" default:"32MiB" placeholder:"SIZE" group:"API" help:"Memory for the last steps of each device's messages, which tail --device and /v1/trace show; the device that was quiet the longest goes first. 0: none are kept."`

	Profile       string         `name:"profile" env:"M2M_PROFILE" default:"kpn" placeholder:"kpn|strict" group:"Uplinks" help:"SenML packs taken: strict is RFC 8428 to the letter; kpn also takes heartbeats (packs of base fields only), either base64 alphabet, ThingsML's i_ and an exponent's upper-case E."`
	Once          string         `name:"once" env:"M2M_ONCE" default:"dedupe" placeholder:"off|observe|dedupe|enforce" group:"Uplinks" help:"The same bytes from the same device, if they fix their time: off stores each; observe stores each and counts; dedupe stores them once; enforce also refuses packs older than the newest by more than --tolerance."`
	OnceWindow    int            `name:"once-window" env:"M2M_ONCE_WINDOW" default:"16" group:"Uplinks" help:"How many of its last uplinks each device's repeats are recognised among, 1 to 10000."`
	Tolerance     time.Duration  `name:"tolerance" env:"M2M_TOLERANCE" default:"10m" group:"Uplinks" help:"How much older than the device's newest a pack may be with --once=enforce."`
	DeviceRate    float64        `name:"device-rate" env:"M2M_DEVICE_RATE" default:"0" group:"Uplinks" help:"Uplinks per second that each device may send. 0: no limit."`
	DeviceBurst   int            `name:"device-burst" env:"M2M_DEVICE_BURST" default:"0" group:"Uplinks" help:"Uplinks that a device may send at once with --device-rate. 0: the rate rounded up."`
	RevealUnknown bool           `name:"reveal-unknown" env:"M2M_REVEAL_UNKNOWN" negatable:"" default:"false" group:"Uplinks" help:"Answer 404 for an unknown device instead of the 403 of a wrong token."`
	UnsignedFrom  []netip.Prefix `name:"unsigned-from" env:"M2M_UNSIGNED_FROM" placeholder:"CIDR,…" group:"Uplinks" help:"Networks from which devices marked unsigned may send without a token. Empty: none."`
	DeviceCache   Size           `name:"device-cache" env:"M2M_DEVICE_CACHE" default:"64MiB" placeholder:"SIZE" group:"Uplinks" help:"Memory for what is cached of devices. 0: nothing is cached."`

	DownlinkLease   time.Duration `name:"downlink-lease" env:"M2M_DOWNLINK_LEASE" default:"30s" group:"Downlinks" help:"How long the outcome of handing a downlink over is awaited; after that nobody knows whether it arrived, and it is handed over again. Below 10s a device that is slow to acknowledge its answer may get it twice."`
	DownlinkAckWait time.Duration `name:"downlink-ack-wait" env:"M2M_DOWNLINK_ACK_WAIT" default:"10m" group:"Downlinks" help:"How long a device has to acknowledge a downlink with ack, once it took it; after that it is handed over again."`

	SMS           string        `name:"sms" env:"M2M_SMS" default:"loopback:" placeholder:"URL" group:"SMS" help:"How SMS go: loopback: only shows them in the log (?receipt=delivered|undelivered|expired|rejected|none&after=2s), smpp://system_id:password@host:2775 or smpps:// is an SMSC over SMPP 3.4, http:FILE.toml an operator's HTTP API; off: none are sent."`
	SMSOriginator string        `name:"sms-originator" env:"M2M_SMS_ORIGINATOR" default:"5277" placeholder:"NUMBER" group:"SMS" help:"Whom devices see as the sender: 3 to 15 digits, or up to 11 letters and digits."`
	SMSSchedule   string        `name:"sms-schedule" env:"M2M_SMS_SCHEDULE" default:"5m/1m,1h/10m,12h/1h,36h/4h" placeholder:"FOR/EVERY,…" group:"SMS" help:"When an SMS is tried again: at once, then every minute for 5 minutes, every 10 for an hour, and so on. See sms plan."`
	SMSLimit      time.Duration `name:"sms-limit" env:"M2M_SMS_LIMIT" default:"48h" group:"SMS" help:"When an SMS is given up, counted from its first attempt."`
	SMSErrors     string        `name:"sms-errors" env:"M2M_SMS_ERRORS" placeholder:"CODE=CLASS,…" group:"SMS" help:"What a gateway's errors mean, where not what they usually do: temporary, permanent or throttled, such as ESME_RINVDSTADR=permanent,0x0B=temporary."`
	SMSWakeText   string        `name:"sms-wake-text" env:"M2M_SMS_WAKE_TEXT" default:"wake" placeholder:"TEXT" group:"SMS" help:"What the SMS says that wakes a device up for a downlink with wake."`

	Pprof     string     `name:"pprof" env:"M2M_PPROF" placeholder:"ADDR" group:"Log" help:"Address of Go's profiler, which asks for no key: keep it on 127.0.0.1. Empty: none."`
	LogLevel  slog.Level `name:"log-level" env:"M2M_LOG_LEVEL" default:"info" placeholder:"debug|info|warn|error" group:"Log" help:"Least important messages that are logged."`
	LogFormat string     `name:"log-format" env:"M2M_LOG_FORMAT" default:"text" placeholder:"text|json" group:"Log" help:"Form of the lines on standard error."`
}

// DefaultConfig is what serve runs with when nothing is set.
func DefaultConfig() (Config, error) {
	var c Config
	err := flags.Defaults(&c)
	return c, err
}

// Off tells whether a listener's address says that it is not wanted.
func Off(address string) bool { return address == "" || address == "off" }

// MaxPacket is the largest MQTT packet taken from a client.
func (c *Config) MaxPacket() int64 {
	if c.MQTTMaxPacket == 0 {
		return int64(c.MaxBody) + 4<<10
	}
	return int64(c.MQTTMaxPacket)
}
