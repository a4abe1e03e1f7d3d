package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"m2mbridge/auth"
)

// Send is `m2mbridge send`.
type Send struct {
	Device    string        `required:"" placeholder:"ID" help:"Device to send as."`
	Secret    string        `env:"M2M_SECRET" secret:"" placeholder:"SECRET" help:"Its shared secret."`
	Via       string        `enum:"http,mqtt" default:"http" help:"Protocol: http or mqtt."`
	To        string        `placeholder:"URL" help:"Where to: http://, https://, mqtt:// or mqtts://; it overrides --via. Without it, the port of serve's default on this machine."`
	Token     string        `placeholder:"TOKEN" help:"Send this token instead of the right one."`
	NoToken   bool          `help:"Send no token."`
	TokenOnly bool          `help:"Print the token of the body that would be sent, and send nothing."`
	Now       bool          `help:"Put the present time into a body made of measurements (bt)."`
	Wait      time.Duration `default:"0s" help:"Over MQTT, wait so long for a downlink."`
	Timeout   time.Duration `default:"10s" help:"Give up after this time."`
	JSON      bool          `name:"json" help:"Print JSON: what came of it, or the token with --token-only."`

	Measurement []string `arg:"" optional:"" placeholder:"NAME[,UNIT]=VALUE" help:"Measurements to send: a number, true or false, or text, in quotation marks where it could be taken for one of those. Without any, the body is read from standard input, byte for byte."`
}

// Help is the longer text of --help.
func (Send) Help() string {
	return `It prints the whole exchange, the token shortened, and ends with exit code 1
when the uplink is refused. Examples:

  export M2M_SECRET=...
  m2mbridge send --device IMEI:356726104408422 temperature,Cel=21.5 door=true 'code="007"'
  m2mbridge send --device IMEI:356726104408422 --via mqtt < body.json`
}

// exchange is one uplink to be sent, and where its exchange is shown.
type exchange struct {
	device   auth.DeviceID
	secret   string
	to       *url.URL
	token    string
	hasToken bool
	body     []byte
	wait     time.Duration
	w        io.Writer
	result   sendResult
}

// sendResult is what came of an uplink, in JSON.
type sendResult struct {
	Device    string   `json:"device"`
	To        string   `json:"to"`
	Accepted  bool     `json:"accepted"`
	Status    int      `json:"status,omitempty"` // of HTTP
	Code      string   `json:"code,omitempty"`   // of MQTT: the last packet's, in hex
	Reason    string   `json:"reason,omitempty"`
	Downlinks []string `json:"downlinks"` // bodies
}

// errRefused ends `send` when the bridge did not take the uplink.
var errRefused = errors.New("refused")

// Run sends one uplink.
func (c *Send) Run(env *Env) error {
	x, err := c.prepare(env)
	if err != nil {
		return err
	}
	if c.TokenOnly && c.JSON {
		return json.NewEncoder(env.Stdout).Encode(map[string]string{"token": x.token})
	}
	if c.TokenOnly {
		_, err := fmt.Fprintln(env.Stdout, x.token)
		return err
	}
	ctx, cancel := context.WithTimeout(env.Ctx, c.Timeout+c.Wait)
	defer cancel()
	if strings.HasPrefix(x.to.Scheme, "mqtt") {
		err = x.overMQTT(ctx)
	} else {
		err = x.overHTTP(ctx)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer from %s within %s", x.to.Redacted(), c.Timeout)
	}
	if c.JSON && (err == nil || errors.Is(err, errRefused)) {
		x.result.Accepted = err == nil
		return errors.Join(json.NewEncoder(env.Stdout).Encode(x.result), err)
	}
	return err
}

// prepare settles what is to be sent, and where.
func (c *Send) prepare(env *Env) (*exchange, error) {
	id, err := auth.ParseDeviceID(c.Device)
	if err != nil {
		return nil, Usagef("--device %q: %w", c.Device, err)
	}
	to, err := c.destination()
	if err != nil {
		return nil, err
	}
	x := &exchange{device: id, secret: c.Secret, to: to, wait: c.Wait, w: env.Stdout}
	x.result = sendResult{Device: string(id), To: to.Redacted(), Downlinks: []string{}}
	if c.JSON {
		x.w = io.Discard // the exchange is for people
	}
	if x.body, err = c.body(id, env.Stdin); err != nil {
		return nil, err
	}
	switch {
	case c.Token != "" && c.NoToken:
		return nil, Usagef("--token and --no-token exclude each other")
	case c.Token != "":
		x.token = c.Token
	case c.Secret != "":
		x.token = auth.Token(x.body, c.Secret)
	case !c.NoToken || c.TokenOnly:
		return nil, Usagef("no secret: give --secret or M2M_SECRET, or --token, or --no-token")
	}
	x.hasToken = !c.NoToken
	if strings.HasPrefix(to.Scheme, "mqtt") && c.Secret == "" && !c.TokenOnly {
		return nil, Usagef("MQTT needs the device's secret for its login: --secret or M2M_SECRET")
	}
	return x, nil
}

func (c *Send) destination() (*url.URL, error) {
	to := c.To
	switch {
	case to != "":
	case c.Via == "mqtt":
		to = "mqtt://127.0.0.1:1883"
	default:
		to = "http://127.0.0.1:8080"
	}
	u, err := url.Parse(to)
	if err != nil || u.Host == "" {
		return nil, Usagef("--to %q is no URL such as http://127.0.0.1:8080", to)
	}
	switch u.Scheme {
	case "http", "https", "mqtt", "mqtts":
		return u, nil
	}
	return nil, Usagef("--to %q: the scheme must be http, https, mqtt or mqtts", to)
}

// body is the pack of the measurements given, else what stands on standard input.
func (c *Send) body(id auth.DeviceID, stdin io.Reader) ([]byte, error) {
	if len(c.Measurement) == 0 {
		body, err := readBody(stdin)
		if errors.Is(err, ErrUsage) {
			return nil, Usagef("nothing to send: give measurements such as temperature,Cel=21.5, or a body on standard input")
		}
		return body, err
	}
	records := make([]string, 0, len(c.Measurement))
	for _, m := range c.Measurement {
		r, err := measurement(m)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	base := `{"bn":"` + id.BaseName() + `",`
	if c.Now {
		base += `"bt":` + strconv.FormatInt(time.Now().Unix(), 10) + `,`
	}
	return []byte("[" + base + strings.Join(records, ",{") + "]"), nil
}

// measurement is the record of NAME[,UNIT]=VALUE without its opening brace.
func measurement(text string) (string, error) {
	name, value, ok := strings.Cut(text, "=")
	name, unit, hasUnit := strings.Cut(name, ",")
	if !ok || name == "" {
		return "", Usagef("measurement %q is not of the form NAME=VALUE or NAME,UNIT=VALUE", text)
	}
	out := `"n":` + quote(name)
	if hasUnit {
		out += `,"u":` + quote(unit)
	}
	typed, err := typedValue(value)
	if err != nil {
		return "", Usagef(`measurement %[1]q: %[2]w; as text it is quoted, for the shell too: '%[3]s="%[4]s"'`, text, err, strings.TrimSuffix(text, "="+value), value)
	}
	return out + "," + typed + "}", nil
}

// typedValue is the field of a record for a value as one types it. A number's
// text is kept. What is a number elsewhere but none in JSON (RFC 8259 §6) is
// neither sent as a text nor mended.
func typedValue(value string) (string, error) {
	var number json.Number
	var text string
	switch {
	case value == "true", value == "false":
		return `"vb":` + value, nil
	case strings.HasPrefix(value, `"`):
		if json.Unmarshal([]byte(value), &text) == nil {
			value = text
		}
	case json.Unmarshal([]byte(value), &number) == nil && value != "null":
		return `"v":` + strings.TrimSpace(value), nil
	case meansNumber(value):
		return "", fmt.Errorf("%s is no number in JSON", value)
	}
	return `"vs":` + quote(value), nil
}

// meansNumber takes NaN, Inf, +1, 01, .5, 0x10 and the like.
func meansNumber(value string) bool {
	value = strings.TrimSpace(value)
	_, notFloat := strconv.ParseFloat(value, 64)
	_, notInt := strconv.ParseInt(value, 0, 64)
	return notFloat == nil || notInt == nil || errors.Is(notFloat, strconv.ErrRange)
}

// quote writes a JSON string as a device would: nothing escaped that need not be.
func quote(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return `""` // a string can always be encoded
	}
	return strings.TrimSpace(b.String())
}

// short keeps tokens from being replayed off a screen.
func short(token string) string {
	if len(token) <= 12 {
		return token
	}
	return token[:8] + "…"
}

// show prints lines of one direction, > or <.
func (x *exchange) show(direction byte, text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(x.w, "%c %s\n", direction, printable(strings.TrimRight(line, "\r\n")))
	}
}
