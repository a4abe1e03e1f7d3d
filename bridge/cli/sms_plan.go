package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"m2mbridge/sms"
)

// SMSPlan is `m2mbridge sms plan`.
type SMSPlan struct {
	scheduleFlags
	Start string          `placeholder:"INSTANT" help:"When the first attempt is made (RFC 3339). Empty: now."`
	Awake []sms.TimeOfDay `placeholder:"HH:MM/LENGTH" help:"The device listens each day from then for so long, such as 06:00/10m; may be given several times."`
	Zone  string          `default:"Local" placeholder:"ZONE" help:"Time zone of --awake and of the table: Local, UTC, or a name such as Europe/Amsterdam."`
	JSON  bool            `name:"json" help:"Print JSON."`
}

// Help is the longer text of --help.
func (SMSPlan) Help() string {
	return `The SMSC keeps an attempt for a little less than the time to the next, and brings
it to the device as soon as it listens; so an attempt is heard if the device is
awake when it is made, or wakes before the SMSC gives it up. An SMSC that keeps
nothing reaches those attempts only at which the device is awake. Examples:

  m2mbridge sms plan
  m2mbridge sms plan --start 2026-03-01T12:00:00Z --awake 06:00/10m --awake 18:00/10m --zone UTC`
}

// plan is the plan in JSON.
type plan struct {
	Schedule string        `json:"schedule"`
	Limit    string        `json:"limit"`
	Start    time.Time     `json:"start"`
	Attempts []planAttempt `json:"attempts"`
	FailedAt time.Time     `json:"failedAt"`
	Heard    *planHeard    `json:"heard,omitempty"` // null with no --awake, or if no attempt is
}

type planAttempt struct {
	Attempt   int        `json:"attempt"` // from 1
	After     string     `json:"after"`
	At        time.Time  `json:"at"`
	Validity  string     `json:"validity"`
	HeldUntil time.Time  `json:"heldUntil"`
	Awake     *bool      `json:"awake,omitempty"` // the device, when the attempt is made; with --awake only
	HeardAt   *time.Time `json:"heardAt,omitempty"`
}

// planHeard is the first attempt that is heard, which makes the others needless.
type planHeard struct {
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at"`
	After   string    `json:"after"`
}

// Run prints the plan.
func (c *SMSPlan) Run(env *Env) error {
	p, err := c.plan(time.Now())
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(env.Stdout).Encode(p)
	}
	return c.print(env.Stdout, p)
}

func (c *SMSPlan) plan(now time.Time) (*plan, error) {
	schedule, err := c.schedule()
	if err != nil {
		return nil, err
	}
	zone, err := time.LoadLocation(c.Zone)
	if err != nil {
		return nil, Usagef("--zone %q: %w", c.Zone, err)
	}
	start := now.Truncate(time.Second)
	if c.Start != "" {
		if start, err = time.Parse(time.RFC3339, c.Start); err != nil {
			return nil, Usagef("--start %q is no instant such as 2026-01-31T08:00:00Z", c.Start)
		}
	}
	start = start.In(zone)
	p := &plan{Schedule: schedule.String(), Limit: shortDuration(schedule.Limit()), Start: start, FailedAt: start.Add(schedule.Limit())}
	for i, at := range schedule.Instants(start) {
		next, _, _ := schedule.Next(start, at)
		a := planAttempt{Attempt: i + 1, After: shortDuration(at.Sub(start)), At: at, Validity: shortDuration(sms.Validity(at, next)), HeldUntil: at.Add(sms.Validity(at, next))}
		if len(c.Awake) > 0 {
			p.listen(&a, sms.Days{Times: c.Awake, Zone: zone})
		}
		p.Attempts = append(p.Attempts, a)
	}
	return p, nil
}

// listen finds out when the device hears the attempt.
func (p *plan) listen(a *planAttempt, device sms.Awake) {
	from, _, ok := device.Next(a.At)
	awake := ok && !from.After(a.At)
	a.Awake = &awake
	heard, ok := sms.Hears(device, a.At, a.HeldUntil)
	if !ok {
		return
	}
	a.HeardAt = &heard
	if p.Heard == nil {
		p.Heard = &planHeard{Attempt: a.Attempt, At: heard, After: shortDuration(heard.Sub(p.Start))}
	}
}

const planTime = "Mon 2006-01-02 15:04:05"

func (c *SMSPlan) print(w io.Writer, p *plan) error {
	head := []string{"ATTEMPT", "AFTER", "AT", "HELD UNTIL"}
	if len(c.Awake) > 0 {
		head = append(head, "AWAKE", "HEARD")
	}
	t := newTable(w, "", head...)
	for _, a := range p.Attempts {
		cells := []string{strconv.Itoa(a.Attempt), a.After, a.At.Format(planTime), a.HeldUntil.Format(planTime)}
		if a.Awake != nil {
			cells = append(cells, map[bool]string{true: "yes", false: "no"}[*a.Awake], heardCell(a))
		}
		if err := t.row(cells...); err != nil {
			return err
		}
	}
	if err := t.end(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nFAILED %s, %s after the first attempt, unless it was heard\n", p.FailedAt.Format(planTime), p.Limit)
	switch {
	case p.Heard != nil:
		fmt.Fprintf(w, "heard  %s, %s after the first attempt, by attempt %d; none is made after it\n", p.Heard.At.Format(planTime), p.Heard.After, p.Heard.Attempt)
	case len(c.Awake) > 0:
		fmt.Fprintf(w, "heard  never: whenever the device is awake, the SMSC holds no attempt\n")
	}
	return nil
}

func heardCell(a planAttempt) string {
	switch {
	case a.HeardAt == nil:
		return "no"
	case *a.Awake:
		return "at once"
	}
	return a.HeardAt.Format(planTime)
}
