package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"slices"
	"time"

	"m2mbridge/bridge/fleet"
)

// Sim is `m2mbridge sim`.
type Sim struct {
	apiFlags
	scheduleFlags
	Devices     int           `default:"0" placeholder:"N" help:"Simulated devices. 0: 10, or 10000 with --sms."`
	Rate        float64       `default:"10" placeholder:"R" help:"Uplinks per second of all devices together. 0: as fast as they are answered."`
	Via         string        `enum:"http,mqtt" default:"http" help:"Protocol: http or mqtt."`
	For         time.Duration `default:"10s" placeholder:"D" help:"How long; 0: until interrupted."`
	Count       int           `placeholder:"N" help:"End after so many uplinks."`
	To          string        `placeholder:"URL" help:"Where to: http:// or mqtt://. Without it, the port of serve's default on this machine."`
	Seed        string        `default:"m2mbridge" help:"Devices of the same seed have the same secrets, run after run."`
	First       int           `default:"0" placeholder:"N" help:"Number of the first device, for fleets side by side."`
	Window      int           `default:"1" help:"Over MQTT, uplinks a device may have unacknowledged."`
	Connections int           `placeholder:"N" help:"Over HTTP, connections that the devices share. 0: one for each device."`
	Reconnect   bool          `help:"Over HTTP, a new connection for every uplink, as of devices that wake up."`
	Pack        string        `enum:"varied,reference" default:"varied" help:"Bodies: varied, of several kinds of device; or reference, 8 records in 302 bytes, as speed is measured with."`
	SMS         bool          `name:"sms" help:"Play the back-off of SMSs to devices that sleep instead, in virtual time and without a bridge."`
	Virtual     time.Duration `default:"0s" placeholder:"D" help:"How much virtual time, with --sms. 0: --sms-limit."`
}

// Help is the longer text of --help.
func (Sim) Help() string {
	return `With a key (--key, M2M_KEY or M2M_ADMIN_KEY) that may write devices it registers
the fleet first, under ids that begin with IMEI:35672610; without one they must be
registered from an earlier run. Exit code 1 if an uplink was not accepted. Some of
the bodies are heartbeats, which are accepted and stored nowhere: the report tells
how many. Examples:

  m2mbridge sim --devices 100 --rate 500 --for 30s --key KEY
  m2mbridge sim --via mqtt --devices 50 --rate 0 --window 16 --key KEY

--sms sends nothing: each device has one SMS, sleeps and wakes as its kind does, and
is tried as the schedule says, by an SMSC that holds each attempt for its validity.
How many devices there are of which kind is made up; the same --seed gives the same
report. Examples:

  m2mbridge sim --sms
  m2mbridge sim --sms --virtual 48h --sms-schedule 10m/2m,47h/1h --json`
}

// errNotAccepted ends `sim` when not all went well.
var errNotAccepted = errors.New("not every uplink was accepted")

// Run registers the fleet and lets it send.
func (c *Sim) Run(env *Env) error {
	if err := c.refuseMixed(env.Call); err != nil {
		return err
	}
	if c.SMS {
		return c.rehearse(env)
	}
	cfg, err := c.load()
	if err != nil {
		return err
	}
	if key := cmp.Or(c.Key, c.AdminKey); key != "" {
		client, err := c.client()
		if err != nil {
			return err
		}
		api := fleet.API{URL: client.base.String(), Key: client.key}
		if err := api.AddDevices(env.Ctx, cfg.Devices); err != nil {
			return fmt.Errorf("register the fleet at %s: %w", c.APIURL, err)
		}
		fmt.Fprintf(env.Stderr, "%d devices registered\n", len(cfg.Devices))
	}
	load, err := fleet.NewLoad(cfg)
	if err != nil {
		return Usagef("%w", err)
	}
	report := c.watch(env, load)
	if err := c.show(env.Stdout, report); err != nil {
		return err
	}
	if report.Failed["403"] > 0 {
		fmt.Fprintln(env.Stderr, "403 means that a device is unknown or its secret another: give --key to register the fleet")
	}
	if report.Failed["connection refused"] > 0 {
		fmt.Fprintf(env.Stderr, "no bridge answers at %s (--to says where to send; is the bridge running?)\n", cfg.Addr)
	}
	if report.Accepted != report.Sent || report.Failures() > 0 {
		return errNotAccepted
	}
	return nil
}

// load is the configuration of the run.
func (c *Sim) load() (fleet.LoadConfig, error) {
	addr, err := c.address()
	if err != nil {
		return fleet.LoadConfig{}, err
	}
	c.Devices = cmp.Or(c.Devices, 10)
	if c.Devices < 1 || c.Devices > 1_000_000 || c.First < 0 || c.Rate < 0 || c.Count < 0 {
		return fleet.LoadConfig{}, Usagef("--devices must be 1 to 1000000; --first, --rate and --count not below 0")
	}
	pack := fleet.Varied
	if c.Pack == "reference" {
		pack = fleet.Reference
	}
	return fleet.LoadConfig{
		Via: fleet.Via(c.Via), Addr: addr, Devices: fleet.Devices(c.Seed, c.First, c.Devices),
		Connections: c.Connections, Window: c.Window, PerRequest: c.Reconnect,
		Rate: c.Rate, Count: c.Count, For: c.For, Pack: pack,
	}, nil
}

// address is the host and port of --to; a scheme there settles the protocol.
func (c *Sim) address() (string, error) {
	ports := map[string]string{"http": "8080", "mqtt": "1883"}
	if c.To == "" {
		return "127.0.0.1:" + ports[c.Via], nil
	}
	u, err := url.Parse(c.To)
	if err != nil || u.Hostname() == "" || ports[u.Scheme] == "" {
		return "", Usagef("--to %q is no URL such as http://127.0.0.1:8080 or mqtt://127.0.0.1:1883", c.To)
	}
	c.Via = u.Scheme
	if u.Port() != "" {
		return u.Host, nil
	}
	return net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "mqtt": "1883"}[u.Scheme]), nil
}

// watch runs the load and shows its progress: a line that is written over on a
// terminal, else a line every five seconds. The first signal ends the load.
func (c *Sim) watch(env *Env, load *fleet.Load) fleet.Report {
	every, format := 5*time.Second, "%s\n"
	if isTerminal(env.Stderr) {
		every, format = 500*time.Millisecond, "\r%s\x1b[K"
		defer fmt.Fprint(env.Stderr, "\r\x1b[K")
	}
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	// What is in flight at a signal is waited for, as at the end of the time.
	defer context.AfterFunc(env.Ctx, load.Stop)()
	done := make(chan fleet.Report, 1)
	go func() { done <- load.Run(context.WithoutCancel(env.Ctx)) }()
	for {
		select {
		case report := <-done:
			return report
		case <-ticks.C:
			fmt.Fprintf(env.Stderr, format, progress(load.Report(), c.For))
		}
	}
}

// progress is one line of what has come so far.
func progress(r fleet.Report, of time.Duration) string {
	line := r.Elapsed.Round(time.Second).String()
	if of > 0 {
		line += " of " + of.String()
	}
	line += fmt.Sprintf(": %d accepted, %.0f/s, p50 %s, p99 %s", r.Accepted, r.Rate(),
		milliseconds(r.Latency.Quantile(0.5)), milliseconds(r.Latency.Quantile(0.99)))
	if n := r.Failures(); n > 0 {
		line += fmt.Sprintf(", %d FAILED", n)
	}
	return line
}

// simReport is the report in JSON; times are in milliseconds.
type simReport struct {
	Sent       uint64             `json:"sent"`
	Accepted   uint64             `json:"accepted"`
	Heartbeats uint64             `json:"heartbeats"` // of the sent
	Failed     map[string]uint64  `json:"failed"`     // by reason
	Elapsed    float64            `json:"elapsed"`
	Rate       float64            `json:"rate"` // accepted a second
	Latency    map[string]float64 `json:"latency,omitempty"`
}

func (c *Sim) show(w io.Writer, r fleet.Report) error {
	if !c.JSON {
		printReport(w, r)
		return nil
	}
	out := simReport{Sent: r.Sent, Accepted: r.Accepted, Heartbeats: r.Heartbeats, Failed: r.Failed, Elapsed: inMilliseconds(r.Elapsed), Rate: r.Rate()}
	if out.Failed == nil {
		out.Failed = map[string]uint64{}
	}
	if r.Accepted > 0 {
		out.Latency = map[string]float64{"max": inMilliseconds(r.Latency.Max())}
		for name, q := range map[string]float64{"p50": 0.5, "p90": 0.9, "p99": 0.99} {
			out.Latency[name] = inMilliseconds(r.Latency.Quantile(q))
		}
	}
	return json.NewEncoder(w).Encode(out)
}

func inMilliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}

// printReport is the table at the end.
func printReport(w io.Writer, r fleet.Report) {
	fmt.Fprintf(w, "sent      %d in %s\n", r.Sent, r.Elapsed.Round(10*time.Millisecond))
	fmt.Fprintf(w, "accepted  %d, %.1f/s\n", r.Accepted, r.Rate())
	if r.Heartbeats > 0 {
		fmt.Fprintf(w, "of those  %d heartbeats, which are accepted and stored nowhere\n", r.Heartbeats)
	}
	for _, reason := range slices.Sorted(maps.Keys(r.Failed)) {
		fmt.Fprintf(w, "failed    %d: %s\n", r.Failed[reason], reason)
	}
	if r.Accepted > 0 {
		fmt.Fprintf(w, "latency   p50 %s  p90 %s  p99 %s  max %s\n", milliseconds(r.Latency.Quantile(0.5)),
			milliseconds(r.Latency.Quantile(0.9)), milliseconds(r.Latency.Quantile(0.99)), milliseconds(r.Latency.Max()))
	}
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}
