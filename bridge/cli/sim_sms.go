package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"m2mbridge/bridge/flags"
	"m2mbridge/sms/rehearse"
)

// Flags of sim that mean something only with, or also with, --sms.
var (
	onlySMS = []string{"virtual", "sms-schedule", "sms-limit"}
	alsoSMS = []string{"sms", "devices", "seed", "json"}
)

// refuseMixed finds a flag that would be ignored.
func (c *Sim) refuseMixed(call *flags.Invocation) error {
	for _, f := range call.Command.Flags {
		if _, given := call.Given(f); !given {
			continue
		}
		switch only := slices.Contains(onlySMS, f.Name); {
		case only && !c.SMS:
			return Usagef("--%s means nothing without --sms", f.Name)
		case c.SMS && !only && !slices.Contains(alsoSMS, f.Name):
			return Usagef("--%s means nothing with --sms", f.Name)
		}
	}
	return nil
}

// rehearse plays SMSs in virtual time.
func (c *Sim) rehearse(env *Env) error {
	schedule, err := c.schedule()
	if err != nil {
		return err
	}
	cfg := rehearse.Config{Schedule: schedule, Devices: cmp.Or(c.Devices, 10_000), Seed: c.Seed, For: cmp.Or(c.Virtual, schedule.Limit())}
	if cfg.Devices < 1 || cfg.Devices > 1_000_000 || cfg.For < 0 {
		return Usagef("--devices must be 1 to 1000000; --virtual not below 0")
	}
	began := time.Now()
	report, err := rehearse.Run(cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Stderr, "%s of virtual time in %s\n", shortDuration(cfg.For), time.Since(began).Round(time.Millisecond))
	if c.JSON {
		return json.NewEncoder(env.Stdout).Encode(newRehearsal(cfg, report))
	}
	return printRehearsal(env.Stdout, cfg, report)
}

// rehearsal is the report in JSON; latencies are in seconds.
type rehearsal struct {
	Schedule  string             `json:"schedule"`
	Limit     string             `json:"limit"`
	Virtual   string             `json:"virtual"`
	Devices   int                `json:"devices"`
	Submits   int                `json:"submits"`
	Delivered int                `json:"delivered"`
	AtOnce    int                `json:"atOnce"`    // of the delivered; the SMSC held the others until the device woke
	Attempts  []int              `json:"byAttempt"` // delivered, the first attempt first
	Failed    int                `json:"failed"`
	Waiting   int                `json:"waiting"`
	Latency   map[string]float64 `json:"latency,omitempty"`
	Kinds     []rehearsalKind    `json:"kinds"`
}

type rehearsalKind struct {
	Name      string `json:"name"`
	Devices   int    `json:"devices"`
	Delivered int    `json:"delivered"`
	Failed    int    `json:"failed"`
}

var rehearsalQuantiles = []struct {
	name string
	q    float64
}{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"max", 1}}

func newRehearsal(cfg rehearse.Config, r *rehearse.Report) rehearsal {
	out := rehearsal{
		Schedule: cfg.Schedule.String(), Limit: shortDuration(cfg.Schedule.Limit()), Virtual: shortDuration(cfg.For),
		Devices: r.Devices, Submits: r.Submits, Delivered: r.Total(), AtOnce: r.AtOnce, Attempts: r.Delivered, Failed: r.Failed, Waiting: r.Waiting,
	}
	if r.Total() > 0 {
		out.Latency = map[string]float64{}
		for _, q := range rehearsalQuantiles {
			out.Latency[q.name] = r.Quantile(q.q).Seconds()
		}
	}
	for _, k := range r.Kinds {
		out.Kinds = append(out.Kinds, rehearsalKind{k.Name, k.Devices, k.Delivered, k.Failed})
	}
	return out
}

func printRehearsal(w io.Writer, cfg rehearse.Config, r *rehearse.Report) error {
	fmt.Fprintf(w, "devices    %d, one SMS each, by %s within %s\n", r.Devices, cfg.Schedule, shortDuration(cfg.Schedule.Limit()))
	fmt.Fprintf(w, "submits    %d, %.1f each\n", r.Submits, float64(r.Submits)/float64(r.Devices))
	fmt.Fprintf(w, "delivered  %d, %s; %d at once, %d when the device woke\n", r.Total(), percent(r.Total(), r.Devices), r.AtOnce, r.Total()-r.AtOnce)
	fmt.Fprintf(w, "FAILED     %d, %s\n", r.Failed, percent(r.Failed, r.Devices))
	if r.Waiting > 0 {
		fmt.Fprintf(w, "waiting    %d when the %s were over\n", r.Waiting, shortDuration(cfg.For))
	}
	if r.Total() > 0 {
		var latency []string
		for _, q := range rehearsalQuantiles {
			latency = append(latency, q.name+" "+shortDuration(r.Quantile(q.q).Round(time.Second)))
		}
		fmt.Fprintf(w, "latency    %s\n", strings.Join(latency, "  "))
	}
	fmt.Fprintln(w)
	if err := printKinds(w, r); err != nil {
		return err
	}
	fmt.Fprintln(w)
	t := newTable(w, "", "ATTEMPT", "AFTER", "DELIVERED", "SO FAR")
	sum := 0
	for i, after := range cfg.Schedule.Offsets() {
		sum += r.Delivered[i]
		if err := t.row(strconv.Itoa(i+1), shortDuration(after), strconv.Itoa(r.Delivered[i]), percent(sum, r.Devices)); err != nil {
			return err
		}
	}
	return t.end()
}

func printKinds(w io.Writer, r *rehearse.Report) error {
	t := newTable(w, "", "AWAKE", "DEVICES", "DELIVERED", "FAILED")
	for _, k := range r.Kinds {
		if err := t.row(k.Name, strconv.Itoa(k.Devices), strconv.Itoa(k.Delivered), strconv.Itoa(k.Failed)); err != nil {
			return err
		}
	}
	return t.end()
}

func percent(n, of int) string { return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(of)) }
