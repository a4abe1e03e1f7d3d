// Package rehearse plays the back-off of SMS in virtual time: a fleet of devices that sleep and wake, each with one SMS, over the real
// schedule. Two days take less than a second, and the same seed gives the same outcome.
//
// It knows no gateway and no Redis: every attempt is accepted by an SMSC that holds it for its validity.
package rehearse

import (
	"container/heap"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"m2mbridge/sms"
)

// Config is what is played.
type Config struct {
	Schedule sms.Schedule
	Devices  int           // from 1
	Seed     string        // of when the devices wake
	For      time.Duration // of virtual time from the first attempts, which are all made at 0
}

// Kind is a kind of device.
type Kind struct {
	Name       string
	Share      int           // of a hundred devices
	Every, For time.Duration // when it listens; Every 0: never
}

// Kinds are those of the fleet. They are ours: nobody says how real fleets sleep.
func Kinds() []Kind {
	return []Kind{
		{"always on", 10, time.Hour, time.Hour},
		{"30s each 10m", 25, 10 * time.Minute, 30 * time.Second},
		{"1m each hour", 25, time.Hour, time.Minute},
		{"5m each 6h", 20, 6 * time.Hour, 5 * time.Minute},
		{"10m each day", 15, 24 * time.Hour, 10 * time.Minute},
		{"10m each week", 3, 7 * 24 * time.Hour, 10 * time.Minute},
		{"gone", 2, 0, 0},
	}
}

// Report is the outcome.
type Report struct {
	Devices   int
	Submits   int             // attempts made, of all devices
	Delivered []int           // by attempt, the first at 0
	AtOnce    int             // of those delivered: to a device that was awake; the others were held by the SMSC meanwhile
	Latency   []time.Duration // of each delivery from the first attempt, sorted
	Failed    int             // given up at the limit
	Waiting   int             // neither when the time was over
	Kinds     []KindReport
}

// KindReport is the outcome of a kind of device.
type KindReport struct {
	Kind
	Devices, Delivered, Failed int
}

// Total is how many were delivered.
func (r *Report) Total() int { return len(r.Latency) }

// Quantile is a latency that at least the fraction q of the deliveries did not exceed; 0: there was none.
func (r *Report) Quantile(q float64) time.Duration {
	if len(r.Latency) == 0 {
		return 0
	}
	rank := int(q*float64(len(r.Latency)) + 0.999999)
	return r.Latency[min(max(rank, 1), len(r.Latency))-1]
}

// device is one with its SMS.
type device struct {
	kind    int
	sleep   sms.Cycle
	attempt int // made so far
}

// event is what comes to a device: the next attempt, the SMS that the SMSC held, or the end.
type event struct {
	at      time.Time
	device  int
	what    what
	attempt int // heard: of which
}

type what int

const (
	due what = iota
	heard
	limit
)

// events are a heap by time; at the same time by device, so that the order is always the same.
type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	if c := e[i].at.Compare(e[j].at); c != 0 {
		return c < 0
	}
	return e[i].device < e[j].device
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// play is a rehearsal under way. Its clock is the time of the event that comes.
type play struct {
	config  Config
	start   time.Time
	devices []device
	queue   events
	report  *Report
}

// Run plays it.
func Run(c Config) (*Report, error) {
	if c.Devices < 1 || c.For <= 0 || c.Schedule.Attempts() == 0 {
		return nil, errors.New("a rehearsal needs devices, time and a schedule")
	}
	p := newPlay(c)
	for len(p.queue) > 0 && !p.queue[0].at.After(p.start.Add(c.For)) {
		p.step(heap.Pop(&p.queue).(event))
	}
	slices.Sort(p.report.Latency)
	p.report.Waiting = c.Devices - p.report.Total() - p.report.Failed
	return p.report, nil
}

func newPlay(c Config) *play {
	// Any start does: what is random is when a device wakes.
	p := &play{config: c, start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), report: &Report{Devices: c.Devices, Delivered: make([]int, c.Schedule.Attempts())}}
	random := rand.New(rand.NewChaCha8(sha256.Sum256([]byte("sms/" + c.Seed))))
	for _, k := range Kinds() {
		p.report.Kinds = append(p.report.Kinds, KindReport{Kind: k})
	}
	for i := range c.Devices {
		d := device{kind: p.anyKind(random.IntN(100))}
		of := &p.report.Kinds[d.kind]
		of.Devices++
		d.sleep = sms.Cycle{First: p.start, Every: of.Every, For: of.For}
		if of.Every > 0 {
			d.sleep.First = p.start.Add(time.Duration(random.Int64N(int64(of.Every))).Truncate(time.Millisecond))
		}
		p.devices = append(p.devices, d)
		p.queue = append(p.queue, event{at: p.start, device: i})
	}
	heap.Init(&p.queue)
	return p
}

// anyKind is that of a number below 100.
func (p *play) anyKind(n int) int {
	for i, k := range p.report.Kinds {
		if n -= k.Share; n < 0 {
			return i
		}
	}
	return len(p.report.Kinds) - 1
}

// step is what a bridge, an SMSC and a device do at an event.
func (p *play) step(e event) {
	d := &p.devices[e.device]
	switch e.what {
	case due:
		p.submit(e, d)
	case heard:
		p.report.Delivered[e.attempt-1]++
		p.report.Kinds[d.kind].Delivered++
		p.report.Latency = append(p.report.Latency, e.at.Sub(p.start))
	case limit:
		p.report.Failed++
		p.report.Kinds[d.kind].Failed++
	}
}

// submit makes an attempt. If the device hears it, the receipt comes before the next is due; so nothing else comes to the device.
func (p *play) submit(e event, d *device) {
	p.report.Submits++
	d.attempt++
	next, _, more := p.config.Schedule.Next(p.start, e.at)
	at, ok := sms.Hears(d.sleep, e.at, e.at.Add(sms.Validity(e.at, next)))
	switch {
	case ok:
		if at.Equal(e.at) {
			p.report.AtOnce++
		}
		heap.Push(&p.queue, event{at: at, device: e.device, what: heard, attempt: d.attempt})
	case more:
		heap.Push(&p.queue, event{at: next, device: e.device})
	default:
		heap.Push(&p.queue, event{at: next, device: e.device, what: limit})
	}
}
