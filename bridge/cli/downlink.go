package cli

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"m2mbridge/bridge/api"
)

// Downlink is `m2mbridge downlink`.
type Downlink struct {
	Add    DownlinkAdd    `cmd:"" help:"Queue a message to a device."`
	Get    DownlinkGet    `cmd:"" help:"Show a downlink, why it is not moving, and what happened to it."`
	List   DownlinkList   `cmd:"" help:"List downlinks, the newest first."`
	Cancel DownlinkCancel `cmd:"" help:"Cancel a downlink that is not being handed over."`
}

// DownlinkAdd is `m2mbridge downlink add`.
type DownlinkAdd struct {
	apiFlags
	Device      string        `arg:"" help:"Device id."`
	Measurement []string      `arg:"" optional:"" placeholder:"NAME[,UNIT]=VALUE" help:"Values to send, as send takes them: a number, true or false, or text."`
	Pack        string        `placeholder:"FILE" help:"Send the SenML pack of this file instead; - is standard input."`
	Channel     string        `enum:"http,mqtt,sms,any" default:"any" help:"The way it may go: http, in the answer to the device's next uplink; mqtt; sms, the pack as an SMS; or any, whichever contact over http or mqtt comes first."`
	TTL         time.Duration `name:"ttl" default:"0s" help:"How long it may wait. 0: the bridge's 48h."`
	NotBefore   string        `placeholder:"INSTANT|DURATION" help:"It goes at this instant (RFC 3339) at the earliest, or after so long, such as 10m."`
	Priority    int           `default:"5" help:"0 to 9: of a device's downlinks those of the highest go first."`
	Ack         bool          `help:"It has succeeded when the device sends a record named downlinkAck with its id."`
	Wake        bool          `help:"Wake the device up by SMS while it waits for it."`
	KeyID       string        `name:"key-id" placeholder:"TEXT" help:"Idempotency key: a second add with it makes no second downlink."`
}

// Help is the longer text of --help.
func (DownlinkAdd) Help() string {
	return `It prints the downlink's id and state. Text and octets go with sms add. Examples:

  m2mbridge downlink add IMEI:356726104408422 led=true interval,s=600
  m2mbridge downlink add IMEI:356726104408422 --channel http --not-before 10m reboot=true
  m2mbridge downlink add IMEI:356726104408422 --channel http --wake reboot=true
  m2mbridge downlink add IMEI:356726104408422 --pack - < pack.json`
}

// Run creates the downlink.
func (c *DownlinkAdd) Run(env *Env) error {
	in, err := c.input(env.Stdin, time.Now())
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	return c.addDownlink(env, client, "/v1/downlinks", in)
}

// addDownlink creates one at a path, and tells its id, state and what it waits for.
func (f *apiFlags) addDownlink(env *Env, client *apiClient, path string, in *api.DownlinkInput) error {
	body, err := client.call(env.Ctx, request{method: http.MethodPost, path: path, body: in})
	if err != nil || f.JSON {
		return printJSON(env.Stdout, body, err)
	}
	var d api.Downlink
	if err := json.Unmarshal(body, &d); err != nil {
		return fmt.Errorf("read downlink: %w", err)
	}
	fmt.Fprintf(env.Stdout, "%s %s\n", printable(d.ID), d.State)
	if d.Reason != "" {
		fmt.Fprintf(env.Stdout, "it %s\n", printable(d.Reason))
	}
	return nil
}

func (c *DownlinkAdd) input(stdin io.Reader, now time.Time) (*api.DownlinkInput, error) {
	in := &api.DownlinkInput{
		Device: c.Device, Channel: c.Channel, Priority: &c.Priority, IdempotencyKey: c.KeyID, Ack: c.Ack, Wake: c.Wake,
	}
	if c.TTL != 0 {
		in.TTL = c.TTL.String()
	}
	var err error
	if in.NotBefore, err = earliest(c.NotBefore, now); err != nil {
		return nil, err
	}
	in.Pack, err = c.pack(stdin)
	return in, err
}

// earliest reads an instant, or how long it is until then.
func earliest(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(d), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, Usagef("--not-before %q is neither an instant such as 2026-01-31T08:00:00Z nor a duration such as 10m", text)
	}
	return at, nil
}

// pack is that of the measurements, or of a file.
func (c *DownlinkAdd) pack(stdin io.Reader) (api.DownlinkPack, error) {
	switch {
	case c.Pack != "" && len(c.Measurement) > 0:
		return nil, Usagef("give measurements or --pack, not both")
	case c.Pack == "" && len(c.Measurement) == 0:
		return nil, Usagef("nothing to send: give measurements such as led=true, or a file with --pack")
	case c.Pack != "":
		return readPack(c.Pack, stdin)
	}
	records := make([]string, len(c.Measurement))
	for i, m := range c.Measurement {
		r, err := measurement(m)
		if err != nil {
			return nil, err
		}
		records[i] = "{" + r
	}
	return api.DownlinkPack("[" + strings.Join(records, ",") + "]"), nil
}

// maxPackFile is far more than any pack that a device can take.
const maxPackFile = 64 << 10

func readPack(name string, stdin io.Reader) (api.DownlinkPack, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read pack: %w", err)
		}
		defer func() { _ = f.Close() }()
		stdin = f
	}
	text, err := readBody(stdin)
	if err != nil {
		return nil, err
	}
	if len(text) > maxPackFile || !json.Valid(text) {
		return nil, Usagef("--pack %s: it is no JSON of at most %d bytes", name, maxPackFile)
	}
	return text, nil
}

// DownlinkGet is `m2mbridge downlink get`.
type DownlinkGet struct {
	apiFlags
	ID string `arg:"" help:"Downlink id."`
}

// Help is the longer text of --help.
func (DownlinkGet) Help() string {
	return `Example:

  m2mbridge downlink get 0-mih6f3x9wq7f2m4c6s8t2`
}

// Run shows the downlink.
func (c *DownlinkGet) Run(env *Env) error { return c.getDownlink(env, "/v1/downlinks", c.ID) }

func (f *apiFlags) getDownlink(env *Env, path, id string) error {
	client, err := f.client()
	if err != nil {
		return err
	}
	body, err := client.call(env.Ctx, request{method: http.MethodGet, path: downlinkPath(path, id)})
	if err != nil || f.JSON {
		return printJSON(env.Stdout, body, err)
	}
	var d api.Downlink
	if err := json.Unmarshal(body, &d); err != nil {
		return fmt.Errorf("read downlink: %w", err)
	}
	showDownlink(env.Stdout, &d)
	return nil
}

func downlinkPath(path, id string) string { return path + "/" + url.PathEscape(id) }

func showDownlink(w io.Writer, d *api.Downlink) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-10s %s\n", name, printable(value))
		}
	}
	at := func(name string, t time.Time) {
		if !t.IsZero() {
			line(name, second(t))
		}
	}
	line("id", d.ID)
	line("device", d.Device)
	line("state", string(d.State))
	line("cause", d.Cause)
	line("reason", d.Reason)
	line("channel", string(d.Channel))
	line("pack", string(d.Pack))
	line("text", d.Text)
	line("data", hex.EncodeToString(d.Data))
	line("priority", strconv.Itoa(d.Priority))
	if d.Ack {
		line("ack", "by the device")
	}
	if d.Wake {
		line("wake", "by SMS")
	}
	if d.SMS != nil {
		line("sms", smsLine(d.SMS))
	}
	line("app", d.App)
	line("key id", d.IdempotencyKey)
	line("attempts", strconv.Itoa(d.Attempts))
	line("via", string(d.Via))
	at("handed", d.HandedAt)
	at("created", d.CreatedAt)
	at("not before", d.NotBefore)
	at("expires", d.ExpiresAt)
	at("modified", d.ModifiedAt)
	showTimeline(w, d.Timeline)
}

// smsLine is how it stands with the attempts by SMS.
func smsLine(s *api.DownlinkSMS) string {
	text := s.State + ", " + strconv.Itoa(s.Attempts) + " attempts"
	if s.Attempts == 1 {
		text = s.State + ", 1 attempt"
	}
	for _, part := range []struct {
		name string
		at   time.Time
	}{{"first", s.FirstAt}, {"next", s.NextAt}, {"until", s.LimitAt}} {
		if !part.at.IsZero() {
			text += ", " + part.name + " " + second(part.at)
		}
	}
	return text
}

// showTimeline shows what happened to a downlink, a step a line.
func showTimeline(w io.Writer, steps []api.DownlinkStep) {
	if len(steps) == 0 {
		return
	}
	fmt.Fprintln(w, "timeline")
	rows := make([][]string, len(steps))
	for i, s := range steps {
		rows[i] = []string{"  " + second(s.At), printable(s.What), printable(s.Text)}
	}
	widths := widthsOf(rows)
	for _, cells := range rows {
		fmt.Fprintln(w, lineOf(cells, widths))
	}
}

// DownlinkList is `m2mbridge downlink list`.
type DownlinkList struct {
	apiFlags
	Device  string   `placeholder:"ID" help:"Only this device's."`
	State   []string `enum:"QUEUED,EXECUTING,SUCCEEDED,FAILED,EXPIRED,CANCELLED" placeholder:"QUEUED,EXECUTING,…" help:"Only those in one of these states."`
	Channel []string `enum:"http,mqtt,sms,any" placeholder:"http,mqtt,…" help:"Only those of one of these channels."`
	Limit   int      `default:"0" placeholder:"N" help:"How many to list at most. 0: all."`
}

// Help is the longer text of --help.
func (DownlinkList) Help() string {
	return `Example, what waits for a device:

  m2mbridge downlink list --device IMEI:356726104408422 --state QUEUED,EXECUTING`
}

// Run lists downlinks, the newest first.
func (c *DownlinkList) Run(env *Env) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	query := queryOf("device", c.Device, "state", strings.Join(c.State, ","), "channel", strings.Join(c.Channel, ","))
	t := newTable(env.Stdout, "no downlinks", "ID", "DEVICE", "STATE", "CHANNEL", "CREATED", "WHY")
	err = client.list(env.Ctx, "/v1/downlinks", query, c.Limit, func(item json.RawMessage) error {
		if c.JSON {
			return printJSON(env.Stdout, item, nil)
		}
		var d api.Downlink
		if err := json.Unmarshal(item, &d); err != nil {
			return fmt.Errorf("read downlink: %w", err)
		}
		return t.row(d.ID, d.Device, string(d.State), string(d.Channel), second(d.CreatedAt), cmp.Or(d.Reason, d.Cause))
	})
	if err != nil || c.JSON {
		return err
	}
	return t.end()
}

// queryOf is of pairs of a name and a value; what is empty is left out.
func queryOf(pairs ...string) url.Values {
	query := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			query.Set(pairs[i], pairs[i+1])
		}
	}
	return query
}

// DownlinkCancel is `m2mbridge downlink cancel`.
type DownlinkCancel struct {
	apiFlags
	ID string `arg:"" help:"Downlink id."`
}

// Help is the longer text of --help.
func (DownlinkCancel) Help() string {
	return `Example:

  m2mbridge downlink cancel 0-mih6f3x9wq7f2m4c6s8t2`
}

// Run cancels the downlink.
func (c *DownlinkCancel) Run(env *Env) error { return c.cancelDownlink(env, "/v1/downlinks", c.ID) }

func (f *apiFlags) cancelDownlink(env *Env, path, id string) error {
	client, err := f.client()
	if err != nil {
		return err
	}
	if _, err := client.call(env.Ctx, request{method: http.MethodDelete, path: downlinkPath(path, id)}); err != nil {
		return err
	}
	if f.JSON {
		return json.NewEncoder(env.Stdout).Encode(map[string]string{"cancelled": id})
	}
	fmt.Fprintf(env.Stdout, "cancelled %s\n", printable(id))
	return nil
}
